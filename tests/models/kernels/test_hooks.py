"""A last layer that works only where somebody reads: the same numbers, fewer of them."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

from rlhf_core.config.run import ModelConfig
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.kernels.skip_last_mlp import spared_block

KINDS = ("llama", "gpt2", "qwen3")
ROWS = [[1, 2, 3], [9, 8, 7, 6, 5, 4, 3, 2, 1], [5] * 12]


def last_block(backbone: Backbone) -> nn.Module:
    block = backbone._spared_block
    assert block is not None
    return block


def positions(block: nn.Module) -> list[int]:
    """How many positions the block's first linear layer sees, pass by pass."""
    first = next(part for part in block.modules() if part is not block and hasattr(part, "weight"))
    seen: list[int] = []
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    return seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep", [1, 5])
def test_what_is_read_is_the_same_and_the_last_layer_sees_no_more_than_that(tiny_model, kind, keep):
    backbone = tiny_model(kind)
    ids, mask = backbone.pad_left(ROWS)
    plain = backbone.model(input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp_min(0)).logits
    seen = positions(last_block(backbone))
    spared = backbone.forward(ids, mask, keep).logits
    torch.testing.assert_close(spared, plain[:, -keep:], atol=1e-5, rtol=1e-5)
    assert seen == [keep]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_the_same(tiny_model, kind):
    backbone = tiny_model(kind)
    backbone.adapters.add("policy", 0)
    ids, mask = backbone.pad_left(ROWS)
    result = []
    for spared in (True, False):
        backbone._spared_block = spared_block(backbone.model) if spared else None
        with backbone.adapters.using("policy", train=True):
            parameters = backbone.adapters.parameters("policy")
            loss = backbone.forward(ids, mask, 3).logits.square().mean()
            result.append(torch.autograd.grad(loss, parameters))
    for one, other in zip(*result, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)
    assert any(gradient.abs().max() > 0 for gradient in result[0])


class Mixing(nn.Module):
    """A block whose output at a position depends on those before it."""

    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(1)


class Both(tuple[Tensor, Tensor]):
    """What a block gives that also tells how it routed; it adds up as its states do."""

    def __radd__(self, residual: Tensor) -> Tensor:
        return residual + self[0]


@pytest.mark.parametrize("block", [Mixing(), None], ids=["mixes positions", "has none"])
def test_a_model_that_cannot_spare_positions_computes_them_all(tiny_model, block):
    backbone = tiny_model("llama")
    backbone.model.model.layers[-1].mlp = block
    if block is None:
        del backbone.model.model.layers[-1].mlp
    assert spared_block(backbone.model) is None


def test_a_block_that_gives_more_than_states_is_left_alone(tiny_model):
    model = tiny_model("llama").model
    block = model.model.layers[-1].mlp
    block.forward = lambda x, run=block.forward: Both((run(x), x))
    assert spared_block(model) is None


def test_no_thread_that_stays_computes_anything_while_a_model_loads(tiny_folder, monkeypatch):
    """A pass on the thread that loads would give it a pool of threads, and slow down the one that works."""
    threads: set[str] = set()
    read = nn.Embedding.forward

    def noted(self, ids):
        threads.add(threading.current_thread().name)
        return read(self, ids)

    monkeypatch.setattr(nn.Embedding, "forward", noted)
    folder = str(tiny_folder("llama"))
    Backbone.load(folder, ModelConfig(base_model=folder))
    assert threads
    assert not threads & {thread.name for thread in threading.enumerate()}


def test_afterwards_the_block_sees_everything_again(tiny_model):
    backbone = tiny_model("llama")
    ids, mask = backbone.pad_left(ROWS)
    backbone.forward(ids, mask, 1)
    seen = positions(last_block(backbone))
    backbone.model(input_ids=ids, attention_mask=mask)
    assert seen == [12]
