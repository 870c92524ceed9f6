"""Log-probabilities of given responses under the active adapter, never holding the logits of more than a chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import Batch
from rlhf_core.models.kernels.onednn_linear import linear

CHUNK_BYTES = 8 * 2**20
GPU_CHUNK_BYTES = 512 * 2**20
LEAST_TOKENS = 128
"""A chunk has as many tokens as their logits fit into so many bytes as 32-bit floats, on a CPU and on a GPU, but at
least this many."""
KEPT_BYTES = 32 * 2**20
"""Logits of a pass, as 32-bit floats, that may be kept for the gradient; those of a larger pass are computed again."""
PASS_ROWS = 64
"""Rows of a pass that keeps no graph, at most."""
WORTH_SHARING = 0.9
"""Prompts that rows share are read once if that leaves no more than this share of the positions."""

EntropyUse = Literal["none", "data", "loss"]
"""Whether entropy is left at 0, measured, or measured with gradients."""


class ResponseTokens(NamedTuple):
    """Of a batch's response tokens: logprobs and entropy (B, T), 0 where masked, and hidden (B, T, H) before each."""

    logprobs: Tensor
    entropy: Tensor
    hidden: Tensor


def token_logprobs(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """Return log softmax(logits / temperature) at the targets, (...), from logits (..., V), in 32-bit floats."""
    return _distribution(logits, temperature).gather(-1, targets[..., None]).squeeze(-1)


def token_entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the entropy in nats of each position's distribution, (...)."""
    return _entropy(_distribution(logits, temperature))


def response_tokens(
    backbone: Backbone, batch: Batch, temperature: float = 1.0, entropy: EntropyUse = "none"
) -> ResponseTokens:
    """Return what the model gives each response token: one trunk pass, or two where prompts are shared.

    The head then sees real response tokens only, a chunk at a time.

    A frozen head keeps no logits for the backward pass, as the gradients of its inputs are computed at once. A head
    that is trained keeps few, and computes the others again chunk by chunk.
    """
    counts, weight = batch.mask.bool(), None
    if backbone.head_is_plain:
        hidden = states_before(backbone, batch)
        states, head, weight = hidden[counts], backbone.head, backbone.frozen_head
    else:
        everything = backbone.forward(batch.ids, batch.present, batch.mask.shape[1] + 1)
        logits, hidden = (part[:, :-1] for part in everything)
        states, head = logits[counts], _as_it_is
    size = chunk_tokens(backbone)
    if weight is not None and entropy != "loss":
        chosen: Any = _Chosen.apply(states, head, weight, batch.targets[counts], temperature, entropy, size)
        return _filled(counts, chosen[0], chosen[1], hidden)
    again = torch.is_grad_enabled() and 4 * len(states) * backbone.vocabulary > KEPT_BYTES
    parts = []
    for chunk, targets in zip(states.split(size), batch.targets[counts].split(size), strict=True):
        given = (head, chunk, targets, temperature, entropy)
        parts.append(checkpoint(_measure, *given, use_reentrant=False) if again else _measure(*given))
    logprobs, spread = (torch.cat(column) for column in zip(*parts, strict=True))
    return _filled(counts, logprobs, spread, hidden)


def chunk_tokens(backbone: Backbone) -> int:
    """Return how many tokens' logits are there at once: on a CPU what its caches hold, on a GPU what keeps it busy."""
    room = GPU_CHUNK_BYTES if backbone.device.type == "cuda" else CHUNK_BYTES
    return max(LEAST_TOKENS, room // (4 * backbone.vocabulary))


def states_before(backbone: Backbone, batch: Batch) -> Tensor:
    """Return hidden states (B, T, H) before each response token, with gradients where the active adapter takes them.

    Responses to one prompt share its keys and values: where that saves enough, each prompt is read once. That takes a
    pass more, which processes that must pass together cannot each decide, and keeps what is to be computed again.
    """
    width = batch.mask.shape[1]
    prompt_width = batch.ids.shape[1] - width
    marked = torch.where(batch.present.bool(), batch.ids, -1)[:, :prompt_width]
    prompts, place = torch.unique(marked, dim=0, return_inverse=True)
    read = len(prompts) * prompt_width + len(batch.ids) * (width - 1)
    cache = DynamicCache(config=backbone.model.config)
    plain = all(type(layer) is DynamicLayer for layer in cache.layers)
    apart = backbone.passes_together or (backbone.passes.recompute and torch.is_grad_enabled())
    alone = int(batch.present.sum()) if backbone.packs(batch.present) else batch.ids.numel()
    if not plain or width == 1 or apart or read > WORTH_SHARING * alone:
        return backbone.hidden(batch.ids, batch.present, width + 1)[:, :-1]
    last = backbone.hidden(prompts.clamp_min(0), (prompts >= 0).long(), 1, cache)
    for layer in cache.layers:
        assert isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None
        layer.keys, layer.values = _taken(layer.keys, place), _taken(layer.values, place)
    rest = backbone.hidden(batch.ids[:, prompt_width:-1], batch.present[:, :-1], width - 1, cache)
    return torch.cat([_taken(last, place), rest], 1)


def _taken(shared: Tensor, place: Tensor) -> Tensor:
    """The rows at these places, some of them several times; their gradients are added up in one order.

    Indexing adds them up in whatever order threads come on a CPU, and `index_select` does so on a GPU.
    """
    return shared.index_select(0, place) if shared.device.type == "cpu" else shared[place]


def response_logprobs(backbone: Backbone, batch: Batch, temperature: float = 1.0, chunk: int | None = None) -> Tensor:
    """Return log-probs (B, T) of the batch's response tokens under the active adapter, no gradients; 0 where masked.

    A pass has `chunk` rows; None is what the model's memory allows.
    """
    chunk = chunk or rows_without_gradients(backbone, batch)
    with torch.no_grad():
        parts = (Batch(*part) for part in zip(*(whole.split(chunk) for whole in batch), strict=True))
        return torch.cat([response_tokens(backbone, part, temperature).logprobs for part in parts])


def rows_without_gradients(backbone: Backbone, batch: Batch) -> int:
    """Return how many rows of the batch a pass that keeps no graph reads, within the budget of memory."""
    return max(1, min(PASS_ROWS, backbone.most_positions // batch.ids.shape[1]))


def _filled(counts: Tensor, logprobs: Tensor, spread: Tensor, hidden: Tensor) -> ResponseTokens:
    blank = torch.zeros(counts.shape, device=counts.device)
    return ResponseTokens(blank.masked_scatter(counts, logprobs), blank.masked_scatter(counts, spread), hidden)


class _Chosen(torch.autograd.Function):
    """Log-probs of targets (N,) and entropy (N,) under a frozen head; the gradient is ready when they are.

    A state's log-prob moves by (W[target] - sum of p W) / temperature, so no logits have to be kept or made again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        head: Callable[[Tensor], Tensor],
        weight: Tensor,
        targets: Tensor,
        temperature: float,
        entropy: EntropyUse,
        size: int,
    ) -> tuple[Tensor, Tensor]:
        logprobs = torch.empty(len(states), device=states.device)
        spread, slopes = torch.zeros_like(logprobs), torch.empty_like(states) if ctx.needs_input_grad[0] else None
        for start in range(0, len(states), size):
            part = slice(start, start + size)
            distribution = _distribution(head(states[part]), temperature)
            logprobs[part], spread[part] = _read(distribution, targets[part], entropy)
            if slopes is not None:
                mean = linear(distribution.exp_().to(weight.dtype), weight.T)
                slopes[part] = (weight[targets[part]] - mean) / temperature
        ctx.slopes = slopes
        ctx.mark_non_differentiable(spread)
        return logprobs, spread

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return (ctx.slopes * gradient[:, None]).to(ctx.slopes.dtype), *(None,) * 6


def _measure(
    head: Callable[[Tensor], Tensor], states: Tensor, targets: Tensor, temperature: float, entropy: EntropyUse
) -> tuple[Tensor, Tensor]:
    return _read(_distribution(head(states), temperature), targets, entropy)


def _read(distribution: Tensor, targets: Tensor, entropy: EntropyUse) -> tuple[Tensor, Tensor]:
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
