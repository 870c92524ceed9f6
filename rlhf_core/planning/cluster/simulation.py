"""A step of PPO on many workers, event by event (SimPy): samplers, scorers, learners, transfers, failures and repair.

Lengths and failures are drawn from the seed, so that the same description always gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import numpy as np
import simpy
from numpy.typing import NDArray

from rlhf_core.planning.cluster import unit_costs
from rlhf_core.planning.cluster.description import Cluster, Failures

HOUR = 3600.0
Events = Generator[simpy.Event, Any, Any]


class Job(NamedTuple):
    """Responses that are written, and then scored, together."""

    step: int
    lengths: NDArray[np.float64]


class Pool:
    """Workers that take jobs from one queue; what a worker had when it failed is taken up by another."""

    def __init__(
        self,
        env: simpy.Environment,
        workers: int,
        seconds: Callable[[Job], float],
        done: Callable[[Job], None],
        failures: Failures | None = None,
        random: np.random.Generator | None = None,
        slots: int | None = None,
    ):
        """With `slots` only so many workers compute at once, as where processes share cores."""
        self.env, self.workers, self.seconds, self.done = env, workers, seconds, done
        self.queue: simpy.Store = simpy.Store(env)
        self.busy_seconds, self.failed, self.lost_seconds = 0.0, 0, 0.0
        self._failures, self._random = failures, random
        self._slots = simpy.Resource(env, slots) if slots else None
        for _ in range(workers):
            process = env.process(self._work())
            if failures is not None and random is not None:
                env.process(self._fail(process))

    def _work(self) -> Events:
        while True:
            asked = self.queue.get()
            try:
                job = yield asked
            except simpy.Interrupt:
                if asked.triggered:  # it was given a job in the same moment
                    self.env.process(self._lease_ends(cast(Job, asked.value)))
                asked.cancel()
                yield from self._repair()
                continue
            started = self.env.now
            try:
                yield from self._compute(self.seconds(job))
            except simpy.Interrupt:
                self.lost_seconds += self.env.now - started
                self.env.process(self._lease_ends(job))
                yield from self._repair()
                continue
            self.busy_seconds += self.env.now - started
            self.done(job)

    def _compute(self, seconds: float) -> Events:
        if self._slots is None:
            yield self.env.timeout(seconds)
            return
        with self._slots.request() as slot:
            yield slot
            yield self.env.timeout(seconds)

    def _fail(self, process: simpy.Process) -> Events:
        assert self._failures is not None and self._random is not None
        while True:
            yield self.env.timeout(self._random.exponential(self._failures.hours_between * HOUR))
            self.failed += 1
            process.interrupt()
            # It does not fail while it is repaired.
            yield self.env.timeout(60 * self._failures.repair_minutes)

    def _lease_ends(self, job: Job) -> Events:
        yield self.env.timeout(self._failures.lease_seconds if self._failures else 0)
        self.queue.put(job)

    def _repair(self) -> Events:
        yield self.env.timeout(60 * self._failures.repair_minutes if self._failures else 0)


class Simulated(NamedTuple):
    """What came of so many steps: seconds, by step and in all, and how busy each role was."""

    step_seconds: NDArray[np.float64]
    seconds: float
    utilisation: dict[str, float]
    phases: dict[str, float]
    """Mean seconds of a step until all is written, until all is then scored, of learning, of publishing."""
    failures: int
    repeated_steps: int


def simulate(cluster: Cluster, fails: bool = True, speed: Mapping[str, float] = MappingProxyType({})) -> Simulated:
    """Go through `simulated_steps` steps; without `fails` nothing ever breaks.

    `speed` says of a role how many times as fast as its unit costs it works.
    """
    return _Run(cluster, fails, speed).run()


class _Run:
    def __init__(self, cluster: Cluster, fails: bool, speed: Mapping[str, float]):
        self.cluster, self.env = cluster, simpy.Environment()
        write, score, self.learning = (speed.get(role, 1.0) for role in ("samplers", "scorers", "learners"))
        seeds = np.random.SeedSequence(cluster.seed).spawn(4)
        self.lengths, sampling, scoring, self.luck = (np.random.default_rng(seed) for seed in seeds)
        workers, failures = cluster.workers, cluster.failures if fails else None
        self.fails = fails
        self.samplers = Pool(
            *(
                self.env,
                workers.samplers,
                lambda job: unit_costs.write_seconds(cluster, job.lengths) / write,
                self._written,
            ),
            failures=failures,
            random=sampling,
        )
        self.scorers = Pool(
            *(
                self.env,
                workers.scorers,
                lambda job: unit_costs.score_seconds(cluster, job.lengths) / score,
                self._scored,
            ),
            failures=failures,
            random=scoring,
        )
        self.held: list[Job] = []
        self.drawn: dict[int, NDArray[np.float64]] = {}
        self.left: dict[int, list[int]] = {}
        """By step: jobs not yet written, and not yet scored."""
        self.events: dict[int, tuple[simpy.Event, simpy.Event]] = {}
        self.learned_seconds, self.phases, self.broken, self.repeated = 0.0, [], 0, 0

    def run(self) -> Simulated:
        learner = self.env.process(self._learn())
        times = cast(list[float], self.env.run(learner))
        workers, seconds = self.cluster.workers, self.env.now
        busy = {
            "samplers": self.samplers.busy_seconds / (workers.samplers * seconds),
            "scorers": self.scorers.busy_seconds / (workers.scorers * seconds),
            "learners": self.learned_seconds / seconds,
        }
        names = ("write", "score", "learn", "publish")
        phases: dict[str, float] = dict(zip(names, map(float, np.mean(self.phases, axis=0)), strict=True))
        broken = self.broken + self.samplers.failed + self.scorers.failed
        return Simulated(np.diff([0.0, *times]), seconds, busy, phases, broken, self.repeated)

    def _begin(self, step: int) -> None:
        """Hand out a step's prompts; one that is done anew writes responses of the same lengths."""
        size = self.cluster.step.rows_per_call
        if step not in self.drawn:
            self.drawn[step] = unit_costs.draw_lengths(self.cluster, self.cluster.step.samples, self.lengths)
        lengths = self.drawn[step]
        jobs = [Job(step, lengths[start : start + size]) for start in range(0, len(lengths), size)]
        self.left[step] = [len(jobs), len(jobs)]
        self.events[step] = self.env.event(), self.env.event()
        for job in jobs:
            self.samplers.queue.put(job)

    def _written(self, job: Job) -> None:
        self.left[job.step][0] -= 1
        if self.cluster.overlap == "none":
            self.held.append(job)
        else:
            self.scorers.queue.put(job)
        if not self.left[job.step][0]:
            self.events[job.step][0].succeed()
            for held in self.held:
                self.scorers.queue.put(held)
            self.held = []

    def _scored(self, job: Job) -> None:
        self.left[job.step][1] -= 1
        if not self.left[job.step][1]:
            self.events[job.step][1].succeed()

    def _learn(self) -> Events:
        """One step after the other; a failure goes back to the last checkpoint."""
        cluster, steps = self.cluster, self.cluster.simulated_steps
        ahead, ended, step = cluster.overlap == "rollouts", dict[int, float](), 0
        breaks = self._next_break()
        self._begin(0)
        while step < steps:
            began = self.env.now
            written, scored = self.events[step]
            yield written
            at_written = self.env.now
            yield scored
            at_scored = self.env.now
            if ahead and step + 1 < steps:
                self._begin(step + 1)
            learn = unit_costs.learn_seconds(cluster, self.drawn[step]) / self.learning
            if self.fails and self.env.now + learn > breaks:
                self.broken += 1
                # One that broke while it waited for scores may be repaired already.
                repaired = breaks + 60 * cluster.failures.repair_minutes
                yield self.env.timeout(max(0.0, repaired - self.env.now))
                breaks = self._next_break()
                if ahead and step + 1 < steps:
                    yield self.events[step + 1][1]  # what is under way is of no use any more
                back = step - step % cluster.failures.checkpoint_steps
                self.repeated += step - back + 1
                step = back
                self._begin(step)
                continue
            yield self.env.timeout(learn)
            self.learned_seconds += learn
            publish = unit_costs.publish_seconds(cluster)
            yield self.env.timeout(publish)
            self.phases.append((at_written - began, at_scored - at_written, learn, publish))
            ended[step] = self.env.now
            step += 1
            if not ahead and step < steps:
                self._begin(step)
        return [ended[number] for number in range(steps)]

    def _next_break(self) -> float:
        """When the first of the learners fails next; all of them then begin anew."""
        mean = self.cluster.failures.hours_between * HOUR / self.cluster.workers.learners
        return self.env.now + self.luck.exponential(mean)
