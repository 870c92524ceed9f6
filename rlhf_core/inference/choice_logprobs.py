"""Labels weighed by their log-probabilities: what conversations have in common is computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from rlhf_core.errors import InvalidInput
from rlhf_core.inference.kv_cache import roomy_cache
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Message

MAX_ROWS = 128
SHARED = 0.5
"""Rows are one family when at least this share of a row is what they all begin with."""


class Family(NamedTuple):
    """Rows that begin alike: the length of what they share, and their numbers. A row alone shares nothing."""

    prefix: int
    rows: list[int]


@torch.inference_mode()
def choose(backbone: Backbone, conversations: Sequence[Sequence[Message]], labels: Sequence[str]) -> list[list[float]]:
    """Return, for each conversation, each label's log-prob as the assistant's first token, in nats.

    A label counts with and without a leading space, as tokenizers differ in which one begins a turn.
    """
    label_ids = [_label_ids(backbone, label) for label in labels]
    if len(set(chain.from_iterable(label_ids))) != sum(map(len, label_ids)):
        raise InvalidInput(f"two of the labels {', '.join(labels)} are the same token")
    rows = [backbone.render(conversation) for conversation in conversations]
    for row in rows:
        backbone.check_length(len(row), 1)
    results: list[list[float]] = [[] for _ in rows]
    for batch in _batches(rows, families_for(backbone, rows), backbone.most_positions):
        logprobs = _next_logits(backbone, rows, batch).float().log_softmax(-1)
        columns = torch.stack([logprobs[:, ids_of_label].logsumexp(-1) for ids_of_label in label_ids], 1)
        for i, values in zip(chain.from_iterable(family.rows for family in batch), columns.tolist(), strict=True):
            results[i] = values
    return results


def families_for(backbone: Backbone, rows: Sequence[Sequence[int]]) -> list[Family]:
    """Return the rows in families, or each row alone where the model gives other results behind a shared beginning."""
    if shares(backbone, max(map(len, rows), default=0)):
        return families(rows)
    return [Family(0, [i]) for i in range(len(rows))]


def shares(backbone: Backbone, longest: int) -> bool:
    """Tell whether rows of at most `longest` tokens may be computed behind a shared beginning.

    Padding between a beginning and its rows' own ends counts among the tokens that a window looks back at.
    """
    return backbone.shares_beginnings and (backbone.window is None or 2 * longest <= backbone.window)


def families(rows: Sequence[Sequence[int]]) -> list[Family]:
    """Group rows into families; at least the last token of every row is its own."""
    found: list[Family] = []
    for i in sorted(range(len(rows)), key=lambda i: list(rows[i])):
        if found:
            prefix, members = found[-1]
            shared = min(_common(rows[members[0]], rows[i]), prefix, len(rows[i]) - 1)
            if shared >= SHARED * max(len(rows[i]), len(rows[members[0]])):
                found[-1] = Family(shared, [*members, i])
                continue
        found.append(Family(len(rows[i]) - 1, [i]))
    return [family if len(family.rows) > 1 else Family(0, family.rows) for family in found]


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two rows begin with alike."""
    for place, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return place
    return min(len(a), len(b))


def _batches(rows: Sequence[Sequence[int]], found: Sequence[Family], max_tokens: int) -> Iterator[list[Family]]:
    """Families of like length together, with and without a shared beginning apart; a large family is cut."""
    pieces = [
        Family(family.prefix, family.rows[start : start + MAX_ROWS])
        for family in found
        for start in range(0, len(family.rows), MAX_ROWS)
    ]
    batch: list[Family] = []
    count = 0
    for piece in sorted(pieces, key=lambda piece: (piece.prefix, len(rows[piece.rows[0]]))):
        longest = max(len(rows[i]) for i in piece.rows)
        total = count + len(piece.rows)
        apart = bool(batch) and (batch[0].prefix == 0) != (piece.prefix == 0)
        if batch and (apart or total > MAX_ROWS or total * longest > max_tokens):
            yield batch
            batch, total = [], len(piece.rows)
        batch.append(piece)
        count = total
    if batch:
        yield batch


def _next_logits(backbone: Backbone, rows: Sequence[list[int]], batch: Sequence[Family]) -> Tensor:
    """Logits (B, V) of the token after each row, in the order of the families."""
    members = [i for family in batch for i in family.rows]
    if batch[0].prefix == 0:
        ids, mask = backbone.pad_left([rows[i] for i in members])
        return backbone.forward(ids, mask, 1).logits[:, -1]
    ids, mask = backbone.pad_left([rows[family.rows[0]][: family.prefix] for family in batch])
    own, own_mask = backbone.pad_left([rows[i][family.prefix :] for family in batch for i in family.rows])
    cache = roomy_cache(backbone.model.config, ids.shape[1] + own.shape[1])
    backbone.forward(ids, mask, 1, cache)
    fork = torch.tensor([place for place, family in enumerate(batch) for _ in family.rows], device=ids.device)
    cache.batch_select_indices(fork)
    # The padding of the rows' own ends stands between the two parts: masked, and counted by no position.
    return backbone.forward(own, torch.cat([mask[fork], own_mask], 1), 1, cache).logits[:, -1]


def _label_ids(backbone: Backbone, label: str) -> list[int]:
    encoded = [backbone.tokenizer.encode(text, add_special_tokens=False) for text in (label, f" {label}")]
    single = sorted({ids[0] for ids in encoded if len(ids) == 1})
    if not single:
        raise InvalidInput(f"label '{label}' is {len(encoded[0])} tokens for '{backbone.name}'; allowed: one token")
    return single
