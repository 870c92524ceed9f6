"""The monitors of a PPO run over a real store, beside replies of a reference policy that were stored before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import TrainingFailed
from rlhf_core.records.runs import Run, StageResult
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.stages.context import Context, Toolbox
from rlhf_core.stages.ppo_watch import Watch
from rlhf_core.store.store import Store
from tests.feedback.rule_feedback import LAW

SORRY, FINE = "I'm sorry, no.", "Use some soap."


def replies(stage: str, *texts: str) -> list[Sample]:
    return [
        Sample(
            id=f"{stage}-{i}",
            prompt=Prompt.of(f"p{i}", tags=("benign",)),
            response=text,
            policy_version="sft",
            run_id="run-1",
            stage=stage,
        )
        for i, text in enumerate(texts)
    ]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path)
    opened.samples.add(replies("norm_pack", SORRY, *[FINE] * 9))
    yield opened
    opened.close()


def said(note: dict[str, Any]) -> str:
    return ("alarm: " if note.get("alarm") else "") + note["text"]


def watch(store: Store, notes: list[str], **monitors: dict[str, float]) -> Watch:
    config = RunConfig.model_validate({"monitors": monitors})
    ctx = Context(
        run=Run(id="run-1", kind="pipeline", state="RUNNING", config=config.model_dump_json()),
        config=config,
        constitution=LAW,
        weights={},
        store=store,
        tools=cast(Toolbox, None),
        results={"norm_pack": StageResult(run_id="run-1", stage="norm_pack", norm_pack="pack")},
        report=lambda kind, body: notes.append(said(json.loads(body))),
        should_stop=lambda: False,
    )
    return Watch(ctx)


def test_drift_from_the_reference_policy_is_noted_once_for_each_monitor(store: Store):
    notes: list[str] = []
    watched = watch(store, notes)
    watched.judge(watched.listen(replies("ppo", *[SORRY] * 2, *[FINE] * 8)), 1)
    assert notes == []
    for step in (2, 3):
        watched.judge(watched.listen(replies("ppo", *[SORRY] * 3, *[FINE] * 7)), step)
    limit = "30%, above the limit of 20%, 10% more than the reference policy's 10%"
    assert notes == [
        f"alarm: PPO step 2: replies that decline {limit}",
        f"alarm: PPO step 2: replies that open with an apology {limit}",
    ]


def test_a_limit_that_ends_the_run_names_step_number_and_limit(store: Store):
    watched = watch(store, [], stop={"refusals": 0.3})
    watched.judge(watched.listen(replies("ppo", *[SORRY] * 4, *[FINE] * 6)), 6)
    heard = watched.listen(replies("ppo", *[SORRY] * 5, *[FINE] * 5))
    message = "PPO ended at step 7, as monitors.stop asks: replies that decline 50%, above the limit of 40%"
    with pytest.raises(TrainingFailed, match=message):
        watched.judge(heard, 7)


def test_lengths_are_measured_against_the_reference_policys_replies_to_the_same_prompts(store: Store):
    heard = watch(store, []).listen(replies("ppo", *["Use some soap and rinse it."] * 4))
    assert heard.length_ratio is not None and (heard.length_ratio.n, heard.length_ratio.median) == (4, 2.0)
    assert heard.numbers()["refusals_benign"] == 0
