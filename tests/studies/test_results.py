"""What is said of a study's policies, where it can be said."""

from __future__ import annotations

from rlhf_core.records.studies import Answer, QuestionResult, StudyPair, StudyPlan, StudyQuestion
from rlhf_core.studies.results import question_result

FOUR = ("p", "q", "r", "s")


def played(wins: list[tuple[str, str]], policies: tuple[str, ...] = FOUR) -> QuestionResult:
    """The result of pairs that the first of two policies won; each of a prompt of its own."""
    plan = StudyPlan(policies=policies, objectives=("o",), stopping="fixed")
    pairs = [
        StudyPair(
            study_id="x",
            comparison_id=f"c{place}",
            place=place,
            prompt_id=f"p{place}",
            a_policy=won,
            b_policy=lost,
            a_words=4 if place % 2 else 2,
            b_words=2 if place % 2 else 4,
        )
        for place, (won, lost) in enumerate(wins)
    ]
    answers = [Answer(pair.comparison_id, "a", "human:ada") for pair in pairs]
    question = StudyQuestion(study_id="x", objective="o", wanted=1)
    return question_result(plan, question, pairs, answers, 0)


def bounded(found: QuestionResult) -> dict[str, bool]:
    return {one.policy: one.log_odds.low is not None for one in found.strengths}


def test_a_group_that_always_beats_another_is_stronger_without_bounds():
    within = [("p", "q"), ("q", "p"), ("r", "s"), ("s", "r")] * 3
    across = [(strong, weak) for strong in "pq" for weak in "rs"] * 3
    found = played(within + across)
    assert bounded(found) == {"p": True, "q": True, "r": False, "s": False}
    assert found.strengths[2].log_odds.value < -1 and found.length is not None and found.length.low is None
    upset = played([*within, *across, ("s", "p")])
    assert all(bounded(upset).values()) and upset.length is not None and upset.length.low is not None


def test_a_policy_that_won_or_lost_every_pair_has_no_bounds():
    found = played([("p", "q"), ("q", "p"), ("p", "r"), ("q", "r")] * 4, ("p", "q", "r"))
    assert bounded(found) == {"p": True, "q": True, "r": False}
    assert not any(one.log_odds.low is not None for one in played([("p", "q")] * 4, ("p", "q")).strengths[1:])
