"""Stages whose training several processes do: the same policies and models, whatever stops or kills them on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rlhf_core.data.reward_examples import LabelledPair
from rlhf_core.errors import Interrupted, InvalidInput, TrainingFailed, Unavailable
from rlhf_core.models.adapters.adapters import WEIGHTS
from rlhf_core.models.backbone import Backbone
from rlhf_core.pipeline import run_pipeline
from rlhf_core.records.samples import Prompt
from rlhf_core.stages.context import Context, RunStopped
from rlhf_core.stages.elsewhere.learners import check_learners
from rlhf_core.stages.elsewhere.remote_samples import handed_over
from rlhf_core.stages.ppo import ppo_stage
from rlhf_core.stages.reward import Lot, train_lots
from rlhf_core.stages.sft import sft_stage
from rlhf_core.training.learners.launch import PROCESS, LearnersLost
from tests.processes import free_ports
from tests.stages.conftest import Desk, NumberJudge
from tests.stages.test_ppo_stage import OBJECTIVES, PROMPTS, TINY, publish
from tests.training.published_ppo import PLAIN
from tests.vllm_server import TinyVllm, running

TOLERANCE = 1e-5
ROOT = Path(__file__).parents[2]
At = Callable[..., Context]


@pytest.fixture
def at_work(desk: Desk, tiny_model: Callable[[], Backbone], tiny_folder, tmp_path: Path) -> At:
    """`at_work(learner settings, ppo=...)` is a context whose training is done by processes with one thread each."""
    backbone = tiny_model()
    results = publish(desk, backbone, tmp_path / "made")
    for name in (*OBJECTIVES, "sft"):
        backbone.adapters.delete(name)
    shown = tmp_path / "shown.jsonl"
    shown.write_text("\n".join(f'{{"prompt": "ask {i}", "response": "dust it"}}' for i in range(6)))
    model = {"base_model": str(tiny_folder()), "lora": {"rank": 4, "alpha": 8}, "threads": 1, "max_tokens": 6}

    def context(processes: int, ppo: dict[str, Any] | None = None, **learner: Any) -> Context:
        config = {
            "kind": "ppo",
            "ppo": PLAIN | TINY | (ppo or {}),
            "model": model,
            "sft": {"epochs": 1, "batch_size": 4},
            "learner": {"processes": processes, **learner},
            "data": {"demonstrations": str(shown)},
        }
        ctx = desk.context(NumberJudge(), config)
        world: Any = SimpleNamespace(
            prompts=PROMPTS, gold=SimpleNamespace(score=lambda *_: dict.fromkeys(OBJECTIVES, 0.0))
        )
        tools = ctx.tools._replace(
            backbone=backbone, base_of=lambda _: backbone, on_device=lambda unit: unit(), world=world
        )
        ctx.results.update(results)
        return ctx._replace(tools=tools)

    return context


def adapter_of(desk: Desk, version_id: str) -> torch.Tensor:
    """All weights of a policy's adapter, as one vector."""
    folder = desk.store.artifacts.get_folder(desk.store.policy_versions.get(version_id).artifact)
    return torch.cat([tensor.flatten() for _, tensor in sorted(load_file(folder / WEIGHTS).items())])


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def texts(desk: Desk, ctx: Context) -> list[str]:
    return sorted(sample.response for sample in desk.store.samples.of_run(ctx.run.id, stage="ppo"))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["replicate", "shard"])
def test_ppo_by_two_processes_is_stopped_goes_on_with_one_and_ends_like_ppo_by_one(desk, at_work, strategy):
    calm = at_work(1)
    expected = adapter_of(desk, ppo_stage(calm).policy_version)
    ctx = at_work(2, strategy=strategy)
    told: list[str] = []
    with pytest.raises(RunStopped):
        ppo_stage(ctx._replace(report=lambda kind, _: told.append(kind), should_stop=lambda: "metrics" in told))
    assert desk.store.checkpoints.latest(ctx.run.id, "ppo").step == 1
    alone = ctx._replace(config=at_work(1).config)
    found = adapter_of(desk, ppo_stage(alone).policy_version)
    assert apart(found, expected) < TOLERANCE and texts(desk, ctx) == texts(desk, calm)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["replicate", "shard"])
