"""What is said of one objective's labels: agreement and its trend, every person, the judges beside the people."""

from __future__ import annotations

import pytest

from rlhf_core.annotation.agreement import NOT_SHARED
from rlhf_core.annotation.flags import LEFT, NEITHER, RIGHT
from rlhf_core.annotation.quality import Rule, objective_quality, seconds_per_answer, side_of
from rlhf_core.records.annotation import Adjudication
from rlhf_core.records.feedback import Opinion, Preference
from tests.annotation.crowds import said

RULE = Rule(0.8, 0.05)


def judged(pair: str, probability: float, abstained: bool = False, judge: str = "j") -> Preference:
    choice = "a" if probability > 0.5 else "b"
    given = {"comparison_id": pair, "objective": "helpful", "labeler": f"ai:{judge}", "choice": choice}
    return Preference(id=pair, probability=probability, abstained=abstained, **given)


def measured(answers, decided=(), standings=None, ai=()):
    return objective_quality("helpful", answers, decided, standings or {}, ai, RULE)


def test_nothing_is_known_of_no_answers():
    found = measured([])
    assert (found.items, found.answers, found.annotators, found.judges, found.trend) == (0, 0, (), (), ())
    assert found.ordinal.undefined == found.nominal.undefined == NOT_SHARED


def test_equal_and_both_bad_agree_on_the_order_and_are_two_answers_without_one():
    answers = [said("p", "ada", "tie"), said("p", "bo", "both_bad"), said("q", "ada", "a"), said("q", "bo", "a")]
    found = measured(answers)
    assert found.ordinal.value == 1 and found.nominal.value is not None and found.nominal.value < 1
    assert found.ordinal.items == 2 and found.ordinal.answers == 4


