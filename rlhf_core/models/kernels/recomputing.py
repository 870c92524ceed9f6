"""Layers that keep only what they are given for gradients, and compute the rest again on the way back.

Activation checkpointing (Chen et al. 2016) by PyTorch: a pass with gradients takes the memory of one layer and of all
layers' inputs, for another pass forward.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import Cache, PreTrainedModel

from rlhf_core.models.kernels.lower_layers import layers_of

FIELD = "model.passes.recompute"


def let_recompute(model: PreTrainedModel) -> None:
    """Let all layers but the last be computed again on the way back.

    The last one's results are wanted at once, so that nothing would be saved, and it may have been spared a part.

    Raises: InvalidInput for an architecture whose layers cannot be found.
    """
    for layer in layers_of(model, FIELD)[:-1]:
        # The library's own switch works in training mode alone, which would turn dropout on.
        layer.forward = _again(layer.forward)


def _again(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        fills_cache = any(isinstance(one, Cache) for one in (*args, *kwargs.values()))
        if fills_cache or not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        # Nothing is drawn in a layer, so there is no state of a generator to go back to.
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return recomputed
