"""The bill of a stage, kept through an interruption: what was told with each step counts, and what came after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.load import load_constitution
from rlhf_core.records.feedback import Usage
from rlhf_core.records.runs import StageResult
from rlhf_core.stages.context import Context
from rlhf_core.stages.usage import Spending, spent
from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process

ASKED = Usage(requests=3, retries=1, prompt_tokens=300, completion_tokens=30, unmetered=1, cost=0.25)


class Feedback:
    """Only what a bill needs of the critic and the judge."""

    def __init__(self) -> None:
        self.usage = Usage()


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[Context]:
    store = Store.open(tmp_path)
    law = load_constitution("household")
    store.runs.create("label", "{}", law.hash, "once")
    run = store.runs.claim(this_process(), 60)
    assert run is not None
    nothing: Any = None

    def report(kind: str, body: str) -> None:
        with store.transaction():
            store.events.append(run.id, kind, body)

    yield Context(
        run=run,
        config=RunConfig(),
        constitution=law,
        weights={},
        store=store,
        tools=nothing,
        results={},
        report=report,
        should_stop=lambda: False,
    )
    store.close()


def test_a_resumed_stage_adds_what_it_spent_before_it_was_interrupted(ctx: Context):
    first: Any = Feedback()
    spending = Spending(ctx, "label", first)
    first.usage = ASKED
    ctx.progress("label", 1, 3, **spending.step())
    first.usage = ASKED.plus(ASKED)
    ctx.progress("label", 2, 3, **spending.step())
    ctx.progress("critique", 1, 1, **{"endpoint.requests": 50.0})  # another stage's
    again: Any = Feedback()
    resumed = Spending(ctx, "label", again)
    again.usage = ASKED
    ctx.progress("label", 3, 3, **resumed.step())
    again.usage = ASKED.plus(ASKED)  # after the last step
    result = resumed.close(StageResult(run_id=ctx.run.id, stage="label", counts={"pairs": 3}))
    assert result.counts["pairs"] == 3
    assert spent(result) == Usage(
        requests=12, retries=4, prompt_tokens=1200, completion_tokens=120, unmetered=4, cost=1.0
    )


def test_a_stage_without_endpoints_says_nothing_of_them(ctx: Context):
    local: Any = Feedback()
    spending = Spending(ctx, "label", local)
    assert spending.step() == {}
    result = StageResult(run_id=ctx.run.id, stage="label", counts={"pairs": 3})
    assert spending.close(result) == result
    assert spent(result) is None