def test_two_processes_that_are_sampled_by_a_server_hand_it_one_adapter_a_step(desk, at_work, tiny_model, strategy):
    calm = at_work(1)
    expected = adapter_of(desk, ppo_stage(calm).policy_version)
    with running(TinyVllm(tiny_model())) as server:
        ctx = at_work(2, strategy=strategy)
        sampler = ctx.config.model.sampler.model_copy(update={"address": server.address})
        model = ctx.config.model.model_copy(update={"sampler": sampler})
        ctx = ctx._replace(config=ctx.config.model_copy(update={"model": model}))
        found = adapter_of(desk, ppo_stage(ctx).policy_version)
        assert len(server.of("completions")) == 18 and len(server.of("load_lora_adapter")) == 3
        assert not server.loaded and not handed_over(ctx, "ppo").exists()
    assert apart(found, expected) < 1e-3 and texts(desk, ctx) == texts(desk, calm)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["replicate", "shard"])
def test_what_one_process_began_two_and_then_three_go_on_with_and_it_ends_like_ppo_by_one(desk, at_work, strategy):
    expected = adapter_of(desk, ppo_stage(at_work(1)).policy_version)
    ctx = at_work(1)
    for learner in ({"processes": 1}, {"processes": 2, "strategy": strategy}):
        told: list[str] = []
        stopped = ctx._replace(report=lambda kind, _, told=told: told.append(kind))
        with pytest.raises(RunStopped):
            ppo_stage(
                stopped._replace(config=at_work(**learner).config, should_stop=lambda told=told: "metrics" in told)
            )
    assert desk.store.checkpoints.latest(ctx.run.id, "ppo").step == 2
    three = ctx._replace(config=at_work(3, strategy=strategy).config)
    assert apart(adapter_of(desk, ppo_stage(three).policy_version), expected) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["replicate", "shard"])
def test_two_processes_whose_rows_are_written_ahead_are_stopped_and_end_like_one(desk, at_work, tiny_model, strategy):
    # One of the two has 64 rows, which are one piece, and the other 65, which are two.
    ppo = {"steps": 2, "prompts_per_step": 129, "minibatch_size": 129}
    with running(TinyVllm(tiny_model())) as server:

        def ahead(ctx: Context) -> Context:
            sampler = ctx.config.model.sampler.model_copy(update={"address": server.address})
            model = ctx.config.model.model_copy(update={"sampler": sampler})
            own = ctx.config.ppo.model_copy(update={"overlap": "rollouts"})
            return ctx._replace(config=ctx.config.model_copy(update={"model": model, "ppo": own}))

        calm = ahead(at_work(1, ppo))
        expected = adapter_of(desk, ppo_stage(calm).policy_version)
        ctx = ahead(at_work(2, ppo, strategy=strategy))
        told: list[str] = []
        with pytest.raises(RunStopped):
            ppo_stage(ctx._replace(report=lambda kind, _: told.append(kind), should_stop=lambda: "metrics" in told))
        assert desk.store.checkpoints.latest(ctx.run.id, "ppo").step == 1
        found = adapter_of(desk, ppo_stage(ctx).policy_version)
    assert apart(found, expected) < 1e-3 and texts(desk, ctx) == texts(desk, calm)
    assert [sample.staleness for sample in desk.store.samples.of_run(ctx.run.id, stage="ppo")] == [0] * 129 + [1] * 129


@pytest.mark.slow
def test_a_killed_process_sends_the_run_back_to_the_queue_and_its_next_attempt_ends_alike(desk, at_work):
    calm = at_work(1)
    expected = adapter_of(desk, ppo_stage(calm).policy_version)
    ctx = at_work(2)
    kills = iter([1])

    def kill_one(kind: str, body: str) -> None:
        if kind == "metrics":
            desk.store.runs.set_progress(ctx.run.id, ctx.run.fence, "ppo", 1, 3)
            for _ in kills:
                os.kill(a_learner(rank=1), signal.SIGKILL)

    with pytest.raises(Interrupted, match=r"learner process 1 was killed \(SIGKILL\)"):
        ppo_stage(ctx._replace(report=kill_one))
    assert apart(adapter_of(desk, ppo_stage(ctx).policy_version), expected) < TOLERANCE