def test_the_trend_goes_by_the_time_of_an_item_s_second_answer():
    """Sixty items on which all agree, then sixty on which they agree by chance."""
    answers = []
    for number in range(120):
        first = "ab"[number % 2]
        second = first if number < 60 else "ab"[number // 2 % 2]
        answers += [said(f"p{number}", "ada", first, 10 * number), said(f"p{number}", "bo", second, 10 * number + 5)]
    found = measured(answers)
    assert [window.agreement.items for window in found.trend] == [20] * 6
    assert [window.agreement.value for window in found.trend[:3]] == [1.0] * 3
    assert all(window.agreement.value < 0.3 for window in found.trend[3:])
    assert found.trend[0].begin == answers[1].given_at and found.trend[-1].end == answers[-1].given_at
    assert measured(answers[: 2 * 39]).trend == ()


def test_a_person_is_measured_on_gold_on_second_answers_on_sides_and_on_time():
    gold = [Adjudication(comparison_id=f"g{number}", objective="helpful", choice="a") for number in range(4)]
    answers = [said(f"g{n}", "ada", "b" if n == 3 else "a", 10 * n, swapped=False) for n in range(4)]
    answers += [said("p", "ada", "b", 41, swapped=True), said("q", "ada", "skip", 52)]
    answers += [said("p", "ada", "a", 60, repeated=True, swapped=True), said("q", "ada", "a", 70, repeated=True)]
    (ada,) = measured(answers, gold).annotators
    assert (ada.labeler, ada.answers, ada.skips, ada.standing) == ("human:ada", 5, 1, "by_rule")
    assert ada.gold is not None and (ada.gold.value, ada.gold.n) == (0.75, 4)
    assert ada.repeats is not None and (ada.repeats.value, ada.repeats.n) == (0.0, 1)
    # Left, left, left, right; b of a swapped pair stands left, and its second answer right.
    assert ada.left is not None and (ada.left.value, ada.left.n) == (4 / 6, 6)
    assert ada.seconds == 10 and ada.flag is None and ada.skill is not None
    assert measured(answers, gold).gold == 4


def test_the_share_of_gold_is_not_of_the_answers_that_led_to_decisions():
    gold = [
        Adjudication(comparison_id=f"g{n}", objective="helpful", choice="a", created_at=said("", "", "a", 15).given_at)
        for n in range(4)
    ]
    answers = [said("g0", "ada", "b", 0), said("g1", "ada", "b", 10), said("g2", "ada", "a", 20)]
    (ada,) = measured(answers, gold).annotators
    assert ada.gold is not None and (ada.gold.value, ada.gold.n) == (1.0, 1)


def test_decisions_where_a_judge_contradicted_somebody_flag_nobody_and_leave_the_skill():
    """Ada alone answers 60 pairs, 48 of them right, which is as good as asked. The 24 on which the judge contradicted
    her are decided, half of them against her: counted as known, they would make her careless (e^5.3 / 2 > 20)."""
    wrong = range(0, 24, 2)
    answers = [said(f"p{n}", "ada", "b" if n in wrong else "a", n, swapped=bool(n // 2 % 2)) for n in range(60)]
    since = said("", "", "a", 100).given_at
    gold = [Adjudication(comparison_id=f"p{n}", objective="helpful", choice="a", created_at=since) for n in range(24)]
    (before,), (after,) = measured(answers).annotators, measured(answers, gold).annotators
    assert after.flag is None and after.gold is None
    assert after.skill == pytest.approx(before.skill)
    known = [each.model_copy(update={"created_at": ""}) for each in gold]
    assert measured(answers, known).annotators[0].flag == "careless"


def test_who_is_wrong_after_a_decision_is_flagged_whoever_answered_before_it():
    since = said("", "", "a", 10).given_at
    gold = [Adjudication(comparison_id=f"g{n}", objective="helpful", choice="a", created_at=since) for n in range(6)]
    answers = [said(f"g{n}", "ada", "b", n) for n in range(6)] + [said(f"g{n}", "zed", "b", 20 + n) for n in range(6)]
    zed, ada = measured(answers, gold).annotators
    assert (zed.labeler, zed.flag, zed.flagged_after) == ("human:zed", "contrary", 3)
    assert ada.flag is None


def test_who_only_skips_has_no_skill_and_no_shares():
    (ada,) = measured([said("p", "ada", "skip")]).annotators
    assert (ada.answers, ada.skips, ada.skill, ada.gold, ada.repeats, ada.left) == (0, 1, None, None, None, None)


def test_somebody_who_says_the_contrary_is_flagged_and_comes_first():
    gold = [Adjudication(comparison_id=f"g{number}", objective="helpful", choice="a") for number in range(6)]
    answers = [said(f"g{n}", who, choice, n) for n in range(6) for who, choice in (("ada", "a"), ("zed", "b"))]
    zed, ada = measured(answers, gold).annotators
    assert (zed.labeler, zed.flag, zed.flagged_after) == ("human:zed", "contrary", 3)
    # Of 16 answers, ten of them imagined, zed gives 8 as they should be on what is not even, and ada 14.
    shares = (16 / 18, 2 / 18)
    assert zed.skill == pytest.approx(shares[0] * 8 / 16 + shares[1] * 0.8)
    assert ada.skill == pytest.approx(shares[0] * 14 / 16 + shares[1] * 0.8) and ada.flag is None


def test_who_is_shut_out_is_measured_and_counts_in_nothing_else():
    answers = [said(f"p{n}", who, "a" if who != "eve" else "b", n) for n in range(5) for who in ("ada", "bo", "eve")]
    mixed, clean = measured(answers), measured(answers, standings={"human:eve": "paused"})
    assert mixed.ordinal.value is not None and mixed.answers == 15
    assert clean.answers == 10 and clean.ordinal.value is None
    eve = next(each for each in clean.annotators if each.labeler == "human:eve")
    assert eve.standing == "paused" and eve.answers == 5 and eve.flag == "contrary"


def test_a_judge_is_held_against_what_people_are_sure_of():
    answers = [said(f"p{n}", "ada", "a", n, uniform=n < 4) for n in range(6)]
    answers += [said("split", "ada", "a"), said("split", "bo", "b"), said("tie", "ada", "tie")]
    ai = [judged(f"p{n}", 0.9) for n in range(3)] + [judged("p3", 0.2), judged("p4", 0.1), judged("p5", 0.5, True)]
    ai += [judged("split", 0.9), judged("tie", 0.9), judged("unknown", 0.9), judged("p0", 0.1, judge="other")]
    j, other = measured(answers, ai=ai).judges
    assert (j.judge, j.agreement.value, j.agreement.n) == ("j", 0.75, 4)
    assert (j.all_pairs.value, j.all_pairs.n, j.abstained) == (0.6, 5, 1)
    assert j.agreement.low < 0.75 < j.agreement.high
    assert (other.judge, other.agreement.value, other.all_pairs.n) == ("other", 0.0, 1)


def test_a_judge_s_later_label_of_a_pair_stands_for_it():
    answers = [said("p", "ada", "a")]
    (j,) = measured(answers, ai=[judged("p", 0.1), judged("p", 0.9)]).judges
    assert j.agreement is None and j.all_pairs.value == 1.0


@pytest.mark.parametrize(
    ("choice", "swapped", "side"),
    [("a", False, LEFT), ("a", True, RIGHT), ("b", False, RIGHT), ("b", True, LEFT), ("tie", True, NEITHER),
     ("skip", False, NEITHER), ("a", None, NEITHER)],
)  # fmt: skip
def test_the_side_that_was_picked_follows_from_the_answer_and_the_order_shown(choice, swapped, side):
    assert side_of(said("p", "ada", choice, swapped=swapped)) == side


def test_pauses_are_not_time_on_an_item():
    assert seconds_per_answer([said("p", "ada", "a", at) for at in (0, 4, 10, 2000, 2008)]) == 6
    assert seconds_per_answer([said("p", "ada", "a", at) for at in (0, 2000)]) is None


def test_each_judge_of_a_panel_stands_beside_the_people_after_the_panel():
    answers = [said(f"p{n}", who, "a") for n in range(4) for who in ("ada", "bo")]
    each = (Opinion(judge="fine", probability=0.9, weight=1), Opinion(judge="turned", probability=0.1, weight=0))
    ai = [judged(f"p{n}", 0.9, judge="panel-1").model_copy(update={"opinions": each}) for n in range(4)]
    found = {judge.judge: judge.all_pairs for judge in measured(answers, ai=ai).judges}
    assert list(found) == ["panel-1", "panel-1/fine", "panel-1/turned"]
    assert [one.value for one in found.values() if one] == [1.0, 1.0, 0.0]
