"""Hooks into a pass: what the head is given, and a last layer that works only for the positions that somebody reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel


@contextmanager
def inputs_of(module: nn.Module, pass_on: bool = True) -> Iterator[list[Tensor]]:
    """Collect what the module is given; unless it is passed on, the module itself sees one position of one row."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        seen.append(inputs[0])
        return None if pass_on else (inputs[0][:1, :1], *inputs[1:])

    handle = module.register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def sparing(block: nn.Module, keep: int) -> Iterator[None]:
    """Let the block see the last `keep` positions, and add nothing to those before: no later layer would read them."""
    left_out = 0

    def cut(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        nonlocal left_out
        left_out = max(0, inputs[0].shape[1] - keep)
        return (inputs[0][:, left_out:].contiguous(), *inputs[1:])

    def fill(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return pad(output, (0, 0, left_out, 0))

    handles = block.register_forward_pre_hook(cut), block.register_forward_hook(fill)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def spared_block(model: PreTrainedModel) -> nn.Module | None:
    """Find the feed-forward block of the last layer, where positions left out of it change no others.

    Both are tried: the block must stand where most architectures have it, and take each position for itself.
    """
    layers = getattr(model.base_model, "layers", None) or getattr(model.base_model, "h", None)
    block = getattr(layers[-1], "mlp", None) if layers else None
    if block is None:
        return None
    ids = torch.arange(16, device=model.device).view(2, 8)

    def logits() -> Tensor:
        return model(input_ids=ids, use_cache=False, logits_to_keep=2).logits

    plain = logits()
    try:
        with sparing(block, 2):
            spared = logits()
    except (AttributeError, IndexError, RuntimeError, TypeError):
        return None
    far = (spared - plain).abs().max()
    return block if far <= 16 * torch.finfo(plain.dtype).eps * plain.abs().max() else None
