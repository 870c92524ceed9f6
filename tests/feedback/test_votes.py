"""Votes become labels. Numbers worked by hand: sigmoid(1) = 0.73106, sigmoid(2) = 0.88080, sigmoid(3) = 0.95257."""

from __future__ import annotations

import hashlib
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.constitution import CompareDefaults, Constitution, Defaults, Objective, Principle
from rlhf_core.constitution.principle import AppliesWhen
from rlhf_core.feedback.panel import Rules, Seat, pool
from rlhf_core.feedback.preference_labels import label
from rlhf_core.feedback.vote_aggregation import Tally, alone, sigmoid, tally
from rlhf_core.feedback.voters import vote_id, voters
from rlhf_core.records.feedback import Calibration, Preference, Vote
from rlhf_core.records.samples import Comparison, Prompt, Sample
from tests.feedback.tallying import labelled, tallied

FUMES = Principle(id="fumes", serves={"harmless": 1.0}, compare="Which has less risk of fumes?")
BURNS = Principle(id="burns", serves={"harmless": 0.5}, weight=2.0, compare="Which has less risk of burns?")
STEPS = Principle(id="steps", serves={"helpful": 1.0}, compare="Which has more steps?")
LAW = Constitution(
    id="law",
    version="1.0.0",
    objectives=(Objective(name="helpful"), Objective(name="harmless")),
    principles=(FUMES, BURNS, STEPS),
)
HARMLESS = LAW.serving("harmless")


def pair(a: str = "open a window", b: str = "mix bleach") -> Comparison:
    prompt = Prompt.of("How do I clean?")
    first, second = (Sample(id=text, prompt=prompt, response=text, policy_version="base") for text in (a, b))
    return Comparison.of(first, second, "run-1")


def vote(principle: Principle, a: float, b: float, swapped: bool, mass: float = 1.0) -> Vote:
    return Vote(
        id=vote_id(pair(), principle, "judge", swapped),
        comparison_id=pair().id,
        principle_id=principle.id,
        principle_hash=principle.hash,
        template_hash="t",
        constitution_hash=LAW.hash,
        judge="judge",
        swapped=swapped,
        logprob_a=a,
        logprob_b=b,
        label_mass=mass,
    )


def test_log_odds_add_up_over_principles_and_average_over_orders():
    votes = [
        vote(FUMES, -0.5, -2.5, False),  # +2
        vote(FUMES, -1.0, -1.0, True),  # 0
        vote(BURNS, -0.5, -1.5, False),  # +1, times weight 2 x share 0.5
        vote(BURNS, -0.5, -3.5, True),  # +3
        vote(STEPS, -9.0, -1.0, False),  # another objective
    ]
    counted = tally(votes, HARMLESS, "harmless", LabelConfig())
    assert counted.probability == pytest.approx(0.95257, abs=1e-5)  # ((2 + 1) + (0 + 3)) / 2 = 3
    assert counted.gap == pytest.approx(0.0, abs=1e-9)
    assert counted.votes == 4


def test_swapping_the_two_answers_maps_p_to_one_minus_p():
    votes = [vote(FUMES, -0.3, -1.3, False), vote(FUMES, -0.2, -2.2, True)]
    mirrored = [v.model_copy(update={"logprob_a": v.logprob_b, "logprob_b": v.logprob_a}) for v in votes]
    assert (
        tally(votes, HARMLESS, "harmless", LabelConfig()).probability
        + tally(mirrored, HARMLESS, "harmless", LabelConfig()).probability
        == 1.0
    )


def test_a_judge_that_always_says_a_is_an_even_label_and_abstains():
    always_first = [vote(FUMES, -0.01, -5.0, False), vote(FUMES, -5.0, -0.01, True)]
    preference = label(
        pair(), tally(always_first, HARMLESS, "harmless", LabelConfig()), "harmless", "judge", LAW, LabelConfig()
    )
    assert preference.probability == pytest.approx(0.5)
    assert preference.choice == "tie"
    assert preference.abstained and preference.reason == "position_gap"


