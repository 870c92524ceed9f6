"""Responses as coroutines: the prompts of all callers go into one batch, and each caller waits only for its own."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple, Protocol

from rlhf_core.errors import Exhausted, Unavailable
from rlhf_core.inference.sequence import SamplingParams, TokenSequence
from rlhf_core.records.samples import Prompt, Sample
from services.serving.executor import Executor, as_error
from services.serving.malloc import give_back
from services.telemetry import metrics

QUEUE = "responses"
"""Its name in the metrics."""
MOST_WAITING = 4096
"""Responses asked for and not yet written, unless the caller says otherwise."""
IDLE_SECONDS = 1.0
"""When nobody has asked for so long, the memory of the last batch goes back to the system."""


class Answer(NamedTuple):
    """A sample with the ids of its tokens and their log-probs in nats, those of a stop string included."""

    sample: Sample
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


class Piece(NamedTuple):
    """What has been written since the piece before, with how many tokens there are now and their log-probs' sum."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    written: int
    logprob: float
    answer: Answer | None
    """The whole response, in the last piece."""


class Writers(Protocol):
    """What the model's thread does for the queue."""

    def begin(
        self,
        prompts: Sequence[Prompt],
        policy_version: str,
        params: SamplingParams,
        gone: Callable[[], bool],
        shown: bool,
    ) -> list[TokenSequence]: ...

    def step(self) -> int: ...

    def clear(self) -> None: ...

    def samples(self, prompts: Sequence[Prompt], rows: Sequence[TokenSequence]) -> list[Sample]: ...


class _Order:
    """A call: what it asks for, and what the model's thread has for it. `news` is set on the event loop."""

    def __init__(self, prompts: Sequence[Prompt], policy_version: str, params: SamplingParams, shown: bool):
        self.prompts, self.shown = prompts, shown
        self.policy_version, self.params = policy_version, params
        self.news = asyncio.Event()
        self.gone = False
        self.rows: list[TokenSequence] = []
        self.seen, self.logprob = 0, 0.0
        self.pieces: deque[Piece] = deque()
        self.answers: list[Answer] | None = None
        self.error: Exception | None = None

    @property
    def over(self) -> bool:
        return self.answers is not None or self.error is not None or self.gone

    async def changed(self) -> None:
        """Wait for news; raises what went wrong."""
        await self.news.wait()
        self.news.clear()
        if self.error is not None:
            raise self.error


class GenerationQueue:
    """While somebody waits, one step of the engine after the other is a unit of work on the model's thread."""

    def __init__(self, writers: Writers, executor: Executor, most_waiting: int = MOST_WAITING):
        self._writers, self._executor, self._most_waiting = writers, executor, most_waiting
        self._waiting_rows = metrics.WAITING_ROWS.labels(QUEUE)
        self._batch_rows = metrics.BATCH_ROWS.labels(QUEUE)
        self._arrived: list[_Order] = []
        self._open: list[_Order] = []
        self._rows = 0
        self._pace = 0.1
        self._driver: asyncio.Task[None] | None = None
        self._rest: asyncio.TimerHandle | None = None

    @property
    def rows(self) -> int:
        """Responses asked for and not yet answered."""
        return self._rows

    async def generate(self, prompts: Sequence[Prompt], policy_version: str, params: SamplingParams) -> list[Answer]:
        """n responses per prompt, grouped by prompt. A caller that is cancelled stops them before their next token.

        Raises Exhausted when too many wait already.
        """
        order = _Order(prompts, policy_version, params, shown=False)
        with self._placed(order):
            while order.answers is None:
                await order.changed()
            return order.answers

    async def stream(self, prompt: Prompt, policy_version: str, params: SamplingParams) -> AsyncIterator[Piece]:
        """One response, piece by piece as it is written; leaving the loop stops it."""
        order = _Order([prompt], policy_version, params, shown=True)
        with self._placed(order):
            last = False
            while not last:
                await order.changed()
                while order.pieces:
                    piece = order.pieces.popleft()
                    last = piece.answer is not None
                    yield piece

    @contextmanager
    def _placed(self, order: _Order) -> Iterator[None]:
        """The order is worked on as long as the block lasts."""
        if self._rows >= self._most_waiting:
            raise Exhausted(
                f"{self._rows} responses are being written or wait already; at most {self._most_waiting} may",
                hint="try again later, or ask from fewer places at once",
                retry_seconds=min(30.0, max(0.1, self._rows * self._pace)),
            )
        size, begun = len(order.prompts) * order.params.n, time.monotonic()
        self._rows += size
        self._waiting_rows.set(self._rows)
        self._arrived.append(order)
        if self._driver is None or self._driver.done():
            self._driver = asyncio.get_running_loop().create_task(self._drive())
        try:
            yield
        finally:
            order.gone = True
            self._pace = 0.9 * self._pace + 0.1 * (time.monotonic() - begun) / self._rows
            self._rows -= size
            self._waiting_rows.set(self._rows)

    async def _drive(self) -> None:
        """Turn after turn while there is something to write."""
        more = True
        while more or self._arrived:
            arrived, self._arrived = self._arrived, []
            try:
                news, more = await self._executor.run(self._turn, arrived)
            except Exception as error:  # the executor is closed, or the turn broke
                news, more = [*arrived, *self._open], False
                for order in news:
                    order.error = error
            for order in news:
                order.news.set()
        if self._rest is not None:
            self._rest.cancel()
        self._rest = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._give_back)

    def _give_back(self) -> None:
        with suppress(Unavailable):  # the executor is closed
            if not self._rows:
                self._executor.submit(give_back)

    def _turn(self, arrived: Sequence[_Order]) -> tuple[list[_Order], bool]:
        """A step on the model's thread: the orders that have news, and whether there is more to do."""
        for order in arrived:
            if order.gone:
                continue
            try:
                gone = _asks_whether_gone(order)
                order.rows = self._writers.begin(order.prompts, order.policy_version, order.params, gone, order.shown)
            except Exception as error:
                order.error = error
            self._open.append(order)
        try:
            if written := self._writers.step():
                self._batch_rows.observe(written)
        except BaseException as error:
            self._writers.clear()
            for order in self._open:
                order.error = order.error or as_error(error)
        news = [order for order in self._open if self._has_news(order)]
        self._open = [order for order in self._open if not order.over]
        return news, bool(self._open)

    def _has_news(self, order: _Order) -> bool:
        if order.error is None and not order.gone:
            try:
                return self._gathered(order)
            except Exception as error:
                order.error = error
        return order.error is not None

    def _gathered(self, order: _Order) -> bool:
        """Take from the engine what is new for an order, if anything is."""
        ended = all(row.ended for row in order.rows)
        if ended:
            samples = self._writers.samples(order.prompts, order.rows)
            order.answers = [
                Answer(sample, tuple(row.tokens), tuple(row.logprobs))
                for sample, row in zip(samples, order.rows, strict=True)
            ]
        grew = order.shown and len(order.rows[0].tokens) > order.seen
        if grew:
            order.pieces.append(_piece(order))
        return ended or grew


def _piece(order: _Order) -> Piece:
    (row,) = order.rows
    tokens, logprobs = tuple(row.tokens[order.seen :]), tuple(row.logprobs[order.seen :])
    order.seen, order.logprob = len(row.tokens), order.logprob + sum(logprobs)
    answer = order.answers[0] if order.answers else None
    return Piece(row.piece(), tokens, logprobs, order.seen, order.logprob, answer)


def _asks_whether_gone(order: _Order) -> Callable[[], bool]:
    return lambda: order.gone
