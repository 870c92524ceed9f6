"""A tiny encoder with random weights and a tokenizer of characters, saved as an ordinary folder."""

from __future__ import annotations

import string
from pathlib import Path


def save_encoder(folder: Path, context: int = 128, kind: str = "bert") -> Path:
    """Two layers and 32 dimensions; every character is a token, and it has no chat template."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.printable]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shape |= {"vocab_size": len(tokens), "max_position_embeddings": context, "initializer_range": 0.3}
        AutoModel.from_config(AutoConfig.for_model(kind, **shape)).save_pretrained(folder)
    return folder
