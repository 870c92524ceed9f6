"""Define what every stage is given and does alike: progress, stopping, units of model work."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from rlhf_core.config.learner import LearnerConfig
from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.constitution import Constitution
from rlhf_core.errors import CharterError
from rlhf_core.interfaces import Feedback, PanelJudge, Sampler, Scorer, World
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.encoder import Encoder
from rlhf_core.models.kernels.malloc import give_back
from rlhf_core.records.base import Stage
from rlhf_core.records.runs import Run, StageResult, StepMetrics
from rlhf_core.store.store import Store
from rlhf_core.training.learners.launch import Learning, learners

T = TypeVar("T")
LARGE = 50_000_000
"""Weights of a model that takes seconds for what a small one does at once."""
PIECE_OF_A_LARGE_MODEL = 24
"""About half a minute of the longest stages of 135 million weights on two cores."""
GIVEN_BACK_EVERY = 10.0
"""Seconds of training from one time to the next, as pages that were given back have to be touched anew."""


class OnDevice(Protocol):
    """Runs one short unit of model work on the thread that owns the model."""

    def __call__(self, unit: Callable[[], T]) -> T: ...


class Toolbox(NamedTuple):
    """The models as a run sees them: local objects in a test, gRPC clients in a server."""

    sampler: Sampler
    feedback: Callable[[Constitution], Feedback]
    scorer: Scorer
    backbone: Backbone
    base_of: Callable[[str | None], Backbone | Encoder]
    """The base of this name that a reward model has for itself; none is the policy's."""
    on_device: OnDevice
    world: World | None
    """The built-in world with its prompts and truth; none where the user's own prompts are asked."""
    runs_folder: Path
    panel: Callable[[Constitution], Sequence[PanelJudge]] = lambda constitution: ()
    """The judges that label together; none where `feedback` labels alone."""
    learning: Learning = learners
    """How processes that train beside this one are started."""


class RunStopped(CharterError):
    """The run was asked to stop (cancelled, paused, or the server drains); finished work is stored."""


class Context(NamedTuple):
    run: Run
    config: RunConfig
    constitution: Constitution
    weights: dict[str, float]
    store: Store
    tools: Toolbox
    results: dict[Stage, StageResult]
    """Results of the stages before this one, of this run or of the run it starts from."""
    report: Callable[[str, str], None]
    should_stop: Callable[[], bool]

    @property
    def learner(self) -> LearnerConfig:
        """The processes that train here: those that the run asks for, unless the environment says otherwise."""
        return self.config.learner.here(os.environ)

    def progress(
        self, stage: Stage, step: int, steps: int, store: Callable[[], None] = lambda: None, /, **values: float
    ) -> None:
        """Publish one step, in one commit with what else is to `store` of it.

        So a step from which a run goes on has been told. Raises RunStopped when the run was asked to stop.
        """
        told = StepMetrics(stage=stage, step=step, steps=steps, values=values)
        with self.store.transaction(self.run.id, self.run.fence):
            store()
            self.report("metrics", told.model_dump_json())
        if self.should_stop():
            raise RunStopped(f"run {self.run.id} stopped in stage {stage} at step {step} of {steps}")

    def piece(self, most: int) -> int:
        """Return how many prompts make one committed piece of work: fewer where each takes a large model seconds."""
        return most if self.tools.backbone.size < LARGE else min(most, PIECE_OF_A_LARGE_MODEL)

    def note(self, text: str, alarm: bool = False) -> None:
        """Leave a note on the run; an alarm, which says that something is wrong, stands before all others."""
        self.report("note", json.dumps({"text": text} | ({"alarm": True} if alarm else {})))

    def need(self, stage: Stage) -> StageResult:
        """Return the result of an earlier stage.

        Raises: CharterError when neither this run nor `from_run` has it.
        """
        if stage not in self.results:
            raise CharterError(f"stage '{stage}' has no result yet; run it first or name a run that has it in from_run")
        return self.results[stage]

    def units(self, steps: Iterator[T]) -> Generator[T]:
        """Drain a training generator one unit at a time, so that the device is free between its steps.

        With a budget of memory, what units of other sizes have left in buffers is given back now and then.
        """
        given_back = time.monotonic()
        while item := self.tools.on_device(lambda: list(islice(steps, 1))):
            yield item[0]
            if self.config.model.memory_budget is not None and time.monotonic() - given_back >= GIVEN_BACK_EVERY:
                self.tools.on_device(give_back)
                given_back = time.monotonic()


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


class Timer:
    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start
