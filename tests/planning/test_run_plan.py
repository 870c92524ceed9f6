"""The plan of a run: each kind of work is done for real on a tiny model, and nothing is left behind."""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from typing import Any

import pytest
from typer.testing import CliRunner

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models import loading
from rlhf_core.planning.meter import measure
from rlhf_core.planning.probe import DRAWS, _Probe
from rlhf_core.planning.records import RunPlan
from rlhf_core.planning.run_plan import plan_run, resolved
from rlhf_core.records.base import STAGES
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.stages import memory
from services.cli.main import app
from services.cli.run_plan import plan_text
from tests.stages.conftest import Desk, NumberJudge

SMALL: dict[str, Any] = {
    "model": {"max_tokens": 6, "feedback_tokens": 6},
    "critique": {"prompts": 20},
    "sft": {"batch_size": 4, "helpful_share": 0},
    "label": {"pairs": 10},
    "reward": {"batch_size": 2, "members": 1, "process": [], "reference": False},
    "norm": {"prompts": 8},
    "ppo": {"steps": 3, "prompts_per_step": 2, "samples_per_prompt": 2, "minibatch_size": 4, "epochs": 1},
    "evaluation": {"prompts": 4, "training_prompts": 4, "skills": 0},
}


@pytest.fixture
def ready(desk: Desk, tiny_model):
    """A context that only measures, on a tiny real model."""
    backbone = tiny_model()

    def context(**config: Any):
        ctx = desk.context(NumberJudge(), {**SMALL, **config})
        tools = ctx.tools._replace(backbone=backbone, base_of=lambda _: backbone, on_device=lambda unit: unit())
        prompts = [prompt.model_copy(update={"split": "heldout"}) for prompt in tools.world.prompts[:8]]
        tools.world.prompts = (*tools.world.prompts[8:], *prompts)
        return ctx._replace(tools=tools)

    return context


def test_every_judge_of_a_panel_is_asked_about_the_pairs_that_are_measured(ready):
    first, second = NumberJudge(lambda a, b: 0.5), NumberJudge(lambda a, b: -0.5)
    panel = [{"name": "pairs", "protocol": "notes"}, {"name": "alone"}]
    plan = plan_run(ready(feedback={"judge": {"panel": panel}}), lambda: first, None, lambda: [second])
    assert first.asked == second.asked and first.asked["calm"] > 0
    assert plan.settings["feedback.judge.panel"] == "pairs: policy by notes, alone: policy by pointwise"
    assert "feedback.judge.protocol" not in plan.settings and "feedback.judge.protocol" in resolved(RunConfig())


def test_every_stage_has_its_calls_time_and_memory_and_the_model_is_left_as_it_was(ready):
    ctx = ready()
    plan = plan_run(ctx, None, None)
    assert tuple(stage.stage for stage in plan.stages) == STAGES
    by_stage = {stage.stage: stage for stage in plan.stages}
    # 3 steps of 4 samples, each written, scored twice and learned once; and looks, each reply written and scored twice.
    looks = 1 + 2
    assert by_stage["ppo"].calls == 3 * 4 * 4 + looks * 8 * 3
    assert by_stage["ppo"].seconds is not None and by_stage["ppo"].seconds > plan.costs.step.item_seconds * 3
    learned = plan.costs.step.item_seconds * (1 - plan.costs.rollout_share)
    assert plan.measured.learn is not None and plan.measured.learn.item_seconds == pytest.approx(learned / 4)
    assert plan.peak_bytes > 10**8 and plan.seconds > 0
    assert plan.costs.step.item_seconds > 0 < plan.costs.rollout_share < 1
    assert ctx.tools.backbone.adapters.names == ()
    assert ctx.store.samples.of_run(ctx.run.id) == []


def test_pairs_that_a_judge_is_timed_on_differ_where_any_do_in_a_few_draws():
    later = {"one": iter(["a", "a", "a", "b"]), "two": iter(["a"] * (1 + DRAWS)), "three": iter(["c"])}
    prompts = [Prompt.of(name) for name in later]

    def drawn(prompt: Prompt, response: str) -> Sample:
        return Sample(id=f"{prompt.id}{response}", prompt=prompt, response=response, policy_version="base")

    def write(asked: Sequence[Prompt], n: int, seed: int) -> list[Sample]:
        return [drawn(prompt, next(later[prompt.messages[0].content])) for prompt in asked]

    bare = _Probe.__new__(_Probe)
    bare._write = write
    pairs = bare._pairs([drawn(prompt, "a") for prompt in prompts])
    assert [(pair.prompt.messages[0].content, pair.a.response, pair.b.response) for pair in pairs] == [
        ("one", "a", "b"),
        ("three", "a", "c"),
        ("two", "a", "a"),
    ]


