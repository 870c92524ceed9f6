"""Stages whose training is a Ray Train job: the same policies and models as by one process, whatever dies on the way.

Left out where Ray is not installed: pip install -e '.[dev,ray]', then pytest -m slow tests/stages/test_ray_learners.py
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial

import pytest

from rlhf_core.errors import Interrupted, InvalidInput, TrainingFailed, Unavailable
from rlhf_core.stages.context import Context
from rlhf_core.stages.ppo import ppo_stage
from rlhf_core.stages.sft import sft_stage
from rlhf_core.training.learners.launch import Learning
from tests.cluster.ray_head import CPUS, actors, head, learners_of_ray
from tests.stages.test_learners import TOLERANCE, adapter_of, apart, texts
from tests.stages.test_learners import at_work as at_work

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def learning() -> Iterator[Learning]:
    from services.cluster.learners import ray_learners

    with head() as found:
        ray.init(address=found.address, log_to_driver=False, configure_logging=False)
        try:
            yield partial(ray_learners, cpus=1.0)
        finally:
            ray.shutdown()


def on_ray(ctx: Context, learning: Learning) -> Context:
    return ctx._replace(tools=ctx.tools._replace(learning=learning))


@pytest.mark.parametrize("strategy", ["replicate", "shard"])
def test_ppo_by_two_processes_of_ray_ends_like_ppo_by_one(desk, at_work, learning, strategy):
    calm = at_work(1)
    expected = adapter_of(desk, ppo_stage(calm).policy_version)
    ctx = on_ray(at_work(2, strategy=strategy), learning)
    assert apart(adapter_of(desk, ppo_stage(ctx).policy_version), expected) < TOLERANCE
    assert texts(desk, ctx) == texts(desk, calm) and not learners_of_ray()


def test_fine_tuning_by_two_processes_of_ray_is_that_of_one(desk, at_work, learning):
    alone = adapter_of(desk, sft_stage(at_work(1)._replace(results={})).policy_version)
    ctx = on_ray(at_work(2)._replace(results={}), learning)
    assert apart(adapter_of(desk, sft_stage(ctx).policy_version), alone) < TOLERANCE


def test_a_killed_process_of_ray_sends_the_run_back_to_the_queue_and_its_next_attempt_ends_alike(
    desk, at_work, learning
):
    expected = adapter_of(desk, ppo_stage(at_work(1)).policy_version)
    ctx = on_ray(at_work(2), learning)
    kills = iter([1])

    def kill_one(kind: str, body: str) -> None:
        if kind == "metrics":
            desk.store.runs.set_progress(ctx.run.id, ctx.run.fence, "ppo", 1, 3)
            for _ in kills:
                os.kill(max(learners_of_ray()), signal.SIGKILL)

    with pytest.raises(Interrupted, match=r"learner process \d is lost: The actor died") as lost:
        ppo_stage(ctx._replace(report=kill_one))
    assert len(str(lost.value).splitlines()) == 1
    assert apart(adapter_of(desk, ppo_stage(ctx).policy_version), expected) < TOLERANCE


def test_what_a_process_of_ray_finds_wrong_ends_the_stage_with_its_words(at_work, learning, tmp_path):
    ctx = on_ray(at_work(2), learning)
    ctx.tools.backbone.path = str(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="there is no folder"):
        ppo_stage(ctx)


def test_more_than_the_node_has_is_refused_and_a_run_that_is_to_stop_waits_for_nobody(at_work, learning):
    with pytest.raises(InvalidInput, match=f"{CPUS + 1} of a machine ask for {CPUS + 1} CPU, and the node.*has {CPUS}"):
        ppo_stage(on_ray(at_work(CPUS + 1), learning))
    with pytest.raises(Unavailable, match="to stop before its learner processes are there"):
        ppo_stage(on_ray(at_work(2), learning)._replace(should_stop=lambda: True))
    assert not learners_of_ray()


def test_processes_that_find_no_room_say_what_they_ask_for_and_what_is_free(at_work, learning, monkeypatch):
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "4")

    @ray.remote(num_cpus=CPUS - 1)
    class Somebody:
        def here(self) -> bool:
            return True

    somebody = Somebody.remote()
    assert ray.get(somebody.here.remote())
    with pytest.raises(TrainingFailed, match=r"timed out.* They ask for 2 CPU \(1 free\).*charter resume"):
        ppo_stage(on_ray(at_work(2), learning))
    ray.kill(somebody)


def test_no_actor_is_left_once_all_jobs_are_over(learning):
    deadline = time.monotonic() + 30
    while left := actors(ray.get_runtime_context().gcs_address):
        assert time.monotonic() < deadline, left
        time.sleep(0.5)
