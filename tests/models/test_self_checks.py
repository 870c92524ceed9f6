"""A model is accepted by what it computes: alone, in a padded batch, token by token, behind a shared beginning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    RwkvConfig,
    RwkvForCausalLM,
)

from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.inference.choice_logprobs import choose
from rlhf_core.inference.reply_logprobs import reply_logprobs
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Message
from tests.conftest import save_model, save_tokenizer


def loaded(folder: Path, model: PreTrainedModel) -> Backbone:
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return Backbone.load(str(folder), ModelConfig(base_model=str(folder)))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
def test_a_model_whose_rows_do_not_depend_on_their_neighbours_is_accepted(kind: str, tmp_path: Path) -> None:
    save_model(tmp_path, kind)
    save_tokenizer(tmp_path)
    assert Backbone.load(str(tmp_path), ModelConfig(base_model=str(tmp_path))).shares_beginnings


def test_recurrent_models_are_refused_in_words(tmp_path: Path) -> None:
    rwkv = RwkvConfig(vocab_size=264, hidden_size=32, attention_hidden_size=32, num_hidden_layers=2, eos_token_id=256)
    mamba = MambaConfig(vocab_size=264, hidden_size=32, num_hidden_layers=2, eos_token_id=256)
    for name, model in (("rwkv", RwkvForCausalLM(rwkv)), ("mamba", MambaForCausalLM(mamba))):
        with pytest.raises(InvalidInput, match=r"cannot be used: .*(in a padded batch|token by token|logits_to_keep)"):
            loaded(tmp_path / name, model)


def test_weights_that_give_no_numbers_are_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "sound", "llama")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "sound")
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(InvalidInput, match="not numbers"):
        loaded(tmp_path / "nan", model)


def test_a_model_that_names_no_longest_row_gets_one_that_fits_a_message(tmp_path: Path) -> None:
    config = AutoConfig.for_model(
        "bloom", vocab_size=264, hidden_size=32, n_layer=2, n_head=4, eos_token_id=256, seq_length=None
    )
    backbone = loaded(tmp_path, AutoModelForCausalLM.from_config(config))
    assert 0 < backbone.max_length < 2**31


@pytest.fixture
def windowed(tmp_path: Path) -> Backbone:
    """A model that looks back at 32 tokens."""
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=264,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        sliding_window=32,
        initializer_range=0.3,
        eos_token_id=256,
        bos_token_id=None,
    )
    return loaded(tmp_path, MistralForCausalLM(config))


SHARED = "a beginning that all of these questions have in common, and that is longer than the window by far; "


def plain(backbone: Backbone, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return backbone.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)


def test_a_sliding_window_weighs_labels_alone_and_together_as_plain_transformers_do(windowed: Backbone) -> None:
    asked = [[Message(role="user", content=SHARED + text)] for text in ("x?", "which of the two is better?", "why so?")]
    together = choose(windowed, asked, "AB")
    alone = [choose(windowed, [one], "AB")[0] for one in asked]
    labels = [windowed.tokenizer.encode(label, add_special_tokens=False)[0] for label in "AB"]
    exact = [plain(windowed, windowed.render(one))[-1, labels].tolist() for one in asked]
    assert torch.allclose(torch.tensor(together), torch.tensor(exact), atol=1e-4)
    assert torch.allclose(torch.tensor(alone), torch.tensor(exact), atol=1e-4)


def test_a_sliding_window_weighs_replies_as_plain_transformers_do(windowed: Backbone) -> None:
    asked = [[Message(role="user", content=SHARED + text)] for text in ("x?", "which of the two is better?", "why so?")]
    replies = ["this one", "b", "because it was longer"]
    exact = []
    for one, reply in zip(asked, replies, strict=True):
        before, after = windowed.render(one), windowed.encode_response(reply)
        logprobs = plain(windowed, [*before, *after])
        exact.append(sum(logprobs[len(before) - 1 + i, token].item() for i, token in enumerate(after)))
    assert reply_logprobs(windowed, asked, replies) == pytest.approx(exact, abs=1e-3)
