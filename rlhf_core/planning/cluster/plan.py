"""The plan of a cluster: time, bottleneck, utilisation, memory, traffic and money, and what each input does to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rlhf_core.errors import InvalidInput
from rlhf_core.planning.cluster.description import Cluster
from rlhf_core.planning.cluster.simulation import Simulated, simulate
from rlhf_core.planning.cluster.unit_costs import memory, traffic
from rlhf_core.records.base import Record

MOST_FAILURES = 3
"""That a piece of work may be expected to meet: one in e^3, or 20, is then finished."""
STEPS = 1000
"""What money is told of."""
CHANGE = 0.25
"""How far each input is moved, up and down; whole numbers by at least one."""
SENSED_STEPS = 40
"""Steps of these simulations, at most: what fails in them is rare, and the draws are the same."""
MEASURED = ("write", "score", "learn")
READ_BY = {
    "peak FLOPs": {"write", "score", "learn"},
    "memory bandwidth": {"write"},
    "efficiency of decoding": {"write"},
    "efficiency of reading": {"write", "score"},
    "efficiency of learning": {"learn"},
}
"""What nothing reads once all of these are measured."""
PARTS = {"samplers": "write", "scorers": "score", "learners": "learn"}
Change = Callable[[Cluster, float], Cluster]


class Swing(Record):
    """One input moved down and up by a quarter, whole numbers by at least one.

    At either end: seconds of a step, and the cost of 1,000 of them.
    """

    input: str
    seconds: tuple[float, float]
    cost: tuple[float, float]

    @property
    def width(self) -> float:
        """How far apart the costs are."""
        return abs(self.cost[1] - self.cost[0])


class ClusterPlan(Record):
    """Outputs of the model from the description's unit costs; nothing here was measured on such a cluster."""

    name: str
    gpus: int
    step_seconds: float
    step_seconds_p95: float
    calm_step_seconds: float
    """Where nothing fails."""
    phases: dict[str, float]
    """Seconds of a step until all is written, then until all is scored, of learning and of publishing."""
    utilisation: dict[str, float]
    """Share of the time in which a role's GPUs compute, or wait for one another's numbers, by role and of all."""
    bottleneck: str
    """The role whose work speeds a step up most where it is done a quarter faster."""
    samples_per_second: float
    memory_gb: dict[str, float]
    traffic_gb: dict[str, float]
    """Of a step."""
    failures_per_1000_steps: float
    """As many as the GPU hours of so many steps lead to expect."""
    repeated_steps_per_1000: float
    cost_per_1000_steps: float
    hours_per_1000_steps: float
    sensitivity: tuple[Swing, ...]
    """From the input that matters most."""


def plan_cluster(cluster: Cluster) -> ClusterPlan:
    """Simulate the cluster, and again with each input moved, under the same draws.

    Raises: InvalidInput where something does not fit into a GPU's memory, or fails so often that nothing is finished.
    """
    held, calm = memory(cluster), simulate(cluster, fails=False)
    _check_failures(cluster, calm)
    found = simulate(cluster)
    seconds = _seconds(found, cluster)
    swings = sorted(_swings(cluster), key=lambda swing: -swing.width)
    workers = cluster.workers
    busy = sum(found.utilisation[role] * getattr(workers, role) for role in PARTS) / workers.gpus
    per_thousand = STEPS / cluster.simulated_steps
    return ClusterPlan(
        name=cluster.name,
        gpus=workers.gpus,
        step_seconds=seconds,
        step_seconds_p95=float(np.quantile(found.step_seconds, 0.95)),
        calm_step_seconds=_seconds(calm, cluster),
        phases=found.phases,
        utilisation={**found.utilisation, "all": busy},
        bottleneck=_bottleneck(cluster),
        samples_per_second=cluster.step.samples / seconds,
        memory_gb={role: value / 1e9 for role, value in held._asdict().items()},
        traffic_gb={kind: value / 1e9 for kind, value in traffic(cluster)._asdict().items()},
        failures_per_1000_steps=STEPS * seconds / 3600 * workers.gpus / cluster.failures.hours_between,
        repeated_steps_per_1000=found.repeated_steps * per_thousand,
        cost_per_1000_steps=_cost(cluster, seconds),
        hours_per_1000_steps=STEPS * seconds / 3600,
        sensitivity=tuple(swings),
    )


