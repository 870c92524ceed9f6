"""The judge's gate. Worked by hand: the lower end of Wilson's interval of 40 in 50 is 0.6696, of 30 in 50 is 0.4618."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rlhf_core.config.run import GateConfig, LabelConfig
from rlhf_core.constitution.constitution import Constitution, Objective, Principle
from rlhf_core.feedback.judge_gate import Case, Evidence, Judge, measure_gate, position_consistency
from rlhf_core.feedback.vote_aggregation import Tally, abstention
from rlhf_core.feedback.voters import vote_id
from rlhf_core.records.feedback import JudgeGate, Vote
from rlhf_core.records.samples import Comparison, Prompt, Sample
from tests.feedback.tallying import labelled, tallied

LAW = Constitution(
    id="law",
    version="1.0.0",
    objectives=(Objective(name="helpful"),),
    principles=(Principle(id="steps", serves={"helpful": 1.0}, compare="Which has more steps?"),),
)
JUDGE = Judge("run", "judge", "helpful", LAW.hash)
Reads = Callable[[str, str], float]
"""The log-odds that the reply shown first is better."""


def comparisons(texts: list[tuple[str, str]], each: int = 1) -> list[Comparison]:
    """`each` pairs of a prompt."""
    pairs = []
    for number, both in enumerate(texts):
        prompt = Prompt.of(f"Question {number // each}?")
        a, b = (Sample(id=f"{number}{side}", prompt=prompt, response=side, policy_version="base") for side in both)
        pairs.append(Comparison.of(a, b, "run"))
    return pairs


def judged(pairs: list[Comparison], reads: Reads) -> list[Vote]:
    votes = []
    for pair in pairs:
        for swapped in (False, True):
            shown = pair.swap() if swapped else pair
            lead = reads(shown.a.response, shown.b.response) * (-1 if swapped else 1)
            votes.append(
                Vote(
                    id=vote_id(pair, LAW.principles[0], "judge", swapped),
                    comparison_id=pair.id,
                    principle_id="steps",
                    principle_hash=LAW.principles[0].hash,
                    template_hash="t",
                    constitution_hash=LAW.hash,
                    judge="judge",
                    swapped=swapped,
                    logprob_a=lead / 2,
                    logprob_b=-lead / 2,
                    label_mass=1.0,
                )
            )
    return votes


def gate(pairs: list[Comparison], a_is_better: list[bool], reads: Reads) -> JudgeGate:
    counted = tallied(pairs, judged(pairs, reads), LAW, LabelConfig())["helpful"]
    cases = [
        Case(pair, truth, one, bool(abstention(one, LabelConfig())))
        for pair, truth, one in zip(pairs, a_is_better, counted, strict=True)
    ]
    return measure_gate(JUDGE, Evidence("human", cases), GateConfig())


PAIRS = comparisons([(f"good {n}", f"bad reply {n}") if n % 2 else (f"bad reply {n}", f"good {n}") for n in range(50)])
GOOD = [n % 2 == 1 for n in range(50)]


def test_a_judge_that_mostly_agrees_passes():
    def right_on_forty(first: str, second: str) -> float:
        right = int(first.split()[-1]) < 40
        return 3.0 if first.startswith("good") == right else -3.0

    found = gate(PAIRS, GOOD, right_on_forty)
    assert (found.passed, found.reason, found.pairs, found.abstained) == (True, "", 50, 0)
    assert found.agreement == pytest.approx(0.8)
    assert found.agreement_low == pytest.approx(0.6696, abs=1e-4)
    assert (found.longer_reply, found.consistency) == (0.0, 1.0)


def test_pairs_of_one_prompt_count_for_less_than_as_many_of_their_own():
    """20 prompts with two right pairs, 5 with two wrong ones: design effect 2.04, so 50 pairs tell as much as 24.5."""
    texts = [(a.response, b.response) for a, b in ((pair.a, pair.b) for pair in PAIRS)]
    found = gate(
        comparisons(texts, each=2),
        GOOD,
        lambda a, b: 3.0 if a.startswith("good") == (int(a.split()[-1]) < 40) else -3.0,
    )
    assert found.agreement == pytest.approx(0.8) and found.pairs == 50
    assert found.agreement_low == pytest.approx(0.6065, abs=1e-4)


def test_an_agreement_that_may_be_chance_fails():
    found = gate(PAIRS, GOOD, lambda a, b: 3.0 if a.startswith("good") == (int(a.split()[-1]) < 30) else -3.0)
    assert not found.passed
    assert found.agreement_low == pytest.approx(0.4618, abs=1e-4)
    assert "agrees with people on 60.0% of 50 pairs, which may be as little as 46.2%" in found.reason


def test_a_judge_that_always_says_a_abstains_from_every_label_and_fails():
    labels = labelled(PAIRS, judged(PAIRS, lambda a, b: 5.0), LAW, LabelConfig())
    assert all(label.abstained and label.reason == "position_gap" and label.probability == 0.5 for label in labels)
    found = gate(PAIRS, GOOD, lambda a, b: 5.0)
    assert (found.passed, found.pairs, found.abstained, found.consistency) == (False, 0, 50, 0.0)
    assert found.reason == "0 pairs with a better reply known from people (50 more on which it abstains); needed: 20"


def test_a_judge_that_prefers_the_longer_reply_fails_even_where_longer_is_mostly_better():
    texts = [("long reply", "short") if n % 2 else ("short", "long reply") for n in range(200)]
    pairs = comparisons(texts)
    # The longer reply is the better one in 180 of 200.
    truth = [(len(a) > len(b)) == (n >= 20) for n, (a, b) in enumerate(texts)]
    found = gate(pairs, truth, lambda a, b: 4.0 if len(a) > len(b) else -4.0)
    assert found.agreement == found.longer_reply == pytest.approx(0.9)
    assert not found.passed and "always preferring the longer reply" in found.reason
    assert found.consistency == 1.0 and found.abstained == 0


def test_a_judge_that_changes_its_mind_with_the_order_fails():
    even = Tally(0.2, -0.1, 1.0, 2)
    firm = Tally(2.0, 2.0, 1.0, 2)
    cases = [Case(pair, True, firm if n % 2 else even, n % 2 == 0) for n, pair in enumerate(PAIRS)]
    found = measure_gate(JUDGE, Evidence("gold", cases), GateConfig())
    assert (found.consistency, found.agreement, found.pairs, found.abstained) == (0.5, 1.0, 25, 25)
    assert found.reason == "names the same reply in both orders on 50.0% of the pairs; needed: 60%"


def test_an_even_judgement_and_equal_lengths_are_half_an_agreement():
    pairs = comparisons([("abc", "xyz"), ("abcd", "xyz")])
    cases = [Case(pairs[0], True, Tally(0, 0, 1.0, 2), False), Case(pairs[1], True, Tally(1, 1, 1.0, 2), False)]
    found = measure_gate(JUDGE, Evidence("human", cases), GateConfig())
    assert (found.agreement, found.longer_reply) == (0.75, 0.75)


def test_a_gate_is_a_new_record_when_what_is_known_changes():
    first, second = gate(PAIRS, GOOD, lambda a, b: 3.0), gate(PAIRS[:30], GOOD[:30], lambda a, b: 3.0)
    assert first.id != second.id
    assert first.id == gate(PAIRS, GOOD, lambda a, b: 3.0).id


def test_a_pair_that_no_principle_is_for_is_no_inconsistent_pair():
    same, other = Tally(2.0, 1.0, 1.0, 2), Tally(2.0, -1.0, 1.0, 2, reason="position_gap")
    unsure = Tally(0.2, 3.0, 1.0, 2, reason="position_gap")
    unasked = Tally(0.0, 0.0, 0.0, 0, reason="no_principle")
    unread = Tally(2.0, 1.0, 0.0, 2, reason="parse_failure")
    assert position_consistency([same, unasked, unasked]) == 1.0
    assert position_consistency([same, other, unsure, unread, unasked]) == 0.5, "unsure names the same reply both times"
    assert position_consistency([unasked]) == 0.0
