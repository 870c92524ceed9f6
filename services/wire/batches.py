"""Cutting many items into calls and units of work of a bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from google.protobuf.message import Message as ProtoMessage

MAX_BATCH_BYTES = 2 * 2**20
"""Requests are cut far below the limit of a message, as an answer repeats its request and adds to it."""
LEAST_BYTES = 256
"""What a message counts at least, so that a request has no more than 8192: servers bound their number too."""


def batches(sizes: Sequence[int], max_size: int, keys: Sequence[str] | None = None) -> Iterator[list[int]]:
    """Yield the places of the items, in batches of at most `max_size` in sum; a larger item stands alone.

    Items of one key stay together: a repeated prompt is drawn anew only within one batch.
    """
    groups: dict[str, list[int]] = {}
    for place in range(len(sizes)):
        groups.setdefault(keys[place] if keys else str(place), []).append(place)
    batch: list[int] = []
    total = 0
    for group in groups.values():
        size = sum(sizes[place] for place in group)
        if batch and total + size > max_size:
            yield batch
            batch, total = [], 0
        batch += group
        total += size
    if batch:
        yield batch


def weight(message: ProtoMessage) -> int:
    """Return what a message counts towards the size of a request."""
    return max(message.ByteSize(), LEAST_BYTES)


def in_order(messages: Sequence[ProtoMessage]) -> Iterator[slice]:
    """Yield runs of messages that fit into one call."""
    for places in batches([weight(message) for message in messages], MAX_BATCH_BYTES):
        yield slice(places[0], places[-1] + 1)
