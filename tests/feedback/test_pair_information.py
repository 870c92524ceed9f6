"""What a label is expected to tell, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlhf_core.feedback.pair_information import coverage_debts, expected_information, pair_information
from rlhf_core.records.feedback import Opinion, Preference


def entropy(p: float) -> float:
    return -(p * math.log2(p) + (1 - p) * math.log2(1 - p))


def judged(pair: str, probability: float = 0.5, abstained: bool = False, reason: str = "") -> Preference:
    return Preference(
        id=pair,
        comparison_id=pair,
        objective="harmless",
        labeler="ai:judge",
        choice="a",
        probability=probability,
        abstained=abstained,
        reason=reason,
    )


def test_heads_that_contradict_each_other_tell_most_and_heads_that_agree_nothing():
    """Log-odds of 3 : 1 and 1 : 3 are chances of 0.75 and 0.25: one bit on the whole, 0.811 bits left to each."""
    three = math.log(3)
    found = expected_information(np.array([[three, -three], [three, three], [0.0, 0.0], [50.0, -50.0]]))
    assert found[0] == pytest.approx(1 - entropy(0.75))
    assert found[1] == pytest.approx(0) and found[2] == pytest.approx(0)
    assert found[3] == pytest.approx(1, abs=1e-9)


def test_a_pair_owes_by_its_principle_that_people_have_labelled_least():
    by = {"p": ["fumes", "cuts"], "q": ["fumes"], "r": ["cuts"], "s": []}
    assert coverage_debts(by, {}) == {"p": 1.0, "q": 1.0, "r": 1.0, "s": 0.0}
    assert coverage_debts(by, {"q": 3}) == {"p": 1.0, "q": 0.25, "r": 1.0, "s": 0.0}
    assert coverage_debts(by, {"q": 3, "p": 1}) == {"p": 0.5, "q": 0.2, "r": 0.5, "s": 0.0}


def test_the_parts_make_the_priority_and_stand_beside_it():
    three = math.log(3)
    margins = np.array([[three, -three]] * 4)
    labels = {
        "contradicted": judged("contradicted", 0.9),
        "open": judged("open", abstained=True, reason="position_gap"),
        "unasked": judged("unasked", abstained=True, reason="no_principle"),
    }
    found = pair_information(
        ["contradicted", "open", "unasked", "new"], "harmless", "run", margins, labels, {"new": 0.5}
    )
    bits = 1 - entropy(0.75)
    assert [one.abstained for one in found] == [False, True, False, False]
    assert [round(one.disagreement, 6) for one in found] == [0.4, 0, 0, 0], "the heads' mean chance is a half"
    assert [one.priority for one in found] == [pytest.approx(bits * times) for times in (1.4, 2, 1, 1.5)]
    assert found[0].spread == pytest.approx(three * math.sqrt(2)) and found[3].coverage == 0.5


def test_a_pair_on_which_the_judges_of_a_panel_are_apart_is_asked_before_one_on_which_they_agree():
    three = math.log(3)
    margins, even = np.array([[three, -three]] * 3), judged("even", 0.5)

    def said(name: str, *probabilities: float, out: float = 0.5) -> Preference:
        counted = [Opinion(judge=f"j{i}", probability=p, weight=1) for i, p in enumerate(probabilities)]
        left_out = Opinion(judge="out", probability=out, weight=0)
        return even.model_copy(update={"comparison_id": name, "opinions": (*counted, left_out)})

    labels = {
        "apart": said("apart", 0.9, 0.1),
        "alike": said("alike", 0.55, 0.45),
        "shut out": said("shut out", 0.5, out=1),
    }
    found = pair_information(list(labels), "harmless", "run", margins, labels, {})
    assert [one.disagreement for one in found] == pytest.approx([0.8, 0.1, 0.0])
    assert found[0].priority == pytest.approx(1.8 * found[0].information)
