"""Log-probabilities of given responses under the active adapter, never holding the logits of more than a chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import Batch

CHUNK_BYTES = 32 * 2**20
"""Most bytes of one chunk's logits as 32-bit floats."""

EntropyUse = Literal["none", "data", "loss"]
"""Whether entropy is left at 0, measured, or measured with gradients."""


class ResponseTokens(NamedTuple):
    """Of a batch's response tokens: logprobs and entropy (B, T), 0 where masked, and hidden (B, T, H) before each."""

    logprobs: Tensor
    entropy: Tensor
    hidden: Tensor


def token_logprobs(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature) at the targets, (...), from logits (..., V), in 32-bit floats."""
    return _distribution(logits, temperature).gather(-1, targets[..., None]).squeeze(-1)


def token_entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy in nats of each position's distribution, (...)."""
    return _entropy(_distribution(logits, temperature))


def response_tokens(
    backbone: Backbone, batch: Batch, temperature: float = 1.0, entropy: EntropyUse = "none"
) -> ResponseTokens:
    """One trunk pass; the head then sees real response tokens only, a chunk at a time.

    Where gradients flow through several chunks, a chunk's logits are computed again for them instead of kept.
    """
    counts, keep = batch.mask.bool(), batch.mask.shape[1] + 1
    if backbone.head_is_plain:
        hidden = backbone.hidden(batch.ids, batch.present, keep)[:, :-1]
        states, head = hidden[counts], backbone.head
    else:
        logits, hidden = (part[:, :-1] for part in backbone.forward(batch.ids, batch.present, keep))
        states, head = logits[counts], _as_it_is
    size = max(1, CHUNK_BYTES // (4 * backbone.vocabulary))
    again = torch.is_grad_enabled() and len(states) > size
    parts = []
    for chunk, targets in zip(states.split(size), batch.targets[counts].split(size), strict=True):
        given = (head, chunk, targets, temperature, entropy)
        parts.append(checkpoint(_measure, *given, use_reentrant=False) if again else _measure(*given))
    logprobs, spread = (torch.cat(column) for column in zip(*parts, strict=True))
    blank = torch.zeros(counts.shape, device=counts.device)
    return ResponseTokens(blank.masked_scatter(counts, logprobs), blank.masked_scatter(counts, spread), hidden)


def response_logprobs(backbone: Backbone, batch: Batch, temperature: float = 1.0, chunk: int = 64) -> Tensor:
    """Log-probs (B, T) of the batch's response tokens under the active adapter, no gradients; 0 where masked."""
    with torch.no_grad():
        parts = (Batch(*part) for part in zip(*(whole.split(chunk) for whole in batch), strict=True))
        return torch.cat([response_tokens(backbone, part, temperature).logprobs for part in parts])


def _measure(
    head: Callable[[Tensor], Tensor], states: Tensor, targets: Tensor, temperature: float, entropy: EntropyUse
) -> tuple[Tensor, Tensor]:
    distribution = _distribution(head(states), temperature)
    logprobs = distribution.gather(-1, targets[..., None]).squeeze(-1)
    if entropy == "none":
        return logprobs, torch.zeros_like(logprobs)
    return logprobs, _entropy(distribution if entropy == "loss" else distribution.detach())


def _distribution(logits: Tensor, temperature: float) -> Tensor:
    scaled = logits.float() if temperature == 1 else logits.float() / temperature
    return scaled.log_softmax(-1)


def _entropy(distribution: Tensor) -> Tensor:
    return -(distribution.exp() * distribution).sum(-1)


def _as_it_is(logits: Tensor) -> Tensor:
    return logits
