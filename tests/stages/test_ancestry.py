"""What a run has of the runs before it, however long the chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rlhf_core import pipeline
from rlhf_core.config.run import RunConfig
from rlhf_core.pipeline import STORY, run_pipeline
from rlhf_core.records.base import Stage
from rlhf_core.records.runs import Run, StageResult
from rlhf_core.stages import context
from rlhf_core.stages.ancestry import results_of
from rlhf_core.stages.context import Context
from rlhf_core.stages.labelling.pairs import pairs_before
from rlhf_core.stages.labelling.rounds import label_runs
from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process
from tests.stages.conftest import LAW, Desk, NumberJudge


def new_run(store: Store, done: tuple[Stage, ...] = (), **config: object) -> str:
    """A run that has done some stages; its results are told apart by the run."""
    settings = RunConfig.model_validate(config)
    run = store.runs.create(settings.kind, settings.model_dump_json(), "law", "").id
    for stage in done:
        store.stage_results.add(StageResult(run_id=run, stage=stage, policy_version=f"{stage} of {run}"))
    return run


def owners(store: Store, run: str) -> dict[Stage, str]:
    return {stage: result.run_id for stage, result in results_of(store, run).items()}


def test_a_run_that_inherited_hands_on_what_it_inherited_and_what_it_made(desk: Desk):
    store = desk.store
    first = new_run(store, ("critique", "sft", "label", "reward", "norm_pack", "ppo", "evaluate", "report"))
    second = new_run(store, ("ppo", "evaluate"), from_run=first, start_at="ppo")
    third = new_run(store, (), from_run=second, kind="evaluate")
    assert owners(store, second) == {
        **dict.fromkeys(("critique", "sft", "label", "reward", "norm_pack"), first),
        **dict.fromkeys(("ppo", "evaluate"), second),
    }
    assert owners(store, third) == {stage: run for stage, run in owners(store, second).items() if stage != "evaluate"}


def test_what_was_made_from_a_stage_that_is_made_anew_is_not_handed_on(desk: Desk):
    first = new_run(desk.store, ("critique", "sft", "label", "reward", "norm_pack", "ppo"))
    again = new_run(desk.store, ("reward",), from_run=first, kind="reward")
    begun = new_run(desk.store, (), from_run=first, start_at="label")
    assert owners(desk.store, again) == {"critique": first, "sft": first, "label": first, "reward": again}
    assert owners(desk.store, begun) == {"critique": first, "sft": first}


def test_the_stages_of_a_third_run_see_the_results_of_the_first(desk: Desk, monkeypatch):
    seen: list[dict[Stage, str]] = []

    def evaluate(ctx: Context) -> StageResult:
        seen.append({stage: ctx.need(stage).policy_version for stage in ("sft", "ppo")})
        return StageResult(run_id=ctx.run.id, stage="evaluate")

    monkeypatch.setitem(STORY, "evaluate", evaluate)
    ctx = desk.context(NumberJudge(), {})
    first = new_run(desk.store, ("critique", "sft", "label", "reward", "norm_pack", "ppo"))
    second = new_run(desk.store, ("ppo",), from_run=first, start_at="ppo")
    config = RunConfig(kind="evaluate", from_run=second, weights={"helpful": 1, "harmless": 1})
    made = desk.store.runs.create("evaluate", config.model_dump_json(), ctx.constitution.hash, "").id
    run_pipeline(
        claimed(desk.store, made),
        desk.store,
        ctx.tools._replace(on_device=lambda unit: unit()),
        lambda kind, body: None,
        lambda: False,
    )
    assert seen == [{"sft": f"sft of {first}", "ppo": f"ppo of {second}"}]


def test_each_stage_begins_with_the_memory_of_the_one_before_given_back(desk: Desk, monkeypatch):
    at: list[str] = []

    def stage_of(name: Stage):
        def stage(ctx: Context) -> StageResult:
            at.append(name)
            return StageResult(run_id=ctx.run.id, stage=name)

        return stage

    def on_device(unit: Callable[[], Any]) -> Any:
        at.append("device")
        return unit()

    for name in ("evaluate", "report"):
        monkeypatch.setitem(STORY, name, stage_of(name))
    monkeypatch.setattr(pipeline, "give_back", lambda: at.append("given back"))
    ctx = desk.context(NumberJudge(), {})
    first = new_run(desk.store, ("critique", "sft", "label", "reward", "norm_pack", "ppo"))
    config = RunConfig(from_run=first, start_at="evaluate", weights={"helpful": 1, "harmless": 1})
    made = desk.store.runs.create("pipeline", config.model_dump_json(), ctx.constitution.hash, "").id
    tools = ctx.tools._replace(on_device=on_device)
    run_pipeline(claimed(desk.store, made), desk.store, tools, lambda kind, body: None, lambda: False)
    assert at == ["device", "given back", "evaluate", "device", "given back", "report"]


@pytest.mark.parametrize(("budget", "every", "times"), [("3GB", 0.0, 3), ("3GB", 3600.0, 0), (None, 0.0, 0)])
def test_buffers_are_given_back_now_and_then_where_a_budget_asks(desk, monkeypatch, budget, every, times):
    """Otherwise the longest row of each step leaves what no later one fits into: 1.5 GB in 16 steps of PPO."""
    given: list[int] = []
    monkeypatch.setattr(context, "give_back", lambda: given.append(1))
    monkeypatch.setattr(context, "GIVEN_BACK_EVERY", every)
    ctx = desk.context(NumberJudge(), {"model": {"memory_budget": budget}})
    ctx = ctx._replace(tools=ctx.tools._replace(on_device=lambda unit: unit()))
    assert list(ctx.units(iter("abc"))) == ["a", "b", "c"]
    assert len(given) == times


def claimed(store: Store, run_id: str) -> Run:
    while (run := store.runs.claim(this_process(), 3600)) is not None:
        if run.id == run_id:
            return run
    raise AssertionError(f"{run_id} is not to be had")


def test_a_round_after_a_sweep_still_learns_from_the_labels_before_the_sweep(desk: Desk):
    first = new_run(desk.store, ("sft", "label", "ppo"))
    swept = new_run(desk.store, ("ppo",), from_run=first, start_at="ppo")
    later = new_run(desk.store, ("label",), from_run=swept, start_at="label", label={"on_policy": True})
    ctx = desk.context(NumberJudge(), {}, LAW)
    assert label_runs(ctx, later) == [later, first]


def test_the_pairs_of_a_run_that_took_over_its_labels_are_those_of_the_run_that_drew_them(desk: Desk):
    first = desk.context(NumberJudge(), {"label": {"pairs": 4}})
    drawn = StageResult(run_id=first.run.id, stage="label", policy_version="policy-1", counts={"identical": 1})
    desk.store.stage_results.add(drawn)
    swept = new_run(desk.store, ("ppo",), from_run=first.run.id, start_at="ppo")
    again = desk.context(NumberJudge(), {"label": {"pairs": 4}, "from_run": swept, "kind": "label"})
    result = pairs_before(again, "policy-1")
    assert result is not None and result.identical == 1
