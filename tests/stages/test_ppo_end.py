"""How PPO ends and is steered, on a tiny model: what it goes back to, what a crash changes, and other weights."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from rlhf_core.stages.context import Context
from rlhf_core.stages.ppo import ppo_stage
from rlhf_core.stages.ppo_watch import Audit
from tests.stages.test_ppo_stage import OBJECTIVES, at_work

__all__ = ["at_work"]


AUDITED = {"steps": 4, "eval_every": 1, "checkpoint_every": 10, "stop": {"parted": "stop"}}


@pytest.fixture
def audited(at_work, desk, monkeypatch) -> Callable[..., Context]:
    """The reward models audit themselves, and PPO is told to end at step 3 and to go back to step 2."""
    monkeypatch.setattr(Audit, "verdict", lambda _, step, kl: "enough" if step == 3 else "")
    monkeypatch.setattr(Audit, "best", lambda _, step, weights, counts=None: min(step, 2))

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
    version = desk.store.policy_versions.get(result.policy_version)
    assert (version.step, result.counts["samples"]) == (2, 3 * 6)
    assert "PPO ended at step 3, as ppo.stop asks: enough; the policy is that of step 2" in desk.notes[-1]
    saved = desk.store.checkpoints.at(ctx.run.id, "ppo", 2)
    assert saved is not None and desk.store.checkpoints.at(ctx.run.id, "ppo", 3) is None
    adapters = [desk.store.artifacts.get_folder(one) for one in (saved.artifact, version.artifact)]
    assert len({(folder / "adapter_model.safetensors").read_bytes() for folder in adapters}) == 1
    points = desk.store.watch_points.of_run(ctx.run.id)
    assert [point.step for point in points] == [step for step in range(4) for _ in OBJECTIVES]
    assert all(len(point.proxy) == 3 and point.auditor == point.proxy for point in points)
    by_name = {point.objective: point for point in points if point.step == 2}
    assert result.numbers["heldout_kl"] == by_name["helpful"].kl and result.numbers["gap.helpful"] == 0
    assert result.numbers["heldout_z.harmless"] == pytest.approx(sum(by_name["harmless"].proxy) / 3)


def test_ppo_that_is_killed_where_its_auditors_end_it_ends_alike_when_resumed(desk, audited, monkeypatch):
    straight = ppo_stage(audited())
    ctx = audited()
    with monkeypatch.context() as crash:
        crash.setattr("rlhf_core.stages.ppo._go_back", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ppo_stage(ctx)
    resumed = ppo_stage(ctx)
    one, other = (desk.store.policy_versions.get(result.policy_version) for result in (straight, resumed))
    assert (one.artifact, one.step) == (other.artifact, other.step) == (one.artifact, 2)


def test_ppo_that_is_killed_after_its_last_step_still_tells_what_was_seen_at_its_end(desk, at_work, monkeypatch):
    ctx = at_work(steps=1)
    with monkeypatch.context() as crash:
        crash.setattr("rlhf_core.stages.ppo.publish_policy", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ppo_stage(ctx)
    resumed, straight = ppo_stage(ctx), ppo_stage(at_work(steps=1))
    assert resumed.numbers == straight.numbers and resumed.numbers["heldout_kl"] > 0


def test_the_best_step_is_found_by_the_weights_that_a_step_had_when_it_ended(desk, at_work, monkeypatch):
    asked: list[dict[str, float]] = []
    monkeypatch.setattr(Audit, "verdict", lambda _, step, kl: "enough" if step == 2 else "")
    monkeypatch.setattr(Audit, "best", lambda _, step, weights, counts=None: asked.append(weights) or step)
    ctx = at_work(**AUDITED, dial={"weights_at": {2: {"helpful": 1, "harmless": 9}}})
    rewarded, packed = ctx.results["reward"], ctx.results["norm_pack"]
    ctx.results["reward"] = rewarded.model_copy(update={"auditors": rewarded.reward_models})
    ctx.results["norm_pack"] = packed.model_copy(update={"auditor_pack": packed.norm_pack})
    ppo_stage(ctx)
    assert asked == [{"helpful": 1, "harmless": 1}] + [{"helpful": 1, "harmless": 9}] * 2


def test_weights_that_someone_gave_hold_from_the_step_that_took_them_up(desk, at_work):
    ctx = at_work(dial={"weights_at": {3: {"helpful": 1, "harmless": 9}}})
    seen: list[dict[str, float]] = []

    def report(kind: str, body: str) -> None:
        if kind == "metrics":
            seen.append(json.loads(body)["values"])
            if len(seen) == 1:
                desk.store.weights.ask(ctx.run.id, {"helpful": 0.0, "harmless": 2.0})
        else:
            desk.notes.append(body)

    ppo_stage(ctx._replace(report=report))
    assert [(row["weight.helpful"], row["weight.harmless"]) for row in seen] == [(1, 1), (0, 2), (0, 2)]
    assert any("PPO step 2 takes up new weights: helpful 0, harmless 2" in note for note in desk.notes)


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 10])
def test_a_run_that_was_given_weights_and_died_ends_like_one_that_did_not(desk, at_work, every):
    """With a checkpoint of step 2 or from the start again: either way step 1 has the old weights, step 2 the new."""

    def given(ctx: Context, dies: bool) -> Context:
        def report(kind: str, body: str) -> None:
            step = json.loads(body)["step"] if kind == "metrics" else 0
            if step == 1 and not desk.store.weights.of_run(ctx.run.id):
                desk.store.weights.ask(ctx.run.id, {"helpful": 0.5, "harmless": 2.0})
            if step == 2 and dies:
                raise KeyboardInterrupt

        return ctx._replace(report=report)

    straight = ppo_stage(given(at_work(checkpoint_every=every), dies=False))
    ctx = at_work(checkpoint_every=every)
    with pytest.raises(KeyboardInterrupt):
        ppo_stage(given(ctx, dies=True))
    resumed = ppo_stage(given(ctx, dies=False))
    one, other, plain = (
        desk.store.policy_versions.get(result.policy_version).artifact
        for result in (straight, resumed, ppo_stage(at_work(checkpoint_every=every)))
    )
    assert one == other != plain
