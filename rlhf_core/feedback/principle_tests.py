"""A constitution's own tests: does the judge, under each principle alone, prefer what its author says it should?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.principle import Principle
from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.vote_aggregation import sigmoid
from rlhf_core.interfaces import Feedback
from rlhf_core.records.base import Record, content_id
from rlhf_core.records.feedback import Vote
from rlhf_core.records.samples import Comparison, Prompt, Sample

TESTED = "constitution-test"
"""The policy version of replies that a constitution's author wrote."""

Kind = Literal["test", "example"]


class TestResult(Record):
    """One test of one principle, asked in both orders."""

    # pytest would take a class of this name for a group of tests.
    __test__ = False

    principle_id: str
    kind: Kind
    """`test`, or `example`: its good reply against its bad one."""
    number: int
    """Place among the principle's tests or examples, from 1."""
    prompt: str
    prefer: str
    over: str
    margin: float
    """P(prefer) - P(over), the two orders' mean log-odds behind it; from -1 to 1."""
    min_margin: float
    gap: float
    """Difference between the two orders' probabilities: the judge's position bias here."""
    passed: bool
    reason: str = ""
    """Why not: wrong_side, small_margin, position_gap, label_mass or parse_failure."""


class _Case(NamedTuple):
    kind: Kind
    number: int
    pair: Comparison
    min_margin: float


def try_principles(
    principles: Sequence[Principle], judge: Feedback, config: LabelConfig, tick: Callable[[int, int], None]
) -> list[TestResult]:
    """Ask the judge every test and example of these principles, in order; `tick` is told how many of how many are done.

    Raises InvalidInput when there is none: nothing asked must not look like everything passed.
    """
    check_tested(principles)
    cases = [(principle, _cases(principle)) for principle in principles]
    total = sum(len(of_one) for _, of_one in cases)
    results: list[TestResult] = []
    for principle, of_one in cases:
        if of_one:
            votes = judge.compare([(case.pair, principle) for case in of_one])
            both = zip(votes[::2], votes[1::2], strict=True)
            results += [_result(principle, case, two, config) for case, two in zip(of_one, both, strict=True)]
        tick(len(results), total)
    return results


def tested_pairs(principle: Principle) -> list[Comparison]:
    """Return the replies of a principle's tests as pairs, the preferred one first."""
    return [case.pair for case in _cases(principle) if case.kind == "test"]


def results_of(asked: Sequence[tuple[Comparison, Principle]], judge: Feedback, config: LabelConfig) -> list[TestResult]:
    """Ask the judge about pairs whose first reply is the better one."""
    votes = judge.compare(asked)
    both = zip(votes[::2], votes[1::2], strict=True)
    cases = [_Case("test", number, pair, 0.0) for number, (pair, _) in enumerate(asked, start=1)]
    return [_result(one, case, two, config) for (_, one), case, two in zip(asked, cases, both, strict=True)]


def check_tested(principles: Sequence[Principle]) -> None:
    """Raise InvalidInput where there is nothing to test."""
    if not any(principle.tests or principle.examples for principle in principles):
        raise InvalidInput("the constitution has no tests and no examples; add tests to a principle", "tests")


def _cases(principle: Principle) -> list[_Case]:
    tests = [
        _Case("test", number, _pair(test.prompt, test.prefer, test.over), test.min_margin)
        for number, test in enumerate(principle.tests, start=1)
    ]
    examples = [
        _Case("example", number, _pair(example.prompt, example.good, example.bad), 0.0)
        for number, example in enumerate(principle.examples, start=1)
    ]
    return tests + examples


def _pair(question: str, prefer: str, over: str) -> Comparison:
    prompt = Prompt.of(question)
    a, b = (
        Sample(id=content_id("sample", prompt.id, TESTED, reply), prompt=prompt, response=reply, policy_version=TESTED)
        for reply in (prefer, over)
    )
    return Comparison.of(a, b, "")


def _result(principle: Principle, case: _Case, votes: tuple[Vote, Vote], config: LabelConfig) -> TestResult:
    odds = [(vote.logprob_a - vote.logprob_b) / config.odds_temperature for vote in votes]
    gap = abs(sigmoid(odds[0]) - sigmoid(odds[1]))
    margin = 2 * sigmoid(sum(odds) / 2) - 1
    reason = _reason(margin, case.min_margin, gap, votes, config)
    return TestResult(
        principle_id=principle.id,
        kind=case.kind,
        number=case.number,
        prompt=case.pair.prompt.messages[0].content,
        prefer=case.pair.a.response,
        over=case.pair.b.response,
        margin=margin,
        min_margin=case.min_margin,
        gap=gap,
        passed=not reason,
        reason=reason,
    )


def _reason(margin: float, least: float, gap: float, votes: Sequence[Vote], config: LabelConfig) -> str:
    mass = min(vote.label_mass for vote in votes)
    if mass == 0 or any(vote.reason for vote in votes):
        return "parse_failure"
    if mass < config.min_label_mass:
        return "label_mass"
    if gap > config.abstain_gap:
        return "position_gap"
    if margin <= 0:
        return "wrong_side"
    return "small_margin" if margin < least else ""