@pytest.mark.slow
def test_fine_tuning_and_reward_models_by_two_processes_are_those_of_one(desk, at_work):
    found = []
    for processes in (1, 2):
        ctx = at_work(processes)
        policy = adapter_of(desk, sft_stage(ctx._replace(results={})).policy_version)
        labels = [LabelledPair(Prompt.of(f"say {i}"), "*" * (2 + i), "-" * 4, 0.9 if i % 2 else 0.2) for i in range(9)]
        lot = Lot("helpful", labels[:6], labels[6:8], labels[8:], ungated=False, auditor=False)
        (version,) = train_lots(ctx, [lot], 0, 4)
        heads = load_file(desk.store.artifacts.get_folder(version.artifact) / "reward_heads.safetensors")
        found.append((policy, heads["weight"], version.accuracy))
    (policy, heads, accuracy), (other_policy, other_heads, other_accuracy) = found
    assert apart(other_policy, policy) < TOLERANCE and apart(other_heads, heads) < TOLERANCE
    assert other_accuracy == accuracy


@pytest.mark.slow
def test_what_a_process_finds_wrong_ends_the_stage_with_its_words(at_work, tmp_path):
    ctx = at_work(2)
    ctx.tools.backbone.path = str(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="there is no folder"):
        ppo_stage(ctx)


@pytest.mark.slow
def test_a_run_that_is_to_stop_before_its_processes_are_there_leaves_none_behind(at_work):
    with pytest.raises(Unavailable, match="to stop before its learner processes are there"):
        ppo_stage(at_work(2)._replace(should_stop=lambda: True))
    with pytest.raises(AssertionError, match="no learner process"):
        a_learner(rank=0)


@pytest.mark.slow
def test_a_process_of_another_machine_takes_part(desk, at_work):
    expected = adapter_of(desk, ppo_stage(at_work(1, ppo={"steps": 1})).policy_version)
    (port,) = free_ports(1)
    there = ["--nnodes", "2", "--node-rank", "1", "--nproc-per-node", "1", "--max-restarts", "0"]
    meeting = ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    other = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *there, *meeting, "-m", PROCESS],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        ctx = at_work(2, ppo={"steps": 1}, machines=2, address=f"127.0.0.1:{port}")
        assert apart(adapter_of(desk, ppo_stage(ctx).policy_version), expected) < TOLERANCE
        assert other.wait(30) == 0
    finally:
        other.kill()


def test_learners_that_the_environment_asks_for_and_ppo_cannot_have_are_refused_before_any_stage(
    desk, at_work, monkeypatch
):
    few, overlapped = at_work(1), at_work(1, ppo={"overlap": "rollouts"})
    alone, whole = at_work(2), desk.context(NumberJudge(), {"ppo": {"overlap": "rollouts"}})
    for ctx in (few, overlapped, alone):
        check_learners(ctx, ["sft", "ppo"])
    monkeypatch.setenv("CHARTER_LEARNER_PROCESSES", "2")
    with pytest.raises(InvalidInput, match=r"PROCESSES is 2: ppo.overlap is 'rollouts', learner.processes is 2 and"):
        run_pipeline(whole.run, desk.store, whole.tools, lambda kind, _: desk.notes.append(kind), lambda: False)
    assert desk.notes == [], "no stage began"
    check_learners(overlapped, ["sft", "reward"])
    check_learners(few, ["sft", "ppo"])
    monkeypatch.setenv("CHARTER_LEARNER_PROCESSES", "64")
    with pytest.raises(InvalidInput, match="some would have no prompt of a step; allowed: at most") as told:
        check_learners(few, ["ppo"])
    assert told.value.field == "learner.processes"
    monkeypatch.setenv("CHARTER_LEARNER_PROCESSES", "1")
    check_learners(alone, ["ppo"])
    monkeypatch.setenv("CHARTER_LEARNER_PROCESSES", "many")
    check_learners(alone, ["evaluate"])
    with pytest.raises(InvalidInput, match="allowed: a whole number"):
        check_learners(alone, ["critique", "sft"])


def test_a_process_lost_before_any_step_forward_fails_the_run(at_work):
    def lost(*_: object) -> None:
        raise LearnersLost("learner process 0 was killed (SIGKILL)")

    ctx = at_work(2)
    with pytest.raises(TrainingFailed, match=r"learner process 0 was killed \(SIGKILL\); `charter resume` goes on"):
        ppo_stage(ctx._replace(tools=ctx.tools._replace(learning=lost)))


def a_learner(rank: int) -> int:
    """The id of the learner process of this rank that this process has started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            told = (folder / "environ").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if parent == os.getpid() and f"RANK={rank}".encode() in told:
            return int(folder.name)
    raise AssertionError(f"there is no learner process of rank {rank}")