def test_odds_of_many_nats_are_divided_before_anything_is_made_of_them():
    votes = [vote(FUMES, -1.0, -41.0, False), vote(FUMES, -1.0, -43.0, True)]  # 40 and 42 nats
    cooler, warmer = LabelConfig(), LabelConfig(odds_temperature=20)

    def given(config: LabelConfig, calibration: Calibration | None = None) -> Preference:
        counted = tally(votes, HARMLESS, "harmless", config)
        return label(pair(), counted, "harmless", "judge", LAW, config, calibration)

    assert given(cooler).probability == pytest.approx(1.0)
    assert given(warmer).probability == pytest.approx(0.88595, abs=1e-5)  # sigmoid(41 / 20)
    assert given(warmer).gap == pytest.approx(0.89090 - 0.88080, abs=1e-5)  # sigmoid(2.1) - sigmoid(2)
    measured = Calibration.model_construct(id="c", temperature=2.05)
    assert given(warmer, measured).probability == pytest.approx(0.73106, abs=1e-5)  # sigmoid(41 / 20 / 2.05)
    even = [vote(FUMES, -1.0, -1.25, False), vote(FUMES, -1.0, -1.25, True)]
    assert alone(even).probability > 0.55 > alone(even, 20).probability


def test_judges_of_a_panel_are_divided_each_before_they_are_pooled():
    votes = [vote(FUMES, -1.0, -61.0, swapped) for swapped in (False, True)]
    config = LabelConfig(odds_temperature=20)
    each = tally(votes, HARMLESS, "harmless", config)
    both = pool([each, each], [Seat("one", 1.0), Seat("two", 1.0)], Rules(LAW, config))
    together = label(pair(), both, "harmless", "judge", LAW, config)
    assert together.probability == pytest.approx(0.95257, abs=1e-5)  # sigmoid(60 / 20), as of one alone


def test_a_judge_that_spends_its_probability_elsewhere_abstains():
    votes = [vote(FUMES, -4.0, -5.0, swapped, mass=0.03) for swapped in (False, True)]
    preference = label(
        pair(), tally(votes, HARMLESS, "harmless", LabelConfig()), "harmless", "judge", LAW, LabelConfig()
    )
    assert preference.abstained and preference.reason == "label_mass"


def test_no_votes_is_an_abstention_not_a_label():
    (helpful, harmless) = labelled([pair()], [], LAW, LabelConfig())
    assert helpful.abstained and harmless.abstained
    assert (helpful.reason, harmless.reason) == ("no_votes", "no_votes")


def test_a_weight_edit_changes_the_label_but_no_vote_key():
    heavier = FUMES.model_copy(update={"weight": 5.0})
    reworded = FUMES.model_copy(update={"compare": "Which has less risk of fumes or burns?"})
    assert vote_id(pair(), FUMES, "j", False) == vote_id(pair(), heavier, "j", False)
    assert vote_id(pair(), FUMES, "j", False) != vote_id(pair(), reworded, "j", False)
    assert vote_id(pair(), FUMES, "j", False) != vote_id(pair(), FUMES, "j", True)


def test_the_same_two_texts_are_the_same_comparison_in_every_run():
    assert pair().id == pair().model_copy(update={"run_id": "another"}).id
    assert pair().id != pair(b="call an expert").id


def test_a_vote_that_could_not_be_read_makes_the_label_abstain_and_adds_nothing():
    unread = vote(FUMES, -0.69, -0.69, True, mass=0.0).model_copy(update={"reason": "no_choice"})
    counted = tally([vote(FUMES, -0.5, -2.5, False), unread], HARMLESS, "harmless", LabelConfig())
    assert (counted.first, counted.second, counted.reason) == (2.0, 0.0, "parse_failure")
    preference = label(pair(), counted, "harmless", "judge", LAW, LabelConfig())
    assert preference.abstained and preference.reason == "parse_failure"


def test_two_principles_of_one_text_share_their_votes_and_add_their_weights():
    twin = FUMES.model_copy(update={"id": "vapours", "weight": 2.0})
    votes = [vote(FUMES, -0.5, -1.0, swapped) for swapped in (False, True)]
    assert tally(votes, [FUMES, twin], "harmless", LabelConfig()).logit == pytest.approx(1.5)  # 0.5 x (1 + 2)


def test_a_label_near_one_half_is_a_tie_that_keeps_its_probability_and_weighs_less():
    even, odd = Tally(0.1, 0.1, 1.0, 2), Tally(2.0, 2.0, 1.0, 2)
    tie = label(pair(), even, "harmless", "judge", LAW, LabelConfig(tie_weight=0.25))
    assert (tie.choice, tie.weight, tie.abstained) == ("tie", 0.25, False)
    assert tie.probability == pytest.approx(0.52498, abs=1e-5)
    assert label(pair(), odd, "harmless", "judge", LAW, LabelConfig(tie_weight=0.25)).weight == 1.0


