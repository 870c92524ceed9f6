"""A model is accepted by what it computes: a row gives the same alone, in a padded batch, and token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PretrainedConfig, PreTrainedModel

from rlhf_core.errors import InvalidInput
from rlhf_core.models.reward_inputs import Row

T = TypeVar("T")
LENGTHS = (5, 9)
"""Of the rows that are tried, in tokens."""
STEPS = 2
"""Tokens at the end of a row that are tried one by one, and that its row has for itself behind a shared beginning."""
TOLERANCE = {torch.float32: 1e-3}
HALF_TOLERANCE = 0.15
"""How far results may lie apart, as a share of the largest: in 32 bits, and in 16."""
IMPOSSIBLE = -1e6
"""A logit whose probability is 0 at any temperature, and whose product with 0 is a number."""
WINDOWS = ("sliding_window", "window_size", "attention_window_size", "attention_chunk_size")
"""How configurations name the tokens that a position looks back at."""


class Decoder(Protocol):
    """What is tried of a model that writes."""

    name: str
    model: PreTrainedModel

    def forward(self, ids: Tensor, mask: Tensor, keep: int, cache: Cache | None = None) -> Any: ...

    def hidden(self, ids: Tensor, mask: Tensor, keep: int, cache: Cache | None = None) -> Tensor: ...

    def pad_left(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]: ...


class Encoder(Protocol):
    """What is tried of a model that reads."""

    name: str
    model: PreTrainedModel

    def pooled(self, rows: Sequence[Row]) -> Tensor: ...


def check_decoder(decoder: Decoder, tokens: Sequence[int]) -> bool:
    """Tell whether rows may share a beginning, their own ends padded.

    Raises: InvalidInput for a model that cannot be batched or cached.
    """
    return _on_passing_thread(lambda: _check_decoder(decoder, tokens))


def check_packing(decoder: Decoder, tokens: Sequence[int]) -> None:
    """Raise InvalidInput for a model whose rows are others when they are read behind one another."""
    _on_passing_thread(lambda: _check_packing(decoder, tokens))


def check_encoder(encoder: Encoder, tokens: Sequence[int]) -> None:
    """Raise InvalidInput for a model whose results depend on what else is in the batch."""
    _on_passing_thread(lambda: _check_encoder(encoder, tokens))


def window_of(config: PretrainedConfig) -> int | None:
    """Return how many tokens the layers that look back least look back at; None where all look at all."""
    windows = [getattr(config, name, None) for name in WINDOWS]
    return min((window for window in windows if isinstance(window, int) and window > 0), default=None)


def _on_passing_thread(check: Callable[[], T]) -> T:
    """Compute on a thread that ends with the check.

    One that stays would keep its pool of threads, and while there are more of them than cores none waits actively for
    its next part, which doubles the time of a small pass.
    """
    with ThreadPoolExecutor(1) as passing:
        return passing.submit(check).result()


@torch.no_grad()
def _check_decoder(decoder: Decoder, tokens: Sequence[int]) -> bool:
    short, long = _rows(tokens)
    alone = _both(decoder, *decoder.pad_left([short]), len(short))[0]
    ids, mask = decoder.pad_left([short, long])
    together = _tried(decoder, "in a padded batch", lambda: _both(decoder, ids, mask, len(long)))
    if not bool(alone.isfinite().all() and together.isfinite().all()):
        raise _refusal(decoder.name, "its results are not numbers (NaN or infinite)")
    _must_agree(decoder, "in a padded batch", alone, together[0, -len(short) :])
    first = len(long) - STEPS
    cache = DynamicCache(config=decoder.model.config)

    def step_by_step() -> Tensor:
        nonlocal cache
        start = _both(decoder, ids[:, :first], mask[:, :first], 1, cache)
        kept, cache = cache, deepcopy(cache)
        steps = [_both(decoder, ids[:, end : end + 1], mask[:, : end + 1], 1, kept) for end in range(first, len(long))]
        return torch.cat([start, *steps], 1)

    found = _tried(decoder, "token by token", step_by_step)
    _must_agree(decoder, "token by token", together[:, -STEPS - 1 :], found)
    return _shares(decoder, cache, ids[:, first:], mask[:, :first], together[:, -STEPS:])


@torch.no_grad()
def _check_packing(decoder: Decoder, tokens: Sequence[int]) -> None:
    ids, mask = decoder.pad_left(_rows(tokens))
    counts = mask.bool()
    plain = decoder.forward(ids, mask, ids.shape[1]).hidden[counts].float()
    packed = _tried(decoder, "behind one another", lambda: decoder.hidden(ids, mask, ids.shape[1])[counts].float())
    _must_agree(decoder, "behind one another (model.passes.packing)", plain, packed)


@torch.no_grad()
def _check_encoder(encoder: Encoder, tokens: Sequence[int]) -> None:
    rows = [
        Row(tuple(tokens[(7 * i + 3 * j) % len(tokens)] for j in range(length)), ((1, length),), length - 1)
        for i, length in enumerate(LENGTHS)
    ]
    alone = torch.cat([encoder.pooled([row]) for row in rows])
    if not bool(alone.isfinite().all()):
        raise _refusal(encoder.name, "its results are not numbers (NaN or infinite)", "reward.base_model")
    if (far := _distance(alone, encoder.pooled(rows))) > tolerance_of(encoder.model):
        problem = f"a row's results in a padded batch are not those of the row alone: they differ by {far:.2g}"
        raise _refusal(encoder.name, f"{problem} of their size", "reward.base_model")


def _rows(tokens: Sequence[int]) -> list[list[int]]:
    return [[tokens[(5 * i + 3 * j) % len(tokens)] for j in range(size)] for i, size in enumerate(LENGTHS)]


def _both(decoder: Decoder, ids: Tensor, mask: Tensor, keep: int, cache: Cache | None = None) -> Tensor:
    """Logits and hidden states (B, keep, V + H), each by its own size, those of impossible ids left out."""
    output = decoder.forward(ids, mask, keep, cache)
    logits, hidden = output.logits.float(), output.hidden.float()
    logits = torch.where(logits > IMPOSSIBLE / 2, logits, 0.0)
    return torch.cat([part / part.abs().amax(-1, keepdim=True).clamp_min(1e-9) for part in (logits, hidden)], -1)


def _shares(decoder: Decoder, cache: DynamicCache, ends: Tensor, mask: Tensor, whole: Tensor) -> bool:
    """Whether rows behind a beginning that was computed before are as they were, with padding between the two.

    `ends` and the results `whole` are those of the last tokens of two rows, behind what the cache holds.
    """
    fork = torch.tensor([0, 1, 1], device=ends.device)
    own, own_mask = ends[fork], torch.ones_like(ends[fork])
    own[2, 1:], own_mask[2, 0] = ends[1, :-1], 0  # the second row once more, without its last token
    try:
        cache.batch_select_indices(fork)
        found = _both(decoder, own, torch.cat([mask[fork], own_mask], 1), 1, cache)[:, 0]
    except Exception:  # then each row is computed for itself, which was tried before
        return False
    return _distance(torch.stack([whole[0, -1], whole[1, -1], whole[1, -2]]), found) <= tolerance_of(decoder.model)


def _tried(decoder: Decoder, how: str, results: Callable[[], Tensor]) -> Tensor:
    try:
        return results()
    except MemoryError:
        raise
    except Exception as error:  # an architecture that has another cache or mask fails in its own way
        reason = " ".join(str(error).split())
        raise _refusal(decoder.name, f"it cannot be run {how} ({type(error).__name__}: {reason})") from error


def _must_agree(decoder: Decoder, how: str, expected: Tensor, found: Tensor) -> None:
    if (far := _distance(expected, found)) > tolerance_of(decoder.model):
        raise _refusal(
            decoder.name,
            f"a row's results {how} are not those of the row alone: they differ by {far:.2g} of their size",
        )


def _distance(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a share of the largest value; infinite where one is no number."""
    far = float((a - b).abs().max() / a.abs().max().clamp_min(1e-9))
    return far if far == far else float("inf")


def tolerance_of(model: PreTrainedModel) -> float:
    """Return how far results may lie apart, as a share of the largest."""
    return TOLERANCE.get(model.dtype, HALF_TOLERANCE)


def _refusal(name: str, problem: str, field: str = "model.base_model") -> InvalidInput:
    return InvalidInput(f"base_model '{name}' cannot be used: {problem}", field)
