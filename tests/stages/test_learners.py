"""Stages whose training several processes do: the same policies and models, whatever stops or kills them on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rlhf_core.errors import Interrupted
from rlhf_core.models.adapters.adapters import WEIGHTS
from rlhf_core.models.backbone import Backbone
from rlhf_core.stages.context import Context, RunStopped
from rlhf_core.stages.ppo import ppo_stage
from tests.stages.conftest import Desk, NumberJudge
from tests.stages.test_ppo_stage import OBJECTIVES, PROMPTS, TINY, publish
from tests.training.published_ppo import PLAIN

TOLERANCE = 1e-5
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
        ctx.results.update(results)  # pyright: ignore
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
    with pytest.raises(RunStopped):
        ppo_stage(ctx._replace(should_stop=lambda: True))
    alone = ctx._replace(config=at_work(1).config)
    found = adapter_of(desk, ppo_stage(alone).policy_version)
    assert apart(found, expected) < TOLERANCE and texts(desk, ctx) == texts(desk, calm)


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
