"""How PPO ends and is steered, on a tiny model: what it goes back to, what a crash changes, and other weights."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from rlhf_core.stages.audit import Audit
from rlhf_core.stages.context import Context
from rlhf_core.stages.policy import ppo_stage
from tests.stages.test_ppo_stage import OBJECTIVES, at_work

__all__ = ["at_work"]


AUDITED = {"steps": 4, "eval_every": 1, "checkpoint_every": 10, "stop": {"parted": "stop"}}


@pytest.fixture
def audited(at_work, desk, monkeypatch) -> Callable[..., Context]:
    """The reward models audit themselves, and PPO is told to end at step 3 and to go back to step 2."""
    monkeypatch.setattr(Audit, "verdict", lambda _, step, kl: "enough" if step == 3 else "")
    monkeypatch.setattr(Audit, "best", lambda _, step: min(step, 2))

    def context(**ppo: object) -> Context:
        ctx = at_work(**AUDITED, **ppo)
        rewarded, packed = ctx.results["reward"], ctx.results["norm_pack"]
        ctx.results["reward"] = rewarded.model_copy(update={"auditors": rewarded.reward_models})
        ctx.results["norm_pack"] = packed.model_copy(update={"auditor_pack": packed.norm_pack})
        return ctx

    return context


def test_ppo_that_its_auditors_end_goes_back_to_the_step_that_they_liked_best(desk, audited, tmp_path):
    ctx = audited()
    result = ppo_stage(ctx)
    version = desk.store.policy_version(result.policy_version)
    assert (version.step, result.counts["samples"]) == (2, 3 * 6)
    assert "PPO ended at step 3, as ppo.stop asks: enough; the policy is that of step 2" in desk.notes[-1]
    saved = desk.store.checkpoint(ctx.run.id, "ppo", 2)
    assert saved is not None and desk.store.checkpoint(ctx.run.id, "ppo", 3) is None
    adapters = [desk.store.artifacts.get_folder(one) for one in (saved.artifact, version.artifact)]
    assert len({(folder / "adapter_model.safetensors").read_bytes() for folder in adapters}) == 1
    points = desk.store.watch_points(ctx.run.id)
    assert [point.step for point in points] == [step for step in range(4) for _ in OBJECTIVES]
    assert all(len(point.proxy) == 3 and point.auditor == point.proxy for point in points)


def test_ppo_that_is_killed_where_its_auditors_end_it_ends_alike_when_resumed(desk, audited, monkeypatch):
    straight = ppo_stage(audited())
    ctx = audited()
    with monkeypatch.context() as crash:
        crash.setattr("rlhf_core.stages.policy._go_back", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ppo_stage(ctx)
    resumed = ppo_stage(ctx)
    one, other = (desk.store.policy_version(result.policy_version) for result in (straight, resumed))
    assert (one.artifact, one.step) == (other.artifact, other.step) == (one.artifact, 2)


def test_weights_that_someone_gave_hold_from_the_step_that_took_them_up(desk, at_work):
    ctx = at_work(dial={"weights_at": {3: {"helpful": 1, "harmless": 9}}})
    seen: list[dict[str, float]] = []

    def report(kind: str, body: str) -> None:
        if kind == "metrics":
            seen.append(json.loads(body)["values"])
            if len(seen) == 1:
                desk.store.ask_weights(ctx.run.id, {"helpful": 0.0, "harmless": 2.0})
        else:
            desk.notes.append(body)

    ppo_stage(ctx._replace(report=report))
    assert [(row["weight.helpful"], row["weight.harmless"]) for row in seen] == [(1, 1), (0, 2), (0, 2)]
    assert any("PPO step 2 takes up new weights: helpful 0, harmless 2" in note for note in desk.notes)
