"""PPO that pays nothing: its own version and checkpoints, from where PPO began, and whatever people ask of PPO."""

from __future__ import annotations

import json

import pytest
import torch

from rlhf_core.models.backbone import Backbone
from rlhf_core.records.models import PolicyVersion
from rlhf_core.stages.context import RunStopped
from rlhf_core.stages.control import control_stage
from rlhf_core.stages.ppo import ppo_stage
from tests.stages.conftest import Desk
from tests.stages.test_ppo_stage import at_work

__all__ = ["at_work"]

FREE = {"advantage": "rloo", "samples_per_prompt": 2, "kl_coef": 0.0, "missing_eos_penalty": 0.0}
"""Where neither distance nor a missing end costs anything, only scores can move a policy."""
CUT = {"advantage": "rloo", "samples_per_prompt": 2, "missing_eos_penalty": 1.0, "learning_rate": 1e-2}
"""Here it also learns to come to an end."""


def moved(desk: Desk, backbone: Backbone, version: PolicyVersion) -> float:
    """How far the published policy's hidden states are from those of the fine-tuned one."""
    backbone.adapters.load("published", desk.store.artifacts.get_folder(version.artifact))
    result = []
    for adapter in ("sft", "published"):
        with torch.no_grad(), backbone.adapters.using(adapter):
            result.append(backbone.hidden(*backbone.pad_left([[5, 6, 7]]), 1))
    backbone.adapters.delete("published")
    return (result[1] - result[0]).abs().max().item()


def test_a_control_is_a_version_of_its_own_after_its_own_number_of_steps(desk, at_work):
    ctx = at_work(control_steps=2, **FREE)
    result = control_stage(ctx)
    version = desk.store.policy_versions.get(result.policy_version)
    assert (result.stage, result.run_id) == ("control", ctx.run.id)
    assert (version.stage, version.step, version.parent, version.is_control) == ("control", 2, "sft-1", True)
    assert ctx.tools.backbone.adapters.names == ("sft",)
    assert desk.store.samples.of_run(ctx.run.id) == [] and desk.store.watch_points.of_run(ctx.run.id) == []
    assert desk.store.checkpoints.latest(ctx.run.id, "ppo") is None


def test_without_pay_the_policy_stays_where_it_was_and_with_pay_it_moves(desk, at_work):
    kl: dict[str, list[float]] = {"ppo": [], "control": []}

    def report(kind: str, body: str) -> None:
        told = json.loads(body)
        if kind == "metrics":
            kl[told["stage"]].append(told["values"]["kl"])

    ctx = at_work(control_steps=3, learning_rate=3e-2, **FREE)._replace(report=report)
    versions = [desk.store.policy_versions.get(stage(ctx).policy_version) for stage in (ppo_stage, control_stage)]
    paid, unpaid = (moved(desk, ctx.tools.backbone, version) for version in versions)
    assert unpaid == 0 and paid > 0.1
    assert kl["control"] == pytest.approx([0, 0, 0], abs=1e-4) and max(kl["ppo"]) > 0.1


def test_a_control_that_is_paid_by_lot_is_pushed_as_ppo_is(desk, at_work):
    ctx = at_work(control_steps=3, learning_rate=3e-2, control_pays="shuffled", **FREE)
    version = desk.store.policy_versions.get(control_stage(ctx).policy_version)
    assert moved(desk, ctx.tools.backbone, version) > 0.1


def test_what_else_ppo_does_the_control_does_too(desk, at_work):
    """It begins where PPO began, not where PPO ended, and learns what costs something apart from scores."""
    after = at_work(control_steps=3, **CUT)
    ppo_stage(after)
    alone = at_work(control_steps=3, **CUT)
    one, other = (desk.store.policy_versions.get(control_stage(ctx).policy_version) for ctx in (after, alone))
    assert one.artifact == other.artifact
    assert moved(desk, alone.tools.backbone, one) > 1e-4


def test_no_steps_make_no_version(desk, at_work):
    ctx = at_work(control_steps=0)
    result = control_stage(ctx)
    assert (result.stage, result.policy_version) == ("control", "")
    assert [version.id for version in desk.store.policy_versions.find()] == ["sft-1"]


def test_a_control_that_was_stopped_goes_on_to_the_same_policy(desk, at_work):
    straight = control_stage(at_work(control_steps=3, **CUT))
    ctx = at_work(control_steps=3, checkpoint_every=10, **CUT)
    with pytest.raises(RunStopped):
        control_stage(ctx._replace(should_stop=lambda: True))
    saved = desk.store.checkpoints.latest(ctx.run.id, "control")
    assert saved is not None and saved.step == 1
    resumed = control_stage(ctx)
    one, other = (desk.store.policy_versions.get(result.policy_version) for result in (straight, resumed))
    assert one.artifact == other.artifact


def test_a_control_that_died_behind_its_last_step_publishes_that(desk, at_work):
    ctx = at_work(control_steps=2, **CUT)
    first, again = (control_stage(ctx) for _ in range(2))
    assert first.policy_version == again.policy_version


def test_weights_that_someone_gives_are_left_to_ppo(desk, at_work):
    ctx = at_work(control_steps=2, **FREE)
    desk.store.weights.ask(ctx.run.id, {"helpful": 1.0, "harmless": 3.0})
    control_stage(ctx)
    assert [change.from_step for change in desk.store.weights.of_run(ctx.run.id)] == [None]
    assert desk.notes == []