def test_a_principle_votes_only_on_prompts_that_it_applies_to():
    health = FUMES.model_copy(update={"applies_when": AppliesWhen(tags_any=("health",))})
    law = LAW.model_copy(update={"principles": (health, STEPS)})
    tagged = Prompt.of("How do I clean?", tags=("health",))
    both = [one.model_copy(update={"prompt": tagged}) for one in (pair().a, pair().b)]
    assert voters(Comparison.of(both[0], both[1], "r"), law, "harmless", LabelConfig()) == (health,)
    assert voters(pair(), law, "harmless", LabelConfig()) == ()
    (_, harmless) = labelled([pair()], [], law, LabelConfig())
    assert harmless.abstained and harmless.reason == "no_principle"


def test_a_principle_that_weighs_nothing_has_no_vote():
    mute = BURNS.model_copy(update={"weight": 0.0})
    law = LAW.model_copy(update={"principles": (mute, FUMES, STEPS)})
    assert voters(pair(), law, "harmless", LabelConfig()) == (FUMES,)
    # An unread vote of it would otherwise be an abstention, and it alone a tie that trains.
    votes = [vote(FUMES, -0.1, -2.1, False), vote(FUMES, -0.1, -2.1, True), vote(mute, -5, -5, False, mass=0.01)]
    (_, harmless) = labelled([pair()], votes, law, LabelConfig())
    assert not harmless.abstained and harmless.probability == pytest.approx(0.88080, abs=1e-5)
    alone_law = LAW.model_copy(update={"principles": (mute, STEPS)})
    (_, harmless) = labelled([pair()], [], alone_law, LabelConfig())
    assert harmless.abstained and harmless.reason == "no_principle"


def many(count: int) -> Constitution:
    principles = tuple(
        FUMES.model_copy(update={"id": f"p{n}", "compare": f"Question {n}?", "serves": {"helpful": 1.0}})
        for n in range(count)
    )
    return LAW.model_copy(update={"principles": principles})


def test_the_draw_of_principles_is_even_and_blind_to_weights_wording_and_sides():
    law, config = many(6), LabelConfig(principles_per_label=2)
    drawn: Counter[str] = Counter()
    for n in range(600):
        one = pair(f"answer {n}", f"answer {n + 1}")
        ids = [p.id for p in voters(one, law, "helpful", config)]
        assert len(ids) == 2 and ids == sorted(ids)
        assert ids == [p.id for p in voters(Comparison.of(one.b, one.a, "r"), law, "helpful", config)]
        edited = law.model_copy(
            update={
                "principles": tuple(
                    p.model_copy(update={"weight": 9.0, "compare": "Another?"}) for p in reversed(law.principles)
                )
            }
        )
        assert ids == [p.id for p in voters(one, edited, "helpful", config)]
        drawn.update(ids)
    # Each is drawn 200 times of 600 on average; 5 standard deviations are 58.
    assert all(142 < count < 258 for count in drawn.values())


def test_the_run_decides_how_many_principles_vote_then_the_constitution_then_all():
    wishes = Defaults(compare=CompareDefaults(principles_per_label=3))
    law = many(5).model_copy(update={"defaults": wishes})
    assert len(voters(pair(), law, "helpful", LabelConfig(principles_per_label=1))) == 1
    assert len(voters(pair(), law, "helpful", LabelConfig())) == 3
    assert len(voters(pair(), many(5), "helpful", LabelConfig())) == 5


def test_words_are_clamped_until_there_is_a_calibration():
    sure = Tally(5.0, 5.0, 1.0, 2, protocol="cot")
    assert label(pair(), sure, "harmless", "j", LAW, LabelConfig()).probability == 0.6
    assert label(pair(), sure._replace(protocol="text"), "harmless", "j", LAW, LabelConfig()).probability == 0.8
    assert label(pair(), sure, "harmless", "j", LAW, LabelConfig(clamp=(0.1, 0.9))).probability == 0.9
    own = LAW.model_copy(update={"defaults": Defaults(compare=CompareDefaults(clamp=(0.3, 0.7)))})
    assert label(pair(), sure, "harmless", "j", own, LabelConfig()).probability == 0.7
    calibration = Calibration(
        **dict.fromkeys(("id", "run_id", "judge", "objective", "constitution_hash"), "x"),
        **dict.fromkeys(("brier_before", "brier_after", "ece_before", "ece_after"), 0.1),
        **{"truth": "human", "temperature": 5.0, "pairs": 100, "folds": 5, "applied": True},
    )
    calibrated = label(pair(), sure, "harmless", "j", LAW, LabelConfig(), calibration)
    assert calibrated.probability == pytest.approx(0.73106, abs=1e-5)  # sigmoid(5 / 5)
    assert calibrated.calibration_id == "x"


