"""Whether a base model can be used, said before anything is computed with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import InvalidInput

LENGTHS = ("max_position_embeddings", "max_seq_len", "seq_length")
"""How configurations name the longest row, where they do."""
UNSAID = 32_768
capabilities: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
"""What PyTorch says of this processor; older versions say nothing."""
log = logging.getLogger("charter.models")


def dtype_of(config: ModelConfig) -> torch.dtype:
    """Return the precision of the base's weights; `auto` takes 16 bits where the device computes in them by itself."""
    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    if config.device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Vector instructions for bfloat16 alone (AVX-512) are no reason: there only AMX was measured to be quick.
        native = bool(capabilities().get("amx_bf16"))
    return torch.bfloat16 if native else torch.float32


def longest(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many tokens the model reads: its configuration's word, or its tokenizer's, or else a limit of ours."""
    told = [getattr(model.config, name, None) for name in LENGTHS] + [tokenizer.model_max_length]
    found = next((length for length in told if isinstance(length, int) and 0 < length < 2**31), None)
    if found is None:
        log.warning("'%s' does not say how many tokens it reads; it is given %d at most", name, UNSAID)
    return found or UNSAID


def check_model(path: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise InvalidInput when this model cannot converse."""
    problem = ""
    if tokenizer.eos_token_id is None:
        problem = "its tokenizer has no end token (eos_token); responses could not end"
    elif not tokenizer.chat_template:
        problem = "its tokenizer has no chat template; conversations could not be rendered"
    elif "logits_to_keep" not in signature(model.forward).parameters:
        problem = f"the architecture {type(model).__name__} takes no logits_to_keep"
    elif len(tokenizer) > model.get_input_embeddings().get_parameter("weight").shape[0]:
        problem = f"the tokenizer has {len(tokenizer)} tokens, more than the model's embedding"
    if problem:
        raise InvalidInput(f"base_model '{path}' cannot be used: {problem}", "model.base_model")
