"""A pass that ends below the top: what a text is about stands in the middle layers, and half of them cost half."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel

from rlhf_core.errors import InvalidInput

FIELD = "reward.layers"
NAMES = ("layers", "layer", "h", "blocks")
"""How architectures call the list of their layers."""


@contextmanager
def reading(model: PreTrainedModel, layers: int | None) -> Iterator[None]:
    """Leave the base of the model its lowest `layers` alone, and its last norm, while the block lasts; None leaves all.

    Raises: InvalidInput where the model has fewer, or keeps them where they cannot be found.
    """
    if layers is None:
        yield
        return
    holder, name = _list_of(model, FIELD)
    everything: nn.ModuleList = getattr(holder, name)
    if layers > len(everything):
        told = f"reward.layers: {layers}; '{model.config.model_type}' has {len(everything)}, allowed: 1 to that"
        raise InvalidInput(told, FIELD)
    setattr(holder, name, everything[:layers])
    try:
        yield
    finally:
        setattr(holder, name, everything)


def layers_of(model: PreTrainedModel, field: str) -> nn.ModuleList:
    """Return the model's layers, from below, for what a setting asks. InvalidInput where they cannot be found."""
    holder, name = _list_of(model, field)
    return getattr(holder, name)


def _list_of(model: PreTrainedModel, field: str) -> tuple[nn.Module, str]:
    """The module that holds the list of layers, and the list's name."""
    for holder in model.base_model.modules():
        for name in NAMES:
            found = getattr(holder, name, None)
            if isinstance(found, nn.ModuleList) and len(found) == model.config.num_hidden_layers:
                return holder, name
    raise InvalidInput(
        f"{field}: no list of layers was found in '{model.config.model_type}'; allowed: reward.layers none, which "
        "reads all, learner.strategy replicate and model.passes.recompute false",
        field,
    )
