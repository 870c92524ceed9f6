"""Continuous batching: which sequences join between two decode steps, while others are written. No model is needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.inference.sequence import TokenSequence

MAX_ROWS = 256
"""Sequences that are written at the same time."""
MAX_POSITIONS = 65536
"""Sequences times the longest one's positions, which bounds the memory of keys and values."""
PREFILL_TOKENS = 2048
"""Prompt tokens that join between two steps: others wait no longer than these take."""
PREFILL_SPREAD = 1.5
"""Prompts are computed together when the longest is at most this many times as long as the shortest."""
SHARE = 8
"""One row in so many stays free for other calls, however much one call asks for; and a call that has rows at work lets
more of its sequences join so many at a time, as one prompt alone takes as long to compute as several together."""


class RequestGroup(NamedTuple):
    """Sequences that one caller asked for together: those that have not begun, and those being written."""

    waiting: deque[TokenSequence]
    begun: list[TokenSequence]


class Scheduler:
    """Calls take turns to join, so that a long one does not hold up a short one."""

    def __init__(self, max_rows: int = MAX_ROWS, max_positions: int = MAX_POSITIONS):
        self._max_rows, self._max_positions = max_rows, max_positions
        self._share = max(1, max_rows - max_rows // SHARE)
        self._groups: deque[RequestGroup] = deque()

    @property
    def waiting(self) -> int:
        """Sequences that have not begun."""
        return sum(len(group.waiting) for group in self._groups)

    @property
    def waiting_versions(self) -> frozenset[str]:
        """Policy versions of sequences that have not begun."""
        return frozenset(group.waiting[0].policy_version for group in self._groups if group.waiting)

    def add(self, sequences: Sequence[TokenSequence]) -> None:
        """Add the sequences of a call, all of one policy version, which wait for their turn."""
        self._groups.append(RequestGroup(deque(sequences), []))

    def admit(self, rows: Sequence[TokenSequence]) -> list[list[TokenSequence]]:
        """Return the sequences that begin now beside `rows`; calls take turns, a prompt each.

        Those of one list are of one policy version, and their prompts of like length.
        """
        if not any(group.waiting for group in self._groups):
            return []
        joined = list(rows)
        tokens = refused = 0
        while refused < len(self._groups) and tokens < PREFILL_TOKENS:
            group = self._groups[0]
            self._groups.rotate(-1)
            begun = self._begin(group, joined)
            if begun is None:
                self._groups.rotate(1)
                break
            tokens += len(begun[0].prompt) if begun else 0
            refused = 0 if begun else refused + 1
            joined += begun
        return _batches(joined[len(rows) :])

    def forget_ended(self) -> None:
        """Forget the sequences that have ended, and calls of which none is left."""
        for group in self._groups:
            group.begun[:] = [sequence for sequence in group.begun if not sequence.ended]
        self._groups = deque(group for group in self._groups if group.waiting or group.begun)

    def abort(self, sequences: Sequence[TokenSequence]) -> None:
        """Cut sequences; those of them that have not begun never will."""
        for sequence in sequences:
            sequence.cut()
        groups = [
            RequestGroup(deque(one for one in waiting if not one.ended), begun) for waiting, begun in self._groups
        ]
        self._groups = deque(groups)

    def clear(self) -> None:
        """Cut all sequences and forget them."""
        for group in self._groups:
            for sequence in (*group.waiting, *group.begun):
                sequence.cut()
        self._groups.clear()

    def _begin(self, group: RequestGroup, rows: Sequence[TokenSequence]) -> list[TokenSequence] | None:
        """Take what fits beside `rows` of a call's next prompt; None when a wide one must wait until others end."""
        room = min(self._max_rows - len(rows), self._share - len(group.begun))
        if not group.waiting or (group.begun and room < min(len(group.waiting), self._max_rows // SHARE)):
            return []
        prompt = group.waiting[0].prompt
        reach = max((row.reach for row in rows), default=0)
        begun: list[TokenSequence] = []
        while group.waiting and group.waiting[0].prompt == prompt and len(begun) < room:
            reach = max(reach, group.waiting[0].reach)
            count = len(rows) + len(begun) + 1
            if count > 1 and count * reach > self._max_positions:
                break
            begun.append(group.waiting.popleft())
        group.begun.extend(begun)
        return begun or None


def _batches(sequences: Sequence[TokenSequence]) -> list[list[TokenSequence]]:
    """Return sequences whose prompts are computed together: of one policy version and of like length."""
    batches: list[list[TokenSequence]] = []
    for sequence in sorted(sequences, key=lambda one: (one.policy_version, len(one.prompt))):
        shortest = batches[-1][0] if batches else sequence
        fits = len(sequence.prompt) <= PREFILL_SPREAD * len(shortest.prompt)
        if batches and fits and sequence.policy_version == shortest.policy_version:
            batches[-1].append(sequence)
        else:
            batches.append([sequence])
    return batches
