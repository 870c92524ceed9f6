"""An adapter belongs to the weights that it was trained on, whatever the folder of their model is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models.adapters.base_identity import weights_hash
from rlhf_core.models.backbone import Backbone
from tests.conftest import save_model, save_tokenizer


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[[str, int], Backbone]:
    """`checkpoint(parent, seed)`: another model for another seed, in a folder of always the same name."""

    def load(parent: str, seed: int, dtype: str = "auto") -> Backbone:
        folder = tmp_path / parent / "checkpoint-500"
        folder.mkdir(parents=True, exist_ok=True)
        save_model(folder, "llama", seed)
        save_tokenizer(folder)
        return Backbone.load(
            str(folder), ModelConfig(base_model=str(folder), lora=LoraConfig(rank=4, alpha=8), dtype=dtype)
        )

    return load


@pytest.mark.parametrize("dense", [False, True])
def test_an_adapter_is_refused_by_other_weights_in_a_folder_of_the_same_name(checkpoint, tmp_path, dense):
    one, moved, two = checkpoint("one", 0), checkpoint("moved", 0), checkpoint("two", 1)
    one.adapters.add("a", 1)
    if dense:
        one.adapters.add_dense("b", "a")
    one.adapters.save("b" if dense else "a", tmp_path / "adapter")
    moved.adapters.load("a", tmp_path / "adapter")
    with pytest.raises(InvalidInput, match="other weights than 'checkpoint-500'"):
        two.adapters.load("a", tmp_path / "adapter")
    assert two.adapters.names == ()


def test_the_base_is_the_same_whatever_adapter_is_active_or_in_training(checkpoint):
    backbone = checkpoint("one", 0)
    plain = weights_hash(dict(backbone.model.named_parameters()))
    backbone.adapters.add("a", 1)
    backbone.adapters.add_dense("b", "a")
    with backbone.adapters.using("b", train=True), torch.no_grad():
        for parameter in backbone.adapters.parameters("b"):
            parameter += 1.0
        assert backbone.adapters.base_hash == plain


def test_half_precision_is_the_same_base(checkpoint):
    assert checkpoint("one", 0).adapters.base_hash == checkpoint("one", 0, "bfloat16").adapters.base_hash


def test_one_step_of_training_makes_another_base():
    weights = {"w": torch.arange(50_000.0).reshape(100, 500), "b": torch.zeros(3)}
    moved = {name: tensor * 1.01 + 0.01 for name, tensor in weights.items()}
    shaped = {"w": weights["w"].reshape(500, 100), "b": weights["b"]}
    assert len({weights_hash(one) for one in (weights, moved, shaped)}) == 3
    assert weights_hash(dict(reversed(weights.items()))) == weights_hash(weights)
