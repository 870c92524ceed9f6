"""Responses written by another sampler while this process scores and learns: those of one step at a time.

A thread waits for the sampler. Whatever order rows are finished in, they are taken and scored in the same pieces.
"""

from __future__ import annotations

import queue
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple, TypeVar

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.errors import Interrupted, InvalidInput
from rlhf_core.inference.generate import Generated
from rlhf_core.inference.remote_sampler import Handover, RemoteSampler
from rlhf_core.inference.sampler_server import PIECE, POLL_SECONDS
from rlhf_core.models.policy import Policy
from rlhf_core.training.parallel import Ranks
from rlhf_core.training.ppo.responses import Asked, Written, refuse_stale
from rlhf_core.training.ppo.state import PpoState

WRITER = "writer"
"""In a checkpoint: the adapter that writes the next step's rows, where it is not the one that has learned since."""

T = TypeVar("T")


class Work:
    """This process's rows of a step, which are being written by the version that was handed over."""

    def __init__(self, step: int, given: Handover, count: int):
        self.step, self.given = step, given
        self.rows: list[Generated | None] = [None] * count
        self.pieces = [slice(start, min(start + PIECE, count)) for start in range(0, count, PIECE)]
        self.finished: queue.SimpleQueue[slice] = queue.SimpleQueue()
        self.seconds = 0.0
        self.failure: Exception | None = None

    def told(self, index: int, row: Generated) -> None:
        """Take up a row; on the sampler's thread."""
        self.rows[index] = row
        piece = self.pieces[index // PIECE]
        if None not in self.rows[piece]:
            self.finished.put(piece)

    def of(self, piece: slice) -> list[Generated]:
        """Return the rows of a piece that is finished."""
        return [row for row in self.rows[piece] if row is not None]


class Ahead:
    """The sampler at work on a step's rows: with `ppo.overlap: rollouts` on the next one's while this is learned."""

    def __init__(
        self,
        sampler: RemoteSampler,
        policy: Policy,
        ask: Callable[[int], Asked],
        config: PpoConfig,
        ranks: Ranks,
    ):
        """`ask` says what a step asks for."""
        self._sampler, self._policy, self._ask, self._config, self._ranks = sampler, policy, ask, config, ranks
        self._closed = Event()
        self._thread: Thread | None = None
        self._work: Work | None = None

    def resume(self, checkpoint: Path | None, step: int) -> None:
        """Let the adapter that a checkpoint holds write the rows of its next step again."""
        if checkpoint is not None and (checkpoint / WRITER).is_dir():
            given = self._sampler.hand_over(checkpoint / WRITER, step - 1, self._ranks.is_first)
            self._begin(step, given)

    def take(self, step: int, score: Callable[[list[Generated], slice], T]) -> tuple[Written, list[T]]:
        """Return all rows of a step, and what `score` makes of each piece of this process's as it is finished.

        As soon as all are written, the sampler goes on with those of the next step, where it may.
        """
        work = self._begin_now(step, step) if self._work is None else self._work
        self._work = None
        scored: dict[int, T] = {}
        waited = 0.0
        for left in reversed(range(len(work.pieces))):
            started = time.perf_counter()
            piece = self._wait(work)
            waited += time.perf_counter() - started
            if not left:
                self._join()
                if self._config.overlap == "rollouts" and step + 1 < self._config.steps:
                    self._begin_now(step + 1, step)
            scored[piece.start] = score(work.of(piece), piece)
        parts = self._ranks.gather(work.rows)
        rows = [Generated(*row) for part in parts for row in part]
        version, given = work.given.version, work.given
        written = Written(rows, version.name, version.step, given.seconds, given.bytes, work.seconds, waited)
        refuse_stale(written, step, self._config.most_stale)
        return written, [scored[start] for start in sorted(scored)]

    def save(self, folder: Path) -> None:
        """Write into a checkpoint what writes the rows that are under way."""
        if self._work is not None and self._ranks.is_first:
            adapter = self._work.given.version.adapter
            assert adapter is not None
            shutil.copytree(adapter.folder, folder / WRITER)

    def close(self) -> None:
        """Give up what is being written."""
        self._closed.set()
        self._join()

    def _begin_now(self, step: int, learned: int) -> Work:
        """Let the policy as it is now, after `learned` steps, write the rows of a step."""
        given = self._sampler.hand_over_adapter(self._policy.adapter, learned, self._ranks.is_first)
        return self._begin(step, given)

    def _begin(self, step: int, given: Handover) -> Work:
        self._ranks.told()  # nobody asks before the first process has handed it over
        asked = self._ask(step)
        own = asked.draw.share
        work = self._work = Work(step, given, own.stop - own.start)
        self._thread = Thread(target=self._write, args=(work, asked), name="rollouts", daemon=True)
        self._thread.start()
        return work

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _write(self, work: Work, asked: Asked) -> None:
        started, draw = time.perf_counter(), asked.draw
        try:
            self._sampler.write(
                work.given.version,
                asked.ids,
                draw.n,
                draw.temperature,
                draw.max_tokens,
                draw.seed,
                draw.share,
                told=work.told,
                poll=self._poll,
            )
        except Exception as error:  # whatever it is, it is told to whoever waits for these rows
            work.failure = error
        work.seconds = time.perf_counter() - started

    def _poll(self) -> None:
        if self._closed.is_set():
            raise Interrupted("nobody waits for these rows any more")

    def _wait(self, work: Work) -> slice:
        """Return the next piece that is finished, and let others use the device until then."""
        while True:
            at_work = self._thread is not None and self._thread.is_alive()
            try:
                return work.finished.get(timeout=POLL_SECONDS if at_work else 0)
            except queue.Empty:
                if work.failure is not None and not at_work:
                    raise work.failure from None
                self._sampler.poll()


@contextmanager
def rows_ahead(
    sampler: RemoteSampler | None,
    policy: Policy,
    ask: Callable[[int], Asked],
    config: PpoConfig,
    ranks: Ranks,
    checkpoint: Path | None,
    step: int,
) -> Iterator[Ahead | None]:
    """Have rows written ahead while the block lasts, from `step` on; None where the configuration asks for no overlap.

    Raises: InvalidInput where there is nobody to write them.
    """
    if config.overlap == "none":
        yield None
        return
    if sampler is None:
        raise InvalidInput(
            f"ppo.overlap is '{config.overlap}' and nobody writes beside the learners; allowed: model.sampler.address, "
            "or one learner",
            "ppo.overlap",
        )
    with closing(Ahead(sampler, policy, ask, config, ranks)) as ahead:
        ahead.resume(checkpoint, step)
        yield ahead


class AheadState(NamedTuple):
    """What PPO carries from one step to the next where rows are written ahead."""

    state: PpoState
    ahead: Ahead

    def save(self, folder: Path) -> None:
        """Write a checkpoint."""
        self.state.save(folder)
        self.ahead.save(folder)
