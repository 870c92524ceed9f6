"""Learner processes as a Ray Train job: Ray places, joins and watches them; what they do is what `torchrun` starts.

Each job is a `TorchTrainer` of the worker that carries out the run, and ends with it.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import ray  # pyright: ignore[reportMissingImports]
from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]
from ray.train import (  # pyright: ignore[reportMissingImports]
    ControllerError,
    FailureConfig,
    RunConfig,
    ScalingConfig,
    WorkerGroupError,
)
from ray.train.torch import TorchConfig, TorchTrainer, get_device  # pyright: ignore[reportMissingImports]
from ray.util.queue import Empty, Queue  # pyright: ignore[reportMissingImports]
from transformers.utils.logging import disable_progress_bar

from rlhf_core.errors import CharterError, InvalidInput, Unavailable
from rlhf_core.models.kernels.malloc import keep_buffers
from rlhf_core.training.learners.job import Job
from rlhf_core.training.learners.launch import (
    END_SECONDS,
    LOOK_SECONDS,
    Learners,
    LearnersLost,
    forget_wrong,
    found_wrong,
)
from rlhf_core.training.learners.process import LEFT, take_part
from rlhf_core.training.parallel import PATIENCE, backend, members
from services.cluster.config import Reserved

log = logging.getLogger("charter.learner")
READY = "ready"
NODE_ID = "ray.io/node-id"
"""The label by which Ray knows a node."""


class Queues(NamedTuple):
    """What the worker asks of the first process, and what that answers."""

    asked: Queue
    answered: Queue


@contextmanager
def ray_learners(job: Job, should_stop: Callable[[], bool], cpus: float | None = None) -> Iterator[Learners]:
    """Start the processes of a job on the cluster, and end them with the block, whatever they are at.

    Each reserves its threads, or `cpus`. As with `torchrun`, the first machine of `learner.machines` is this one.

    Raises: what a process finds wrong with the job; InvalidInput for more than this machine has; LearnersLost;
    Unavailable where the run is to stop before they are there.
    """
    ask = Reserved(job.threads if cpus is None else cpus, int(job.model.device == "cuda"))
    wanted = {name: amount * job.learner.processes_here for name, amount in ask.resources.items()}
    _check(job, wanted)
    queues = Queues(*(Queue(actor_options={"num_cpus": 0}) for _ in Queues._fields))
    train = TrainJob(job, ask, wanted, queues)
    try:
        _wait_for_first(train, queues, should_stop)
        found = Learners(WorkersLine(train, queues), train, job)
        yield found
        found.end()
    finally:
        # Now at the latest they end: they hear that nobody is there any more.
        for each in queues:
            each.shutdown(force=True)
        train.join()


def _here() -> str:
    return ray.get_runtime_context().get_node_id()


def _check(job: Job, wanted: dict[str, float]) -> None:
    (there,) = [node["Resources"] for node in ray.nodes() if node["NodeID"] == _here()]
    for name, amount in wanted.items():
        if there.get(name, 0) < amount:
            raise InvalidInput(
                f"learner.processes: {job.learner.processes_here} of a machine ask for {amount:g} {name}, and the node "
                f"of the worker has {there.get(name, 0):g}",
                "learner.processes",
            )


def _wait_for_first(train: TrainJob, queues: Queues, should_stop: Callable[[], bool]) -> None:
    """Return once the first process is there, and with it all; Ray gives up by itself where there is no room."""
    while train.heard(queues.answered) != READY:
        if train.is_over:
            raise train.trouble()
        if should_stop():
            raise Unavailable("the run is to stop before its learner processes are there")


class WorkersLine:
    """The queues from the side of the process that carries out the run."""

    def __init__(self, train: TrainJob, queues: Queues):
        self._train, self._queues = train, queues

    def tell(self, text: str) -> None:
        """Send a command."""
        try:
            self._queues.asked.put(text)
        except RayError as error:
            raise ConnectionError(str(error)) from None

    def hear(self) -> str:
        """Wait for an answer; empty where the job is over."""
        while True:
            over = self._train.is_over
            answer = self._train.heard(self._queues.answered)
            if answer is not None or over:
                return answer or ""


class LearnersLine:
    """The queues from the side of the first process; when the run has gone, this process ends at once."""

    def __init__(self, queues: Queues):
        self._queues = queues
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="line", daemon=True).start()
        self.answer(READY)

    def hear(self) -> str:
        """Wait for the next command."""
        return self._said.get()

    def answer(self, text: str) -> None:
        """Say that it is done, and what came of it."""
        # A line of a socket has an end, even where it says nothing.
        self._queues.answered.put(text or "\n")

    def _listen(self) -> None:
        try:
            while True:
                self._said.put(self._queues.asked.get())
        except RayError:
            os._exit(LEFT)


def learn(queues: dict[str, Queue]) -> None:
    """Learn in a process that Ray Train has started and joined to the others, as `torchrun` would have."""
    keep_buffers()
    disable_progress_bar()
    ranks = members()
    take_part(LearnersLine(Queues(**queues)) if ranks.is_first else None, ranks, str(get_device()))


class TrainJob:
    """The thread that waits for the job's end."""

    def __init__(self, job: Job, ask: Reserved, wanted: Mapping[str, float], queues: Queues):
        self._folder, self._wanted = job.folder, wanted
        self._failed: Any = None
        forget_wrong(job.folder)
        others = job.learner.processes - job.learner.processes_here
        trainer = TorchTrainer(
            learn,
            train_loop_config=queues._asdict(),
            torch_config=TorchConfig(backend(ask.gpus > 0), timeout_s=int(PATIENCE.total_seconds())),
            scaling_config=ScalingConfig(
                num_workers=job.learner.processes,
                use_gpu=ask.gpus > 0,
                resources_per_worker=ask.resources,
                # The folders of the job are on this machine's disk, which others may not see.
                label_selector=[{NODE_ID: _here()}] * job.learner.processes_here + [{}] * others,
            ),
            run_config=RunConfig(
                storage_path=str(job.folder.absolute() / "ray"),
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=0, max_preemption_failures=0),
            ),
        )
        self._thread = threading.Thread(target=self._watch, args=(trainer,), name="learners", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether no process is left."""
        return not self._thread.is_alive()

    def heard(self, answers: Queue) -> str | None:
        """Return the next answer; None where there is none yet, and nothing where nobody can give one any more."""
        try:
            return answers.get(timeout=LOOK_SECONDS)
        except Empty:
            return None
        except RayError:
            return ""

    def join(self) -> None:
        """Wait until no process is left."""
        self._thread.join(END_SECONDS)
        if not self.is_over:
            log.error("the Ray Train job is still there %g s after its run was done with it", END_SECONDS)

    def trouble(self) -> CharterError:
        """Say what ended the processes, in the words of the one that found it where one did."""
        self.join()
        if told := found_wrong(self._folder):
            return told
        log.error("the Ray Train job has failed: %s", self._failed)
        return LearnersLost(f"the Ray Train job has failed: {self._reason()}; the server's log has the rest")

    def _reason(self) -> str:
        if isinstance(self._failed, ControllerError):
            free = ray.available_resources()
            told = ", ".join(f"{amount:g} {name} ({free.get(name, 0):g} free)" for name, amount in self._wanted.items())
            return f"{_first_line(self._failed.controller_failure)} They ask for {told}"
        failures = self._failed.worker_failures if isinstance(self._failed, WorkerGroupError) else {}
        for rank, failure in failures.items():
            if lost := getattr(failure, "health_check_failure", None):  # the others fail for want of this one
                return f"learner process {rank} is lost: {_first_line(lost)}"
        for rank, failure in failures.items():
            return f"learner process {rank}: {str(failure).strip().splitlines()[-1]}"
        return _first_line(self._failed)

    def _watch(self, trainer: TorchTrainer) -> None:
        try:
            trainer.fit()
        except Exception as error:  # whatever the job meets is told to whoever waits for an answer
            self._failed = error


def _first_line(error: object) -> str:
    return next(iter(str(error).strip().splitlines()), "it is over")