def test_what_an_endpoint_is_asked_is_told_and_not_measured(ready):
    plan = plan_run(ready(), None, None)
    critique, label = (next(one for one in plan.stages if one.stage == name) for name in ("critique", "label"))
    assert critique.seconds is None and critique.note == "20 x criticise by an endpoint: not measured"
    assert label.note == "10 x compare by an endpoint: not measured"
    text = plan_text(plan)
    assert "ppo.steps: 3" in text and "nothing was started" in text and "critique: 20 x criticise" in text


def test_the_plan_of_a_run_that_overlaps_says_what_it_leaves_out(ready):
    plan = plan_run(ready(ppo=SMALL["ppo"] | {"overlap": "rollouts"}), None, None)
    told = {stage.stage for stage in plan.stages if "ppo.overlap is 'rollouts': what it gains" in stage.note}
    assert told == {"ppo", "control"} and plan.settings["ppo.overlap"] == "rollouts"


def test_the_plan_of_a_run_with_several_learners_says_that_it_is_of_one_process(ready):
    plan = plan_run(ready(learner={"processes": 2}), None, None)
    told = {stage.stage for stage in plan.stages if "learner.processes is 2: planned is this process" in stage.note}
    assert told == {"sft", "reward", "ppo", "control"} and plan.settings["learner.processes"] == "2"
    assert all(stage.seconds for stage in plan.stages if stage.stage in told)


def test_programs_that_a_run_comes_to_keep_are_in_the_plan_though_no_probe_sees_them(ready, monkeypatch):
    monkeypatch.setattr(memory, "program_bytes", lambda model: 10**12)
    plan = plan_run(ready(), None, None)
    assert all(10**12 < (stage.peak_bytes or 0) < 1.1 * 10**12 for stage in plan.stages if stage.stage == "ppo")
    assert plan.peak_bytes > 10**12


def test_the_plan_keeps_to_the_budget_of_memory(ready):
    with pytest.raises(InvalidInput, match=r"model\.memory_budget is 1 MB"):
        plan_run(ready(model=SMALL["model"] | {"memory_budget": "1MB"}), None, None)


def test_resolved_settings_are_those_that_decide(ready):
    settings = resolved(ready().config)
    assert settings["ppo.minibatch_size"] == "4" and settings["model.memory_budget"] == "none"


def test_a_peak_of_memory_is_that_of_the_work_alone():
    size = 64 * 2**20

    def work() -> None:
        # Not from malloc, which keeps what it is given back where a model's thread of this process asked it to.
        with mmap.mmap(-1, size, mmap.MAP_PRIVATE) as memory:
            for page in range(0, size, mmap.PAGESIZE):
                memory[page] = 1

    _, taken = measure(work)
    _, after = measure(lambda: None)
    assert taken.peak_bytes - after.peak_bytes > 0.9 * size


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--plan", "--address", "localhost:1"), "--address does not go with --plan"),
        (("--plan", "--control", "run-1"), "--control does not go with --plan"),
        (("--json",), "--json goes with --plan"),
        (("--detach",), "--detach needs a server"),
        (("--plan", "-s", "data.prompts=dataset:mine"), "--plan reads files, not datasets"),
    ],
)
def test_what_does_not_go_with_a_plan_is_said(arguments, told):
    with pytest.raises(InvalidInput, match=told):
        CliRunner().invoke(app, ["run", *arguments], catch_exceptions=False)


@pytest.mark.slow
def test_a_run_of_the_sandbox_is_planned_from_what_was_measured():
    small = ["critique.prompts=16", "label.pairs=16", "ppo.steps=2", "evaluation.prompts=8", "model.threads=1"]
    options = [part for setting in small for part in ("-s", setting)]
    result = CliRunner().invoke(app, ["run", "--plan", "--json", *options], catch_exceptions=False)
    plan = RunPlan.model_validate(json.loads(result.stdout))
    told = [stage for stage in plan.stages if stage.stage != "report"]
    assert all(stage.seconds and stage.calls and stage.tokens and stage.peak_bytes for stage in told)
    assert plan.costs.criticise is not None and plan.costs.compare is not None and plan.costs.skill is not None
    assert all(plan.yields.examples.values()) and 0 < plan.yields.demonstrations <= 1


@pytest.mark.parametrize(("amx", "told"), [(True, "auto, here bfloat16"), (False, "auto, here float32")])
def test_a_precision_that_is_found_here_is_told(monkeypatch, amx, told):
    monkeypatch.setattr(loading, "capabilities", lambda: {"amx_bf16": amx})
    assert resolved(RunConfig.model_validate({"model": {"dtype": "auto"}}))["model.dtype"] == told
