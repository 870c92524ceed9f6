"""Continuous batching: requests join between two decode steps while others are written, and leave when they end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from rlhf_core.inference.sequence import Writing

MAX_ROWS = 256
"""Rows that are written at the same time."""
MAX_POSITIONS = 65536
"""Rows times the longest one's positions, which bounds the memory of keys and values."""
PREFILL_TOKENS = 2048
"""Prompt tokens that join between two steps: others wait no longer than these take."""
SHARE = 8
"""A call may take all rows but one in SHARE, which stay free for other calls. More rows of a call that is at work join
once one in SHARE of all rows is free, as one prompt alone takes as long to compute as several together."""


class Decoder(Protocol):
    """An engine at work on the rows of one policy version."""

    @property
    def rows(self) -> Sequence[Writing]:
        """Those being written."""
        ...

    @property
    def bytes(self) -> int:
        """Memory that their keys and values take."""
        ...

    def join(self, rows: Sequence[Writing]) -> None:
        """Begin to write; a first token may be written at once."""
        ...

    def step(self) -> None:
        """At most one more token in each row; rows that have ended leave."""
        ...

    def leave(self) -> None:
        """Let go of the rows that have ended, and of their memory."""
        ...


class Call(NamedTuple):
    """Rows that one caller asked for together: those that have not begun, and those being written."""

    gone: Callable[[], bool]
    waiting: deque[Writing]
    begun: list[Writing]


class Batcher:
    """Rows of many calls and of several policy versions, on the thread that owns the model.

    Versions take turns, a step each, so that each row comes wholly from its own; calls take turns to join, so that a
    long one does not hold up a short one.
    """

    def __init__(
        self,
        decoder: Callable[[str], Decoder],
        activate: Callable[[str], AbstractContextManager[None]],
        max_rows: int = MAX_ROWS,
        max_positions: int = MAX_POSITIONS,
    ):
        """`activate` makes the model that of a version for one unit of work."""
        self._decoder, self._activate = decoder, activate
        self._max_rows, self._max_positions = max_rows, max_positions
        self._share = max(1, max_rows - max_rows // SHARE)
        self._decoders: dict[str, Decoder] = {}
        self._calls: deque[Call] = deque()

    @property
    def waiting(self) -> int:
        """Rows that have not begun."""
        return sum(len(call.waiting) for call in self._calls)

    @property
    def rows(self) -> list[Writing]:
        """Those being written."""
        return [row for decoder in self._decoders.values() for row in decoder.rows]

    @property
    def versions(self) -> frozenset[str]:
        """Policy versions that are at work or will be."""
        return frozenset(self._decoders) | {call.waiting[0].ask.policy for call in self._calls if call.waiting}

    @property
    def bytes(self) -> int:
        """Memory of keys and values."""
        return sum(decoder.bytes for decoder in self._decoders.values())

    def add(self, rows: Sequence[Writing], gone: Callable[[], bool] = lambda: False) -> None:
        """A call's rows, all of one version, which wait for their turn; they are cut when the caller is `gone`."""
        self._calls.append(Call(gone, deque(rows), []))

    def step(self) -> int:
        """Drop rows that nobody waits for, let others join, write a token in each row of one version and count them."""
        self._drop_gone()
        joining = self._admitted()
        for version in dict.fromkeys(row.ask.policy for row in joining):
            decoder = self._decoders.get(version) or self._decoder(version)
            self._decoders[version] = decoder
            with self._activate(version):
                decoder.join([row for row in joining if row.ask.policy == version])
        written = self._write()
        self._forget_ended()
        return written

    def clear(self) -> None:
        """Cut all rows and let go of them, after an engine has failed."""
        for call in self._calls:
            _cut(call)
        self._calls.clear()
        self._decoders.clear()

    def _write(self) -> int:
        version = next((version for version, decoder in self._decoders.items() if decoder.rows), None)
        if version is None:
            return 0
        decoder = self._decoders[version] = self._decoders.pop(version)
        rows = len(decoder.rows)
        with self._activate(version):
            decoder.step()
        return rows

    def _drop_gone(self) -> None:
        gone = [call for call in self._calls if call.gone()]
        for call in gone:
            _cut(call)
        if gone:
            for decoder in self._decoders.values():
                decoder.leave()
            self._forget_ended()

    def _forget_ended(self) -> None:
        for call in self._calls:
            call.begun[:] = [row for row in call.begun if not row.ended]
        self._calls = deque(call for call in self._calls if call.waiting or call.begun)
        self._decoders = {version: decoder for version, decoder in self._decoders.items() if decoder.rows}

    def _admitted(self) -> list[Writing]:
        """Rows that begin now, prompt by prompt of each call in turn."""
        if not any(call.waiting for call in self._calls):
            return []
        rows = self.rows
        live, tokens, refused = len(rows), 0, 0
        while refused < len(self._calls) and tokens < PREFILL_TOKENS:
            call = self._calls[0]
            self._calls.rotate(-1)
            begun = self._begin(call, rows)
            if begun is None:
                self._calls.rotate(1)
                break
            tokens += len(begun[0].ask.prompt) if begun else 0
            refused = 0 if begun else refused + 1
            rows += begun
        return rows[live:]

    def _begin(self, call: Call, rows: Sequence[Writing]) -> list[Writing] | None:
        """The rows of a call's next prompt that fit beside `rows`; None when a wide one must wait until others end."""
        room = min(self._max_rows - len(rows), self._share - len(call.begun))
        if not call.waiting or (call.begun and room < min(len(call.waiting), self._max_rows // SHARE)):
            return []
        prompt = call.waiting[0].ask.prompt
        reach = max((row.reach for row in rows), default=0)
        begun: list[Writing] = []
        while call.waiting and call.waiting[0].ask.prompt == prompt and len(begun) < room:
            reach = max(reach, call.waiting[0].reach)
            count = len(rows) + len(begun) + 1
            if count > 1 and count * reach > self._max_positions:
                break
            begun.append(call.waiting.popleft())
        call.begun.extend(begun)
        return begun or None


def _cut(call: Call) -> None:
    for row in (*call.waiting, *call.begun):
        row.cut()
    call.waiting.clear()
