"""Responses as coroutines: the prompts of all callers go into one batch, and each caller waits only for its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rlhf_core.errors import Exhausted
from rlhf_core.inference.sequence import SamplingParams
from rlhf_core.records.samples import Prompt
from services.serving.executor import Executor
from services.serving.generation_order import QUEUE, Answer, Order, Piece
from services.serving.generation_turns import GenerationTurns
from services.telemetry import metrics

if TYPE_CHECKING:
    from rlhf_core.inference.engine import Engine

MOST_WAITING = 4096
"""Responses asked for and not yet written, unless the caller says otherwise."""


class GenerationQueue:
    """While somebody waits, one step of the engine after the other is a unit of work on the model's thread."""

    def __init__(self, engine: Engine, executor: Executor, most_waiting: int = MOST_WAITING):
        self._turns, self._executor, self._most_waiting = GenerationTurns(engine), executor, most_waiting
        self._waiting_rows = metrics.WAITING_ROWS.labels(QUEUE)
        self._arrived: list[Order] = []
        self._rows = 0
        self._pace = 0.1
        self._driver: asyncio.Task[None] | None = None

    @property
    def rows(self) -> int:
        """Responses asked for and not yet answered."""
        return self._rows

    async def generate(self, prompts: Sequence[Prompt], policy_version: str, params: SamplingParams) -> list[Answer]:
        """Write n responses per prompt, grouped by prompt.

        A caller that is cancelled stops them before their next token.

        Raises Exhausted when too many wait already.
        """
        order = Order(prompts, policy_version, params, shown=False)
        with self._placed(order):
            while order.answers is None:
                await order.changed()
            return order.answers

    async def stream(self, prompt: Prompt, policy_version: str, params: SamplingParams) -> AsyncIterator[Piece]:
        """Yield one response, piece by piece as it is written; leaving the loop stops it."""
        order = Order([prompt], policy_version, params, shown=True)
        with self._placed(order):
            last = False
            while not last:
                await order.changed()
                while order.pieces:
                    piece = order.pieces.popleft()
                    last = piece.answer is not None
                    yield piece

    @contextmanager
    def _placed(self, order: Order) -> Iterator[None]:
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
                news, more = await self._executor.run(self._turns.take, arrived)
            except Exception as error:  # the executor is closed, or the turn broke
                news, more = [*arrived, *self._turns.orders], False
                for order in news:
                    order.error = error
            for order in news:
                order.news.set()
