"""Several judges as one, by hand: who counts, and what their log-odds come to."""

from __future__ import annotations

import math

import pytest

from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.load import load_constitution
from rlhf_core.feedback.model_feedback import ModelFeedback
from rlhf_core.feedback.panel import Rules, Seat, latest, opinions, panel_name, pool, speaker_on_lines, weights_of
from rlhf_core.feedback.preference_labels import label
from rlhf_core.feedback.vote_aggregation import Tally, sigmoid
from rlhf_core.interfaces import PanelJudge
from rlhf_core.records.feedback import Calibration, JudgeGate, Preference, Protocol, Truth, by_judge
from rlhf_core.records.samples import Comparison, Prompt, Sample
from tests.records import calibration, judge_gate

RULES = Rules(load_constitution("household"), LabelConfig())
ONE, TWO, THREE = (Seat(name, 1.0) for name in ("one", "two", "three"))
SURE = Tally(math.log(9), math.log(9), 0.9, 4)
"""0.9 for a in both orders."""
DOUBTS = Tally(math.log(1 / 3), math.log(1 / 3), 0.8, 2)
"""0.25 for a."""
SILENT = Tally(3.0, -3.0, 1.0, 2, reason="position_gap")


def test_two_judges_say_the_mean_of_their_log_odds():
    together = pool([SURE, DOUBTS], [ONE, TWO], RULES)
    # (ln 9 - ln 3) / 2 = ln sqrt 3
    assert together.first == together.second == pytest.approx(math.log(math.sqrt(3)))
    assert together.probability == pytest.approx(math.sqrt(3) / (1 + math.sqrt(3)))
    assert (together.votes, together.label_mass, together.reason) == (6, 0.8, "")


def test_a_judge_counts_by_its_weight_and_not_at_all_without_one():
    heavy = pool([SURE, DOUBTS], [ONE._replace(weight=3.0), TWO], RULES)
    assert heavy.logit == pytest.approx((3 * math.log(9) - math.log(3)) / 4)
    assert pool([SURE, DOUBTS], [ONE._replace(weight=0.0), TWO], RULES) == DOUBTS


def test_who_abstains_is_in_no_mean_and_who_speaks_alone_is_the_label_bit_for_bit():
    said_alone = Tally(0.123456789, 0.3, 0.7, 2, protocol="text", said=(0.3, 0.1))
    assert pool([SILENT, said_alone, SILENT], [ONE, TWO, THREE], RULES) == said_alone
    assert pool([SILENT, SURE, DOUBTS], [ONE, TWO, THREE], RULES) == pool([SURE, DOUBTS], [TWO, THREE], RULES)


def test_a_panel_abstains_where_all_that_count_do_for_the_reason_of_the_first():
    unread = Tally(0, 0, 0, 2, reason="parse_failure")
    assert pool([SURE, SILENT, unread], [ONE._replace(weight=0.0), TWO, THREE], RULES).reason == "position_gap"


def test_the_orders_are_pooled_apart_so_that_the_habit_of_a_judge_shows_as_a_gap():
    leaning = Tally(2.0, 0.0, 1.0, 2)
    together = pool([leaning, Tally(1.0, 1.0, 1.0, 2)], [ONE, TWO], RULES)
    assert (together.first, together.second) == pytest.approx((1.5, 0.5))
    assert together.gap == pytest.approx(sigmoid(1.5) - sigmoid(0.5))


def test_swapping_a_and_b_of_every_judge_turns_the_label_exactly():
    turned = [Tally(-t.second, -t.first, t.label_mass, t.votes) for t in (SURE, DOUBTS)]
    there, back = pool([SURE, DOUBTS], [ONE, TWO], RULES), pool(turned, [ONE, TWO], RULES)
    assert back.probability == pytest.approx(1 - there.probability, abs=1e-15)


def test_a_judge_that_is_always_certain_brings_in_no_more_than_99_in_100():
    together = pool([Tally(40.0, 40.0, 1.0, 2), Tally(-2.0, -2.0, 1.0, 2)], [ONE, TWO], RULES)
    assert together.logit == pytest.approx((math.log(99) - 2) / 2)


def test_words_count_within_the_bounds_of_their_own_labels():
    """A text judge's own label lies between 0.2 and 0.8: ln 4 at most."""
    words = Tally(5.0, 5.0, 1.0, 2, protocol="text", said=(0.5, 0.5))
    assert pool([words, Tally(0.0, 0.0, 1.0, 2)], [ONE, TWO], RULES).logit == pytest.approx(math.log(4) / 2)


