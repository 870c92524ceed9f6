"""A linear layer with low-rank adapters whose passes cost little more than those of the layer alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rlhf_core.models.kernels.onednn_linear import HALVES, linear


class LowRankLinear(Linear):
    """PEFT's layer, W + s B A (Hu et al. 2021), with two ways of its own to compute it, equal up to rounding.

    Many tokens pass through the sum of the matrices, few through the two factors, whichever takes fewer operations.
    A base of 16 bits always takes the factors, as small changes would be lost in the sum. Few tokens on a CPU take
    them in 32 bits, in which products as small as these take half the time.
    """

    shares: tuple[str, ...] = ()
    """Adapters of one rank that each take an equal share of the rows, in this order, while there are any."""
    rounded: tuple[Tensor, Tensor] | None = None
    """A and B of the active adapter in the precision of the base, where they were rounded beforehand."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.shares:
            return self._by_shares(x)
        active = [name for name in self.active_adapters if name in self.lora_A]
        if self.disable_adapters or not active:
            return self.base_layer(x)
        base = self.base_layer
        assert isinstance(base, nn.Linear)
        other_kind = x.dtype != base.weight.dtype or torch.is_autocast_enabled(x.device.type)
        if args or kwargs or len(active) > 1 or other_kind:
            return super().forward(x, *args, **kwargs)
        first, second, scale = self.lora_A[active[0]], self.lora_B[active[0]], self.scaling[active[0]]
        assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
        tokens, (outputs, inputs) = x.numel() // x.shape[-1], base.weight.shape
        few = tokens * (inputs + outputs) <= inputs * outputs
        a, b = self.rounded or (first.weight, second.weight)
        given = (x, base.weight, base.bias, a, b, scale)
        if torch.is_grad_enabled():
            return _Changed.apply(*given, x.dtype == torch.float32 and not few)
        if few and x.device.type == "cpu" and x.dtype in HALVES:
            return _changed_in_32_bits(*given)
        # What autograd does around a function takes as long as a small product.
        return _changed(*given, x.dtype == torch.float32 and not few)

    @property
    def base_dtype(self) -> torch.dtype:
        base = self.base_layer
        assert isinstance(base, nn.Linear)
        return base.weight.dtype

    def _by_shares(self, x: Tensor) -> Tensor:
        """One product with W for all rows, and each share's own B A, without gradients."""
        plain = self.base_layer(x)
        assert isinstance(plain, Tensor)
        first, second = [], []
        for name in self.shares:
            a, b = self.lora_A[name], self.lora_B[name]
            assert isinstance(a, nn.Linear) and isinstance(b, nn.Linear)
            first.append(a.weight.T)
            second.append(self.scaling[name] * b.weight.T)
        inner = torch.bmm(x.reshape(len(self.shares), -1, x.shape[-1]), torch.stack(first).to(x.dtype))
        shares = plain.reshape(len(self.shares), -1, plain.shape[-1])
        return torch.baddbmm(shares, inner, torch.stack(second).to(x.dtype)).view_as(plain)


class RoundedFactors:
    """An adapter's factors in the base's 16 bits: rounded once for many passes, which otherwise each do it again.

    They stay where they are, so that a recorded pass finds the new ones when they are refreshed.
    """

    def __init__(self, layers: Sequence[LowRankLinear], name: str):
        self._copies: list[tuple[LowRankLinear, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]] = []
        for layer in layers:
            a, b = layer.lora_A[name], layer.lora_B[name]
            assert isinstance(a, nn.Linear) and isinstance(b, nn.Linear)
            kept = a.weight.detach(), b.weight.detach()
            self._copies.append((layer, kept, (kept[0].to(layer.base_dtype), kept[1].to(layer.base_dtype))))

    def refresh(self) -> None:
        """Round the adapter as it is now."""
        for _, kept, rounded in self._copies:
            for one, other in zip(rounded, kept, strict=True):
                one.copy_(other)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let the layers take these while the block lasts, in which the adapter is active."""
        for layer, _, rounded in self._copies:
            layer.rounded = rounded
        try:
            yield
        finally:
            for layer, _, _ in self._copies:
                layer.rounded = None


def _changed(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float, summed: bool
) -> Tensor:
    if summed:
        return linear(x, torch.addmm(weight, b, a, alpha=scale), bias)
    inner = linear(x, a.to(x.dtype)).flatten(0, -2)
    plain = linear(x, weight, bias)
    return torch.addmm(plain.flatten(0, -2), inner, b.to(x.dtype).T, alpha=scale).view_as(plain)


def _changed_in_32_bits(x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
    inner = linear(x.flatten(0, -2).float(), a.float())
    plain = linear(x, weight, bias)
    return torch.addmm(plain.flatten(0, -2).float(), inner, b.float().T, alpha=scale).to(x.dtype).view_as(plain)


class _Changed(torch.autograd.Function):
    """x (W + s B A)^T + bias for a frozen W; only x is kept for the gradient.

    Narrow matrices are multiplied in the order in which BLAS is quick, which is up to 7 times as fast as the other.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float, summed: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight, a, b)
        ctx.scale, ctx.summed = scale, summed
        return _changed(x, weight, bias, a, b, scale, summed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b = ctx.saved_tensors
        rows, slopes, scale = x.flatten(0, -2), gradient.flatten(0, -2), ctx.scale
        small_a, wide_b = a.to(x.dtype), b.to(x.dtype).T.contiguous()
        through, for_x, for_a, for_b = linear(slopes, wide_b), None, None, None
        if ctx.needs_input_grad[0] and ctx.summed:
            for_x = linear(slopes, torch.addmm(weight, b, a, alpha=scale).T)
        elif ctx.needs_input_grad[0]:
            for_x = torch.addmm(linear(slopes, weight.T), through, small_a, alpha=scale)
        if ctx.needs_input_grad[3]:
            for_a = (through.T @ rows).to(a.dtype) * scale
            for_b = (linear(rows, small_a).T @ slopes).T.to(b.dtype) * scale
        return None if for_x is None else for_x.view_as(x), None, None, for_a, for_b, None, None
