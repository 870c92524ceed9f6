"""Micro-batches under a budget of memory: chosen from the longest texts, the same again, or refused in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rlhf_core.errors import InvalidInput
from rlhf_core.models.memory_budget import HELD
from rlhf_core.records.base import STAGES
from rlhf_core.stages.memory import SCRATCH, fit_to_memory, longest_rows
from tests.stages.conftest import Desk, NumberJudge


@pytest.fixture
def ready(desk: Desk, tiny_model):
    """A context with a tiny real model and a budget of so many bytes beside what any process holds."""
    backbone = tiny_model()

    def context(beside: int | None, **config: Any):
        model = {"max_tokens": 12, "feedback_tokens": 20}
        model |= {"memory_budget": HELD + backbone.weight_bytes + beside} if beside else {}
        ctx = desk.context(NumberJudge(), {"model": model, "reward": {"reference": False}, **config})
        tools = ctx.tools._replace(backbone=backbone, base_of=lambda _: backbone, on_device=lambda unit: unit())
        return ctx._replace(tools=tools)

    return context


def test_without_a_budget_nothing_changes(ready):
    ctx = ready(None)
    assert fit_to_memory(ctx, STAGES) is ctx


def test_the_longest_rows_are_those_of_prompts_with_the_longest_responses(ready):
    ctx = ready(None)
    prompt = max(len(ctx.tools.backbone.render(one.messages)) for one in ctx.tools.world.prompts)
    assert longest_rows(ctx, STAGES)[:3] == (prompt + 12, prompt + 20, prompt + 20)


def test_a_smaller_budget_takes_fewer_rows_in_every_stage_and_says_so(ready, desk: Desk):
    sizes = []
    for beside in (2_000_000, 1_000_000):
        config = fit_to_memory(ready(beside), STAGES).config
        sizes.append((config.sft.micro_batch_size, config.reward.micro_batch_size, config.ppo.micro_batch_size))
    assert all(0 < small < large for large, small in zip(*sizes, strict=True)), sizes
    assert f"sft {sizes[1][0]}, reward {sizes[1][1]}, ppo {sizes[1][2]}" in json.loads(desk.notes[-1])["text"]
    # A run that goes on after some stages takes the same passes in the others.
    again = fit_to_memory(ready(1_000_000), ["ppo", "control"]).config
    assert (again.ppo.micro_batch_size, again.sft.micro_batch_size) == (sizes[1][2], None)


def test_whole_weights_leave_room_for_fewer_rows_and_ppo_holds_those_of_others_too(ready):
    weights, beside = ready(None).tools.backbone.weight_bytes, 30_000_000

    def rows(whole: tuple[str, ...], more: int = 0, layout: str = "adapters") -> tuple[int | None, ...]:
        given = {name: {"tune": "full" if name in whole else "lora"} for name in ("sft", "reward", "ppo")}
        given["sft"] |= {"batch_size": 512}
        given["reward"] |= {"batch_size": 512, "layout": layout, "reference": False}
        given["ppo"] |= {"minibatch_size": 512, "prompts_per_step": 512}
        config = fit_to_memory(ready(beside + more * weights, **given), STAGES).config
        return config.sft.micro_batch_size, config.reward.micro_batch_size, config.ppo.micro_batch_size

    low, ppo, all_ = rows(()), rows(("ppo",)), rows(("sft", "reward", "ppo"))
    assert ppo[:2] == low[:2] and all(one < other for one, other in zip(all_, low, strict=True))
    # Its reference, and a reward model of each of two objectives or one for both.
    assert rows(("ppo", "sft"), more=1)[2] == rows(("ppo", "reward"), more=2)[2] == ppo[2]
    assert rows(("ppo", "reward"), more=1, layout="trunk")[2] == ppo[2]
    assert rows(("ppo", "sft", "reward"), more=-20)[2] < ppo[2]


def test_what_fits_as_it_is_or_was_asked_for_stays(ready):
    ctx = ready(4_000_000_000, ppo={"micro_batch_size": 2})
    config = fit_to_memory(ctx, STAGES).config
    assert (config.sft.micro_batch_size, config.ppo.micro_batch_size) == (None, 2)
    assert SCRATCH not in ctx.tools.backbone.adapters


def test_a_budget_in_which_not_one_row_fits_is_refused_with_what_would_do(ready):
    ctx = ready(250_000)
    with pytest.raises(
        InvalidInput, match=r"model.memory_budget is 55\d MB, and a process in a .* holds .*allowed: at least 55\d MB"
    ):
        fit_to_memory(ctx, STAGES)
    assert SCRATCH not in ctx.tools.backbone.adapters


def test_more_replayed_rows_than_fit_are_refused(ready):
    with pytest.raises(InvalidInput, match=r"ppo.ptx_batch_size is 500, and \d+ rows fit .*allowed: at most \d+"):
        fit_to_memory(ready(4_000_000, ppo={"ptx_coef": 0.5, "ptx_batch_size": 500}), ["ppo"])