def test_what_people_calibrated_enters_calibrated():
    cool = Seat("cool", 1.0, calibration(temperature=2.0))
    assert pool([SURE, DOUBTS], [cool, TWO], RULES).logit == pytest.approx((math.log(9) / 2 - math.log(3)) / 2)
    assert pool([SURE, SILENT], [cool, TWO], RULES).logit == pytest.approx(math.log(9) / 2)
    both = opinions([SURE, SILENT], [cool, TWO], RULES)
    assert [(one.judge, one.reason) for one in both] == [("cool", ""), ("two", "position_gap")]
    assert both[0].probability == pytest.approx(3 / 4), "9 : 1 at temperature 2 is 3 : 1"


def gates(*passed: bool, truth: Truth = "human") -> list[JudgeGate]:
    return [judge_gate(passed=one, agreement=0.9 - place / 10, truth=truth) for place, one in enumerate(passed)]


def test_those_who_fail_their_gate_are_left_out_unless_all_do():
    assert weights_of(gates(True, False, True), [1, 1, 2]) == pytest.approx([0.9, 0, 1.4])
    assert weights_of(gates(False, False), [1, 2]) == [1, 2]


def test_gold_decides_on_the_gate_and_weighs_nobody():
    assert weights_of(gates(True, True, False, truth="gold"), [1, 3, 1]) == [1, 3, 0]


def seated(judge: str, protocol: str, weight: float, objective: str = "helpful", panel: str = "p") -> JudgeGate:
    update = {"judge": judge, "protocol": protocol, "weight": weight, "panel": panel, "objective": objective}
    return judge_gate().model_copy(update=update | {"model": f"{judge}-model", "template_hash": f"{judge}-words"})


def whole(objective: str = "helpful", panel: str = "p") -> JudgeGate:
    return judge_gate().model_copy(update={"judge": panel, "objective": objective})


def test_the_first_that_counts_and_criticises_speaks_of_lines_before_one_that_takes_notes():
    asked = {"weigher": "logprobs", "noter": "notes", "reader": "pointwise"}
    weigher, noter, reader = (seated(name, how, 1) for name, how in asked.items())
    told = [weigher, noter, reader, whole()]
    assert speaker_on_lines(told, "helpful") == reader
    told += [seated("reader", "pointwise", 0), whole()]
    assert speaker_on_lines(told, "helpful") == noter, "its last measure left the reader out"
    assert speaker_on_lines([weigher, whole()], "helpful") is None


def test_the_last_measure_of_each_judge_counts_and_an_earlier_panel_does_not():
    old = [seated("reader", "notes", 1, panel="before"), whole(panel="before")]
    first, last = seated("reader", "notes", 1), seated("reader", "notes", 2)
    assert latest([*old, first, whole(), last, whole()]) == [last, whole()]
    assert latest([judge_gate()]) == [judge_gate()], "without a panel the judge's own"


def silent(model: str, protocol: Protocol) -> ModelFeedback:
    return ModelFeedback(lambda conversations: [], lambda conversations, labels: [], "law", model, protocol=protocol)


def test_a_panel_is_another_one_where_anybody_is_asked_otherwise_or_weighs_otherwise():
    def called(weight: float = 1.0, asked: Protocol = "notes", model: str = "m") -> str:
        judges = [silent(model, asked), silent("n", "notes")]
        return panel_name([PanelJudge(f"j{i}", asked, weight, one) for i, one in enumerate(judges)])

    assert called() == called() and called().startswith("panel-")
    assert len({called(), called(weight=2.0), called(asked="logprobs"), called(model="o")}) == 4


def labelled(said: list[Tally], seats: list[Seat]) -> Preference:
    prompt = Prompt.of("Rice?")
    a, b = (Sample(id=side, prompt=prompt, response=side, policy_version="base") for side in "ab")
    pooled = pool(said, seats, RULES)
    made = label(Comparison.of(a, b, "run"), pooled, "helpful", "panel-1", RULES.constitution, RULES.config)
    return made.model_copy(update={"opinions": opinions(said, seats, RULES)})


def test_disagreement_is_the_distance_of_those_who_count():
    left_out = THREE._replace(weight=0.0)
    both = labelled([SURE, DOUBTS, Tally(-9, -9, 1, 2)], [ONE, TWO, left_out])
    assert both.disagreement == pytest.approx(0.65)
    assert labelled([SURE, SILENT], [ONE, TWO]).disagreement == 0


def test_a_panels_label_is_told_judge_by_judge():
    told = by_judge(labelled([SURE, SILENT], [ONE, TWO]))
    assert [(one.labeler, one.abstained) for one in told] == [("ai:panel-1/one", False), ("ai:panel-1/two", True)]
    assert told[0].probability == pytest.approx(0.9) and by_judge(told[0]) == []


def test_the_temperature_belongs_to_the_seat_not_to_the_panel():
    cold: Calibration = calibration(temperature=0.5)
    assert pool([SURE], [Seat("one", 1.0, cold)], RULES).logit == pytest.approx(2 * math.log(9))
