"""Matrix products on a CPU: in 32-bit floats by oneDNN, where PyTorch would take MKL; in 16, of rows laid together.

With 200 rows and more MKL took 6 to 25 % longer on the processor that was measured, an AMD EPYC with AVX-512.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

LEAST_SIDE = 256
"""Smaller matrices stay with PyTorch: oneDNN prepares itself for each new number of rows, which takes half a
millisecond and is more than they save in several products."""
HALVES = (torch.bfloat16, torch.float16)
"""Floats of 16 bits."""

_by_onednn: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # not every build of PyTorch has it


class QuickLinear(nn.Linear):
    """A linear layer that computes by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def quicken(model: nn.Module) -> None:
    """Let the model's plain linear layers compute by `linear`; their weights and names stay as they are."""
    for part in model.modules():
        if type(part) is nn.Linear:
            part.__class__ = QuickLinear


def onednn_multiplies(part: nn.Module) -> bool:
    """Tell whether oneDNN computes this layer's products where many rows pass: on a CPU, in 16 bits or as `linear`."""
    if not isinstance(part, nn.Linear) or part.weight.device.type != "cpu":
        return False
    quick = type(part) is QuickLinear and _by_onednn is not None and min(part.weight.shape) >= LEAST_SIDE
    return quick or part.weight.dtype in HALVES


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute x W^T + bias of x (..., I) and W (O, I), with gradients: what `torch.nn.functional.linear` gives."""
    if not _suits(x, weight):
        if x.dtype not in HALVES:
            return functional.linear(x, weight, bias)
        # Where rows have gaps PyTorch copies the matrix once for each: a head over the last of 80 positions took 300
        # times as long as over the same rows laid together.
        rows = functional.linear(x.reshape(-1, weight.shape[1]), weight, bias)
        return rows.view(*x.shape[:-1], weight.shape[0])
    if not torch.is_grad_enabled():
        return _product(x, weight, bias)
    return _Product.apply(x, weight, bias)


def _suits(x: Tensor, weight: Tensor) -> bool:
    return (
        _by_onednn is not None
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and min(weight.shape) >= LEAST_SIDE
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return _by_onednn(x, weight, bias, "none", [], "")


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x if weight.requires_grad else None, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        slopes = gradient.flatten(0, -2)
        for_x = _product(gradient, weight.T) if ctx.needs_input_grad[0] else None
        # The sum over rows is MKL's: oneDNN takes a fifth longer for it.
        for_weight = slopes.T @ x.flatten(0, -2) if ctx.needs_input_grad[1] else None
        return for_x, for_weight, slopes.sum(0) if ctx.needs_input_grad[2] else None
