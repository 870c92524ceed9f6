"""The simulation against steps that can be timed by hand, and against itself under other draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import simpy
from pydantic import ValidationError

from rlhf_core.errors import InvalidInput
from rlhf_core.planning.cluster.description import Failures
from rlhf_core.planning.cluster.plan import plan_cluster
from rlhf_core.planning.cluster.simulation import Job, Pool, simulate
from tests.planning.clusters import TIMED, cluster

PUBLISHED = 4e6 / 1e12
JOB = Job(0, np.ones(1))


def step_seconds(**changes: Any) -> list[float]:
    return simulate(cluster(measured=TIMED, **changes), fails=False).step_seconds.tolist()


def test_the_parts_of_a_step_follow_one_another():
    # Two samplers write four calls in two rounds of 10 s; one scorer then takes 4 s, the learner 5.
    assert step_seconds() == pytest.approx([29 + PUBLISHED] * 4)


def test_scoring_as_responses_are_finished_hides_all_but_the_last_rounds():
    assert step_seconds(overlap="scoring") == pytest.approx([27 + PUBLISHED] * 4)


def test_rollouts_of_the_next_step_hide_learning():
    first, *others = step_seconds(overlap="rollouts")
    assert first == pytest.approx(27 + PUBLISHED) and others == pytest.approx([22] * 3)


def test_utilisation_is_the_share_of_time_at_work():
    found = simulate(cluster(measured=TIMED), fails=False)
    assert found.utilisation == pytest.approx({"samplers": 20 / 29, "scorers": 4 / 29, "learners": 5 / 29}, rel=1e-4)
    assert found.phases == pytest.approx({"write": 20, "score": 4, "learn": 5, "publish": PUBLISHED})


class Fixed:
    """Draws what it was given, and then nothing any more."""

    def __init__(self, *values: float):
        self._values = list(values)

    def exponential(self, mean: float) -> float:
        return self._values.pop(0) if self._values else 1e12


def finish(workers: int, jobs: int, *, breaks: tuple[float, ...] = (), slots: int | None = None) -> list[float]:
    """When each of some jobs of 10 s is done."""
    env, ends = simpy.Environment(), list[float]()
    failures = Failures(hours_between=1, repair_minutes=1, lease_seconds=30)
    random: Any = Fixed(*breaks)
    pool = Pool(env, workers, lambda job: 10.0, lambda job: ends.append(env.now), failures, random, slots)
    for _ in range(jobs):
        pool.queue.put(JOB)
    env.run(until=10_000)
    return ends


def test_workers_share_a_queue_and_the_slots_that_they_compute_in():
    assert finish(2, 4) == [10, 10, 20, 20]
    assert finish(4, 4, slots=2) == [10, 10, 20, 20]


def test_what_a_lost_worker_had_is_done_by_another_once_its_lease_ends():
    # The first worker breaks after 4 s; its job is free at 34, and the second one takes it.
    assert finish(2, 2, breaks=(4,)) == [10, 44]
    # Alone it first has to be repaired, until 64.
    assert finish(1, 1, breaks=(4,)) == [74]


def test_a_worker_that_breaks_while_it_waits_loses_nothing():
    assert finish(1, 1, breaks=(15,)) == [10]


def test_failures_cost_time_and_no_step_is_lost():
    calm = simulate(cluster(measured=TIMED, simulated_steps=60), fails=False)
    # A learner breaks about every half hour; a step takes half a minute.
    rough = simulate(cluster(measured=TIMED, simulated_steps=60, failures={"hours_between": 0.5}))
    assert len(rough.step_seconds) == 60 and rough.step_seconds.sum() == pytest.approx(rough.seconds)
    assert rough.failures > 0 and rough.seconds > calm.seconds + 60
    assert (
        simulate(cluster(measured=TIMED, simulated_steps=60, failures={"hours_between": 1e9})).seconds == calm.seconds
    )


def test_a_learner_that_breaks_while_it_waits_is_repaired_meanwhile(monkeypatch):
    def seconds(breaks: float, minutes: float) -> float:
        times = iter([breaks, 1e12])
        monkeypatch.setattr("rlhf_core.planning.cluster.simulation._Run._next_break", lambda run: next(times))
        on = cluster(measured=TIMED, simulated_steps=2, failures={"hours_between": 1e9, "repair_minutes": minutes})
        return simulate(on).seconds - 3 * PUBLISHED

    # Two steps of 29 s. It breaks in the second one's rollouts, which last until 29 + 24 s; the first step is done
    # anew. A repair of 15 s is over by then; one of 60 s takes until 40 + 60.
    assert seconds(40 - 2, 0.25) == pytest.approx(53 + 58, abs=1e-3)
    assert seconds(40, 1) == pytest.approx(100 + 58, abs=1e-3)
    # It breaks as it learns: at 55 s, and is back at 115.
    assert seconds(55, 1) == pytest.approx(115 + 58, abs=1e-3)


def test_failures_in_which_nothing_would_ever_be_finished_are_refused():
    with pytest.raises(InvalidInput, match=r"one fails every 3.6 s where a checkpoint of the learners takes 116 s"):
        plan_cluster(cluster(measured=TIMED, failures={"hours_between": 0.001}))
    with pytest.raises(ValidationError, match="4000000 in all; allowed: at most 2000000"):
        cluster(simulated_steps=1_000_000)


def test_the_same_seed_gives_the_same_numbers_and_another_one_others():
    def seconds(seed: int) -> float:
        step = {"response_spread": 0.5, "response_tokens": 10}
        return simulate(cluster(step=step, measured={"learn": {"item_seconds": 1}}, seed=seed)).seconds

    assert seconds(1) == seconds(1) != seconds(2)


def test_a_thousand_gpus_are_simulated():
    big = cluster(
        step={"prompts": 8192, "samples_per_prompt": 4, "rows_per_call": 32, "response_spread": 0.5},
        workers={"samplers": 640, "scorers": 160, "learners": 200},
        failures={"hours_between": 50},
        simulated_steps=3,
    )
    found = simulate(big)
    assert big.workers.gpus == 1000 and len(found.step_seconds) == 3 and found.seconds > 0


def test_the_plan_names_what_holds_the_step_up_and_what_it_costs():
    plan = plan_cluster(cluster(measured=TIMED))
    # Four GPUs at 3.6 an hour: 1,000 steps of 29 s.
    assert plan.cost_per_1000_steps == pytest.approx(29_000 * 4 * 0.001, rel=1e-4)
    assert plan.bottleneck == "samplers" and plan.samples_per_second == pytest.approx(8 / 29, rel=1e-4)
    swings = {swing.input: swing for swing in plan.sensitivity}
    assert swings["price of a GPU"].cost == pytest.approx((0.75 * 116, 1.25 * 116), rel=1e-4)
    # What was measured no longer depends on the data sheet, and is moved itself.
    assert "peak FLOPs" not in swings and "efficiency of reading" not in swings and "network" in swings
    assert swings["measured seconds to write"].seconds == pytest.approx((24, 34), rel=1e-4)
    assert swings["learners"].seconds[0] == pytest.approx(29, rel=1e-4)


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize(
    ("work", "role"), [("write", "samplers"), ("score", "scorers"), ("learn", "learners")], ids=lambda told: told
)
def test_what_takes_longest_is_the_bottleneck_however_few_workers_there_are(work: str, role: str, workers: int):
    slow = TIMED | {work: {"item_seconds": 100}}
    plan = plan_cluster(cluster(measured=slow, workers=dict.fromkeys(("samplers", "scorers", "learners"), workers)))
    assert plan.bottleneck == role


def test_a_few_workers_are_moved_by_one():
    found = {swing.input: swing.seconds for swing in plan_cluster(cluster(measured=TIMED)).sensitivity}
    # Four calls of 10 s by one or three samplers rather than two; a learner's 5 s by two.
    assert found["samplers"] == pytest.approx((49, 29), rel=1e-4) and found["learners"][1] == pytest.approx(
        26.5, rel=1e-4
    )


def test_longer_responses_than_were_measured_take_longer_to_write_to_read_and_to_learn():
    plan = plan_cluster(cluster(measured=TIMED, step={"longest": 40}))
    # 15 or 25 tokens after 10 of the prompt, not 20: two calls of 8 or 12 s one after the other; 25/30 or 35/30 of 9 s.
    moved = {swing.input: swing.seconds for swing in plan.sensitivity}["response tokens"]
    assert moved == pytest.approx((16 + 9 * 25 / 30, 24 + 9 * 35 / 30), rel=1e-4)
