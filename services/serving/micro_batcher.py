"""Calls of many callers answered together: one pass of the model serves all that wait for the same."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from rlhf_core.errors import Exhausted
from services.serving.executor import Executor, Patience, as_error, settle_error
from services.telemetry import metrics
from services.wire.batches import batches

LONG = 2048
"""Characters of a text that counts as one row of a unit; a longer one counts for more."""
WINDOW = 4
"""Units that are sorted by length together."""
MOST_WAITING = 4096
"""Rows that may wait, unless the caller says otherwise."""

T = TypeVar("T")
R = TypeVar("R")
Work = Callable[[Sequence[Any], Callable[[], bool]], list[Any]]
"""One result for each item; may end early once it is told that nobody waits any more."""


class Kind(NamedTuple):
    """What calls must have in common to be answered together; `work` is the same for equal keys."""

    key: Hashable
    work: Work
    length: Callable[[Any], int]
    """Of an item, in characters."""
    unit: int
    """Rows of one unit of work."""


@dataclass(frozen=True, eq=False)
class Call:
    """Items that wait, all of one call; `gone` when nobody waits for them any more."""

    kind: Kind
    items: Sequence[Any]
    longest: int
    gone: Callable[[], bool]
    answer: asyncio.Future[list[Any]]


class MicroBatcher:
    """One line of waiting calls on an executor. Those who are gone before the model comes to them cost it nothing."""

    def __init__(self, executor: Executor, most_waiting: int = MOST_WAITING, name: str = "model"):
        """`name` is the line's in the metrics."""
        self._executor = executor
        self._waiting_rows = metrics.WAITING_ROWS.labels(name)
        self._batch_rows = metrics.BATCH_ROWS.labels(name)
        self._most_waiting = most_waiting
        self._rows = 0
        self._pace = 0.01
        self._waiting: dict[Call, None] = {}
        self._lock = threading.Lock()

    @property
    def rows(self) -> int:
        """Rows that wait or are at work; of a long call those of its next unit."""
        return self._rows

    async def ask(self, kind: Kind, items: Sequence[T]) -> list[Any]:
        """Ask for one result for each item. A long call waits in its turn again after each of its units.

        Raises Exhausted when so many rows wait already that it would take too long; nothing has been done then.
        """
        if self._rows >= self._most_waiting:
            raise Exhausted(
                f"{self._rows} rows wait for the model already; at most {self._most_waiting} may",
                hint="try again later, or ask from fewer places at once",
                retry_seconds=min(30.0, max(0.1, self._rows * self._pace)),
            )
        lengths = [kind.length(item) for item in items]
        order = sorted(range(len(items)), key=lengths.__getitem__)
        found: dict[int, Any] = {}
        for unit in batches([_rows_of(lengths[place]) for place in order], kind.unit):
            places = [order[i] for i in unit]
            answers = await self._one(kind, [items[place] for place in places], lengths[places[-1]])
            found |= zip(places, answers, strict=True)
        return [found[place] for place in range(len(items))]

    @contextmanager
    def _counted(self, rows: int) -> Iterator[None]:
        self._rows += rows
        self._waiting_rows.inc(rows)
        try:
            yield
        finally:
            self._rows -= rows
            self._waiting_rows.dec(rows)

    async def _one(self, kind: Kind, items: Sequence[Any], longest: int) -> list[Any]:
        with self._counted(len(items)), Patience() as gone:
            call = Call(kind, items, longest, gone, asyncio.get_running_loop().create_future())
            with self._lock:
                self._waiting[call] = None
            try:
                # A call does not wait for an executor that has closed.
                self._executor.post(self._turn, partial(settle_error, call.answer))
                return await call.answer
            finally:
                with self._lock:
                    self._waiting.pop(call, None)

    def _turn(self) -> None:
        """Answer waiting calls, on the model's thread; an earlier turn may have answered them all already."""
        calls = self._take()
        if not calls:
            return
        started, rows = time.perf_counter(), sum(len(call.items) for call in calls)
        try:
            answers = iter(list(zip(calls, _solve(calls), strict=True)))
        except BaseException as error:
            # Those taken along have no turn of their own that could fail.
            for call in calls:
                settle_error(call.answer, error)
            return
        self._pace += 0.2 * ((time.perf_counter() - started) / rows - self._pace)
        self._batch_rows.observe(rows)
        calls[0].answer.get_loop().call_soon_threadsafe(_tell, answers)

    def _take(self) -> list[Call]:
        """The call that waits longest with those of its kind that are most like it in length."""
        with self._lock:
            here = [call for call in self._waiting if not call.gone()]
            if not here:
                return []
            taken = _like_the_first(here)
            for call in taken:
                del self._waiting[call]
            return taken


def _like_the_first(calls: Sequence[Call]) -> list[Call]:
    """Of the calls of the first one's kind as many as make a unit with it, of like length."""
    first, kind = calls[0], calls[0].kind
    alike = islice((call for call in calls if call.kind.key == kind.key), WINDOW * kind.unit)
    ordered = sorted(alike, key=lambda call: call.longest)
    sizes = [len(call.items) * _rows_of(call.longest) for call in ordered]
    units = -(-sum(sizes) // kind.unit)
    groups = ([ordered[place] for place in places] for places in batches(sizes, -(-sum(sizes) // units)))
    return next(group for group in groups if first in group)


def _rows_of(length: int) -> int:
    return 1 + length // LONG


def _solve(calls: Sequence[Call]) -> list[list[Any] | Exception]:
    """The results of each call; what is wrong in one of them is its own affair, and found by halves."""
    items = [item for call in calls for item in call.items]
    try:
        results = iter(calls[0].kind.work(items, lambda: all(call.gone() for call in calls)))
    except Exception as error:
        if len(calls) == 1 or all(call.gone() for call in calls):
            return [as_error(error)] * len(calls)
        half = len(calls) // 2
        return [*_solve(calls[:half]), *_solve(calls[half:])]
    return [list(islice(results, len(call.items))) for call in calls]


def _tell(answers: Iterator[tuple[Call, list[Any] | Exception]]) -> None:
    """On the event loop: one caller at each of its turns, so that others, such as health, are looked after between."""
    found = next(answers, None)
    if found is None:
        return
    call, answer = found
    if not call.answer.done():
        if isinstance(answer, Exception):
            call.answer.set_exception(answer)
        else:
            call.answer.set_result(answer)
    asyncio.get_running_loop().call_soon(_tell, answers)