def _check_failures(cluster: Cluster, calm: Simulated) -> None:
    """Raise InvalidInput where learners fail more often than they write a checkpoint, or GPUs than a step takes."""
    failures, step = cluster.failures, _seconds(calm, cluster)
    steps = min(failures.checkpoint_steps, cluster.simulated_steps)
    apart = 3600 * failures.hours_between
    for what, seconds, often in (
        ("a checkpoint of the learners", steps * step, apart / cluster.workers.learners),
        ("a step", step, apart),
    ):
        if seconds > MOST_FAILURES * often:
            raise InvalidInput(
                f"failures.hours_between is {failures.hours_between:g}, so one fails every {often:.3g} s where "
                f"{what} takes {seconds:.3g} s, and hardly one would ever be finished; allowed: more hours, fewer "
                "failures.checkpoint_steps or fewer workers",
                "failures.hours_between",
            )


def _seconds(found: Simulated, cluster: Cluster) -> float:
    return found.seconds / cluster.simulated_steps


def _cost(cluster: Cluster, step_seconds: float) -> float:
    return STEPS * step_seconds / 3600 * cluster.workers.gpus * cluster.machine.price


def _bottleneck(cluster: Cluster) -> str:
    """By faster work and not by more workers, of whom there is no quarter more where there are few."""
    cluster = _sensed(cluster)
    return min(PARTS, key=lambda role: simulate(cluster, speed={role: 1 + CHANGE}).seconds)


def _sensed(cluster: Cluster) -> Cluster:
    return cluster.model_copy(update={"simulated_steps": min(SENSED_STEPS, cluster.simulated_steps)})


def _swings(cluster: Cluster) -> list[Swing]:
    cluster, swings = _sensed(cluster), []
    for name, change in _changes(cluster).items():
        ends = [change(cluster, 1 - CHANGE), change(cluster, 1 + CHANGE)]
        seconds = [_seconds(simulate(end), end) for end in ends]
        costs = [_cost(end, one) for end, one in zip(ends, seconds, strict=True)]
        swings.append(Swing(input=name, seconds=(seconds[0], seconds[1]), cost=(costs[0], costs[1])))
    return swings


def _changes(cluster: Cluster) -> dict[str, Change]:
    """The inputs, and how each is moved; what is measured is moved as such, and not what it stands in the place of."""
    inputs = {
        "samplers": ("workers", "samplers"),
        "scorers": ("workers", "scorers"),
        "learners": ("workers", "learners"),
        "response tokens": ("step", "response_tokens"),
        "spread of lengths": ("step", "response_spread"),
        "responses of a call": ("step", "rows_per_call"),
        "peak FLOPs": ("machine", "peak_flops"),
        "memory bandwidth": ("machine", "bandwidth"),
        "network": ("machine", "network"),
        "price of a GPU": ("machine", "price"),
        "efficiency of decoding": ("efficiency", "decode"),
        "efficiency of reading": ("efficiency", "read"),
        "efficiency of learning": ("efficiency", "learn"),
        "hours between failures": ("failures", "hours_between"),
    }
    measured = {part for part in MEASURED if getattr(cluster.measured, part) is not None}
    changes = {name: _mover(*path) for name, path in inputs.items() if not READ_BY.get(name, {""}) <= measured}
    return changes | {f"measured seconds to {part}": _timer(part) for part in MEASURED if part in measured}


def _mover(section: str, field: str) -> Change:
    def move(cluster: Cluster, factor: float) -> Cluster:
        part = getattr(cluster, section)
        value = getattr(part, field)
        moved = value * factor
        if isinstance(value, int):
            moved = max(1, min(round(moved), value - 1) if factor < 1 else max(round(moved), value + 1))
        if field == "response_tokens":
            moved = min(moved, cluster.step.longest)
        if section == "efficiency":
            moved = min(moved, 1.0)
        changed = cluster.model_copy(update={section: part.model_copy(update={field: moved})})
        return _timed_by_length(changed, cluster.step.response_tokens) if field == "response_tokens" else changed

    return move


def _timed_by_length(cluster: Cluster, before: float) -> Cluster:
    """What was measured of responses of another mean length, in proportion to the tokens that are written or read."""
    step = cluster.step
    written, read = (
        step.response_tokens / before,
        (step.prompt_tokens + step.response_tokens) / (step.prompt_tokens + before),
    )
    return _timed(_timed(_timed(cluster, "write", written), "score", read), "learn", read)


def _timer(part: str) -> Change:
    return lambda cluster, factor: _timed(cluster, part, factor, factor)


def _timed(cluster: Cluster, part: str, item: float, call: float = 1.0) -> Cluster:
    measured = getattr(cluster.measured, part)
    if measured is None:
        return cluster
    seconds = {"item_seconds": measured.item_seconds * item, "call_seconds": measured.call_seconds * call}
    return cluster.model_copy(
        update={"measured": cluster.measured.model_copy(update={part: measured.model_copy(update=seconds)})}
    )
