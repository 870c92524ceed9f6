"""What PPO replays: nothing, the base's own answers to training prompts, or the user's rows; whatever the weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rlhf_core.config.run import RunConfig
from rlhf_core.records.samples import BASE_POLICY, Demonstration, Prompt, Sample
from rlhf_core.stages import demonstrations
from rlhf_core.stages.context import Context
from rlhf_core.stages.demonstrations import replayed
from tests.stages.conftest import Desk, NumberJudge


def replay(ctx: Context) -> list[Demonstration]:
    return replayed(ctx).demonstrations


def heard(desk: Desk, monkeypatch) -> list[tuple[str, float]]:
    """Policy and temperature of each call of the sampler from here on."""
    calls: list[tuple[str, float]] = []
    draw = desk.sampler.generate

    def generate(prompts: Sequence[Prompt], *, temperature: float, **others: Any) -> list[Sample]:
        calls.append((others["policy_version"], temperature))
        return draw(prompts, **others)

    monkeypatch.setattr(desk.sampler, "generate", generate)
    return calls


def test_nothing_is_replayed_unless_it_is_asked_for(desk: Desk):
    for config in ({}, {"ppo": {"ptx_coef": 0.0}}):
        assert replay(desk.context(NumberJudge(), {"kind": "ppo", **config})) == []
    assert desk.sampler.calls == 0


def test_a_file_that_nothing_would_be_replayed_of_is_refused():
    with pytest.raises(ValidationError, match=r"data.replay is 'mine.jsonl' and ppo.ptx_coef is 0"):
        RunConfig.model_validate({"data": {"replay": "mine.jsonl"}})


def test_the_bases_own_answers_to_training_prompts_are_replayed_as_they_were(desk: Desk, monkeypatch):
    calls = heard(desk, monkeypatch)
    ctx = desk.context(NumberJudge(), {"kind": "ppo", "ppo": {"ptx_coef": 0.5, "temperature": 0.6}}, prompts=6)
    world: Any = ctx.tools.world
    kept = Prompt.of("How many are kept?", split="heldout")
    world.prompts = (*world.prompts, kept)
    rows = replay(ctx)
    assert set(calls) == {(BASE_POLICY, 0.6)}
    assert {row.prompt.messages[-1].content for row in rows} == {f"How many, {n}?" for n in range(6)}
    assert len(rows) == 6 and {row.source for row in rows} == {"replay"}
    stored = desk.store.samples.of_run(ctx.run.id, stage="replay")
    assert {row.response for row in rows} == {sample.response for sample in stored}
    drawn = desk.sampler.calls
    assert replay(ctx) == rows and desk.sampler.calls == drawn, "what is stored is not drawn again"


def test_there_is_a_bound_to_what_is_drawn_for_a_replay(desk: Desk, monkeypatch):
    monkeypatch.setattr(demonstrations, "REPLAYED", 4)
    ctx = desk.context(NumberJudge(), {"kind": "ppo", "ppo": {"ptx_coef": 0.5}}, prompts=30)
    rows = replay(ctx)
    assert len({row.prompt.id for row in rows}) == len(rows) == 4


def test_the_users_rows_are_replayed_in_place_of_answers(desk: Desk, tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Say {n}", "response": f"It is {n}."}) + "\n" for n in range(3)))
    ctx = desk.context(NumberJudge(), {"kind": "ppo", "ppo": {"ptx_coef": 0.5}, "data": {"replay": str(path)}})
    rows = replay(ctx)
    assert [(row.prompt.messages[-1].content, row.response) for row in rows] == [
        ("Say 0", "It is 0."),
        ("Say 1", "It is 1."),
        ("Say 2", "It is 2."),
    ]
    assert desk.sampler.calls == 0


def test_a_replay_does_not_depend_on_the_weights(desk: Desk):
    replays = []
    for weights in ({"helpful": 1, "harmless": 0}, {"helpful": 0, "harmless": 5}):
        ctx = desk.context(NumberJudge(), {"kind": "ppo", "ppo": {"ptx_coef": 0.5}, "weights": weights}, prompts=8)
        replays.append([(row.prompt.id, row.response) for row in replay(ctx)])
    assert replays[0] == replays[1]
