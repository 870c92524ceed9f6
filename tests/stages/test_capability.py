"""What a judge can do is asked of the constitution's own tests, before any long work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from rlhf_core.errors import TrainingFailed
from rlhf_core.interfaces import PanelJudge
from rlhf_core.records.feedback import Usage, Vote
from rlhf_core.records.samples import Comparison
from rlhf_core.stages.critique import critique_stage, refuse_incapable
from tests.stages.conftest import HEAD, Desk, NumberJudge
from tests.stages.test_panel import told

TESTED = (
    HEAD
    + """
  - id: big
    serves: {helpful: 1, harmless: 1}
    compare: Which reply has the bigger number?
    tests:
"""
    + "".join(f"      - {{prompt: 'How many, {n}?', prefer: '{n + 9} x', over: '{n} x'}}\n" for n in range(30))
)
OWN = {"data": {"prompts": "mine.jsonl"}}


def falling(first: str, second: str) -> float:
    """Prefer the smaller number."""
    return -0.2 * (int(first.split()[0]) - int(second.split()[0]))


def first_shown(first: str, second: str) -> float:
    """Prefer whichever reply stands first."""
    return 3.0


def test_a_judge_that_is_right_is_told_of_with_its_count(desk: Desk) -> None:
    judge = NumberJudge()
    refuse_incapable(desk.context(judge, OWN, law=TESTED, gold=False), judge)
    assert "the judge 'judge' prefers what the constitution's tests prefer in 15 of 15" in desk.notes[0]


def test_a_judge_that_prefers_the_wrong_side_ends_the_run_and_says_what_would_help(desk: Desk) -> None:
    judge = NumberJudge(falling)
    with pytest.raises(TrainingFailed, match=r"in 0 of 15 \(15 wrong_side\), .*protocol=contrast"):
        refuse_incapable(desk.context(judge, OWN, law=TESTED, gold=False), judge)


def test_a_judge_with_a_habit_of_position_is_told_of_by_its_reason(desk: Desk) -> None:
    judge = NumberJudge(first_shown)
    with pytest.raises(TrainingFailed, match="15 position_gap"):
        refuse_incapable(desk.context(judge, OWN, law=TESTED, gold=False), judge)


def test_who_allows_an_ungated_judge_is_only_told(desk: Desk) -> None:
    judge = NumberJudge(falling)
    config = OWN | {"gate": {"allow_ungated": True}}
    refuse_incapable(desk.context(judge, config, law=TESTED, gold=False), judge)
    assert "in 0 of 15" in desk.notes[0]


def test_without_tests_nobody_knows_and_the_run_says_so(desk: Desk) -> None:
    judge = NumberJudge()
    refuse_incapable(desk.context(judge, OWN, gold=False), judge)
    assert "no tests" in desk.notes[0]


def test_a_world_that_knows_the_truth_is_asked_later(desk: Desk) -> None:
    judge = NumberJudge(falling)
    refuse_incapable(desk.context(judge, {}, law=TESTED), judge)
    assert desk.notes == []
    assert judge.asked == {}


class Paid(NumberJudge):
    """Each question costs 1."""

    def compare(self, questions: Sequence[tuple[Comparison, Any]]) -> list[Vote]:
        self.usage = self.usage.plus(Usage(requests=len(questions), cost=len(questions)))
        return super().compare(questions)


def test_the_other_judges_of_a_panel_are_told_of_by_name_and_end_no_run(desk: Desk) -> None:
    judge, others = NumberJudge(), [PanelJudge("turned", "logprobs", 1.0, NumberJudge(falling, "other"))]
    refuse_incapable(desk.context(judge, OWN, law=TESTED, gold=False), judge, others)
    first, second = map(json.loads, desk.notes)
    assert first["text"].startswith("the judge 'judge' prefers") and "alarm" not in first
    assert second["text"].startswith("turned: the judge 'other' prefers") and "in 0 of 15" in second["text"]
    assert second["alarm"] is True


def test_what_the_other_judges_of_a_panel_are_paid_for_the_tests_is_in_the_stages_cost(desk: Desk) -> None:
    panel = [PanelJudge(name, "logprobs", 1.0, Paid(name=name)) for name in ("one", "two")]
    (desk.folder / "mine.jsonl").write_text("".join(json.dumps({"prompt": f"How many, {n}?"}) + "\n" for n in range(9)))
    own = {"data": {"prompts": str(desk.folder / "mine.jsonl")}}
    ctx = desk.context(NumberJudge(), own, law=TESTED, gold=False)
    tools = ctx.tools._replace(feedback=lambda law: panel[0].feedback, panel=lambda law: panel)
    assert critique_stage(told(ctx._replace(tools=tools))).numbers["endpoint.cost"] == 30, (
        "15 tests by each; no principle criticises"
    )
