"""Who is heard where principles contradict each other. Log-odds by hand: sigmoid(2) = 0.88080, sigmoid(3) = 0.95257."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.constitution import Constitution, Objective
from rlhf_core.constitution.diff import changed_principles, diff_constitutions
from rlhf_core.constitution.principle import Principle
from rlhf_core.feedback.vote_aggregation import heard
from rlhf_core.feedback.voters import vote_id, voters
from rlhf_core.records.feedback import Vote
from rlhf_core.records.samples import Comparison, Prompt, Sample
from tests.feedback.tallying import labelled, tallied

CONFIG = LabelConfig()


def principle(name: str, **changes) -> Principle:
    return Principle(id=name, serves={"safe": 1.0}, compare=f"Which is better by {name}?").model_copy(update=changes)


ONE, TWO, THREE = principle("one"), principle("two"), principle("three")


def law(*principles: Principle, priority: tuple[str, ...] = ()) -> Constitution:
    objectives = (Objective(name="safe"),)
    return Constitution(id="law", version="1.0.0", objectives=objectives, principles=principles, priority=priority)


def pair(a: str = "left", b: str = "right") -> Comparison:
    first, second = (Sample(id=x, prompt=Prompt.of("Which?"), response=x, policy_version="base") for x in (a, b))
    return Comparison.of(first, second, "run")


def ballot(of: Comparison, voter: Principle, first: float, second: float | None = None) -> list[Vote]:
    """Two votes with these log-odds of a, shown first and shown second."""
    odds = (first, first if second is None else second)
    return [
        Vote(
            id=vote_id(of, voter, "judge", swapped),
            comparison_id=of.id,
            principle_id=voter.id,
            principle_hash=voter.hash,
            template_hash="t",
            constitution_hash="c",
            judge="judge",
            swapped=swapped,
            logprob_a=min(value, 0.0),
            logprob_b=min(-value, 0.0),
            label_mass=1.0,
        )
        for swapped, value in zip((False, True), odds, strict=True)
    ]


def probability(constitution: Constitution, **odds: float) -> float:
    votes = [vote for p in constitution.principles for vote in ballot(pair(), p, odds[p.id])]
    [counted] = tallied([pair()], votes, constitution, CONFIG)["safe"]
    return counted.probability


def test_without_priority_the_heavier_side_wins():
    assert probability(law(ONE, TWO), one=2.0, two=-5.0) == pytest.approx(0.04743, abs=1e-5)  # sigmoid(2 - 5)


def test_a_listed_principle_overrules_those_that_prefer_the_other_reply_and_no_more():
    listed = law(ONE, TWO, THREE, priority=("one",))
    # two takes the other side and is overruled; three is on the same side and adds up: sigmoid(2 + 1).
    assert probability(listed, one=2.0, two=-5.0, three=1.0) == pytest.approx(0.95257, abs=1e-5)


def test_the_earlier_of_two_listed_principles_wins():
    assert probability(law(ONE, TWO, priority=("one", "two")), one=2.0, two=-3.0) == pytest.approx(0.88080, abs=1e-5)
    assert probability(law(ONE, TWO, priority=("two", "one")), one=2.0, two=-3.0) == pytest.approx(0.04743, abs=1e-5)


def test_a_critical_principle_goes_before_every_priority():
    critical = law(ONE, principle("two", severity="critical"), priority=("one",))
    assert probability(critical, one=5.0, two=-3.0) == pytest.approx(0.04743, abs=1e-5)


def test_a_principle_that_prefers_neither_reply_or_has_no_weight_overrules_no_other():
    listed = law(ONE, TWO, priority=("one",))
    assert probability(listed, one=0.0, two=-3.0) == pytest.approx(0.04743, abs=1e-5)
    weightless = law(principle("one", weight=0.0), TWO, priority=("one",))
    assert probability(weightless, one=9.0, two=-3.0) == pytest.approx(0.04743, abs=1e-5)
    turned = [*ballot(pair(), ONE, 4.0, -1.0), *ballot(pair(), TWO, -3.0)]  # one follows the position: it abstains
    assert heard((ONE, TWO), turned, listed.precedence(), CONFIG) == (ONE, TWO)


def test_a_principle_that_is_overruled_overrules_no_other():
    listed = law(ONE, TWO, THREE, priority=("one", "two"))
    # one overrules two; three is on one's side, and two can no longer speak against it.
    assert probability(listed, one=2.0, two=-4.0, three=1.0) == pytest.approx(0.95257, abs=1e-5)


def test_two_critical_principles_that_disagree_are_weighed_against_each_other():
    both = law(*(principle(name, severity="critical") for name in ("one", "two")), THREE)
    assert probability(both, one=3.0, two=-1.0, three=-9.0) == pytest.approx(0.88080, abs=1e-5)  # sigmoid(3 - 1)


def test_critical_principles_are_always_drawn():
    many = law(*(principle(f"p{n}", severity="critical" if n == 7 else "high") for n in range(12)))
    few = CONFIG.model_copy(update={"principles_per_label": 2})
    drawn = [{p.id for p in voters(pair(f"left {n}"), many, "safe", few)} for n in range(20)]
    assert all("p7" in names and len(names) == 2 for names in drawn)
    assert len(set.union(*drawn)) > 4, "the other place is still drawn by the pair"


def test_a_priority_edit_asks_nothing_and_has_the_reward_model_trained_again():
    before, after = law(ONE, TWO), law(ONE, TWO, priority=("two",))
    found = diff_constitutions(before, after)
    assert (found.asked, found.retrain) == ((), ("safe",))
    assert diff_constitutions(before, law(ONE, TWO, priority=("two", "one"))).retrain == ("safe",)
    assert diff_constitutions(law(ONE), law(ONE, priority=("one",))).retrain == (), "one voice has nobody to go before"
    votes = [*ballot(pair(), ONE, 3.0), *ballot(pair(), TWO, -2.0)]
    choices = [labelled([pair()], votes, one, CONFIG)[0].choice for one in (before, after)]
    assert choices == ["a", "b"]


def test_only_becoming_critical_is_an_edit_of_labels():
    high, critical = (law(principle("one", severity=level), TWO) for level in ("high", "critical"))
    assert changed_principles(law(ONE, TWO), high) == ()
    assert changed_principles(high, critical) == ("one",)
    assert diff_constitutions(high, critical).retrain == ("safe",)


@given(st.lists(st.floats(-6, 6), min_size=6, max_size=6), st.permutations(["one", "two", "three"]), st.integers(0, 3))
def test_swapping_the_answers_maps_p_to_one_minus_p_under_every_order(odds: list[float], order: list[str], n: int):
    listed = law(ONE, TWO, THREE, priority=tuple(order[:n]))
    cast = zip((ONE, TWO, THREE), odds[::2], odds[1::2], strict=True)
    here = [vote for voter, first, second in cast for vote in ballot(pair(), voter, first, second)]
    turned = [
        v.model_copy(update={"logprob_a": v.logprob_b, "logprob_b": v.logprob_a, "swapped": not v.swapped})
        for v in here
    ]
    [p], [q] = (tallied([pair()], votes, listed, CONFIG)["safe"] for votes in (here, turned))
    assert p.probability == 1 - q.probability