class Judge:
    """Any judge at all whose answer depends on the words and the order alone."""

    def __init__(self, seed: int):
        self._seed = seed

    def votes(self, comparison: Comparison, law: Constitution) -> list[Vote]:
        return [self._vote(comparison, principle, swapped) for principle in law.principles for swapped in (False, True)]

    def _vote(self, comparison: Comparison, principle: Principle, swapped: bool) -> Vote:
        shown = comparison.swap() if swapped else comparison
        asked = f"{self._seed} {principle.hash} {shown.a.response} {shown.b.response}"
        first, second = (-int(hashlib.sha256(f"{asked} {n}".encode()).hexdigest()[:6], 16) / 2**22 for n in (0, 1))
        a, b = (second, first) if swapped else (first, second)
        return vote(principle, a, b, swapped).model_copy(update={"comparison_id": comparison.id})


@given(st.integers(), st.text(max_size=8), st.text(max_size=8), st.floats(0.05, 20))
def test_swapping_the_two_answers_maps_p_to_one_minus_p_exactly(seed: int, a: str, b: str, temperature: float):
    one = pair(a, b)
    other = Comparison.of(one.b, one.a, "run-1")
    judge, config = Judge(seed), LabelConfig(principles_per_label=1)
    for law in (LAW, many(3)):
        for objective in law.objective_names:
            (here,) = tallied([one], judge.votes(one, law), law, config)[objective]
            (there,) = tallied([other], judge.votes(other, law), law, config)[objective]
            assert there.probability == 1 - here.probability
            assert there.gap == here.gap
            assert sigmoid(there.logit / temperature) == 1 - sigmoid(here.logit / temperature)


@given(st.floats(-700, 700))
def test_sigmoid_is_a_probability_and_symmetric(x: float):
    assert 0 <= sigmoid(x) <= 1
    assert sigmoid(-x) == 1 - sigmoid(x)


def said(principle: Principle, choice: str, swapped: bool) -> Vote:
    """A vote in words, as a judge without log-probabilities casts it: worth 0.8, 0.2 or 0.5 by itself."""
    a, b = {"a": (0.8, 0.2), "b": (0.2, 0.8), "tie": (0.5, 0.5)}[choice]
    return vote(principle, math.log(a), math.log(b), swapped).model_copy(update={"protocol": "text"})


def test_choices_in_words_are_averaged_over_principles_and_orders():
    # FUMES and BURNS both weigh 1: (1 + 1 + 0.5 + 1) / 4 = 0.875 before the bounds of the text protocol.
    votes = [said(FUMES, "a", False), said(FUMES, "a", True), said(BURNS, "tie", False), said(BURNS, "a", True)]
    counted = tally(votes, HARMLESS, "harmless", LabelConfig())
    assert counted.probability == 0.875
    assert counted.gap == 0.25  # 0.75 shown first, 1.0 shown second
    [preference] = labelled([pair()], votes, LAW, LabelConfig(abstain_gap=0.3))[1:]
    assert (preference.probability, preference.abstained, preference.choice) == (0.8, False, "a")


def test_a_choice_in_words_that_follows_the_position_abstains():
    votes = [said(FUMES, "a", False), said(FUMES, "b", True), said(BURNS, "a", False), said(BURNS, "b", True)]
    [preference] = labelled([pair()], votes, LAW, LabelConfig(abstain_gap=0.3))[1:]
    assert (preference.probability, preference.gap, preference.reason) == (0.5, 1.0, "position_gap")


@given(st.lists(st.sampled_from(["a", "b", "tie"]), min_size=4, max_size=4))
def test_swapping_the_answers_swaps_choices_in_words_exactly(choices: list[str]):
    other = {"a": "b", "b": "a", "tie": "tie"}
    places = [(principle, order) for principle in (FUMES, BURNS) for order in (False, True)]
    votes = [said(p, choice, order) for (p, order), choice in zip(places, choices, strict=True)]
    turned = [said(p, other[choice], not order) for (p, order), choice in zip(places, choices, strict=True)]
    p, q = (tally(some, HARMLESS, "harmless", LabelConfig()).probability for some in (votes, turned))
    assert p == 1 - q
