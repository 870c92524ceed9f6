"""What a reviewer should decide: where people contradict each other, what was decided before, or the judge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from rlhf_core.annotation.pooled_answers import CLEAR, SAID, SoftLabel, crowd_of, soft_labels
from rlhf_core.records.annotation import Adjudication, Answer
from rlhf_core.records.feedback import Preference, by_judge

DisagreementKind = Literal["people", "judge", "gold"]
ORDER: tuple[DisagreementKind, ...] = ("people", "gold", "judge")


class Disagreement(NamedTuple):
    """A comparison to decide on."""

    comparison_id: str
    kind: DisagreementKind
    probability: float
    """That a is better, by all answers."""
    answers: Sequence[Answer]
    judges: dict[str, float]
    """Judge -> probability that a is better, of those that do not abstain; of a panel also each judge, after it."""
    adjudication: Adjudication | None
    """What was decided, for the kind `gold`."""


def disagreements(
    answers: Iterable[Answer], adjudications: Iterable[Adjudication], judged: Iterable[Preference]
) -> list[Disagreement]:
    """Find what is disagreed on in the answers of one objective, people among themselves first, the least clear first.

    `people`: two answers say different things of the truth, and nothing is decided. `gold`: of two or more people who
    answered after a decision most say something else than it does. `judge`: people are sure of one reply and a judge
    says the other.
    """
    decided = {each.comparison_id: each for each in adjudications}
    crowd = crowd_of(answers, {pair: each.choice for pair, each in decided.items()})
    said: dict[str, list[Answer]] = defaultdict(list)
    for answer in crowd.answers:
        said[answer.comparison_id].append(answer)
    judges: dict[str, dict[str, float]] = defaultdict(dict)
    members: dict[str, dict[str, float]] = defaultdict(dict)
    for label in judged:
        if not label.abstained:
            judges[label.comparison_id][label.labeler.removeprefix("ai:")] = label.probability
        for one in by_judge(label):
            if not one.abstained:
                members[label.comparison_id][one.labeler.removeprefix("ai:")] = one.probability
    found: list[tuple[float, Disagreement]] = []
    for label in soft_labels(crowd):
        pair = label.comparison_id
        kind = _kind(label, said[pair], judges[pair], decided.get(pair))
        if kind:
            earlier = decided.get(pair) if kind == "gold" else None
            each = Disagreement(pair, kind, label.probability, said[pair], judges[pair] | members[pair], earlier)
            found.append((label.certainty, each))
    found.sort(key=lambda one: (ORDER.index(one[1].kind), one[0]))
    return [each for _, each in found]


def _kind(
    label: SoftLabel, said: Sequence[Answer], judges: dict[str, float], decided: Adjudication | None
) -> DisagreementKind | None:
    if decided is not None:
        since = [SAID[answer.choice] for answer in said if answer.given_at > decided.created_at]
        against = sum(truth != SAID[decided.choice] for truth in since)
        return "gold" if len(since) > 1 and 2 * against > len(since) else None
    truths = [SAID[answer.choice] for answer in said]
    if len(set(truths)) > 1:
        return "people"
    sure = max(label.probability, 1 - label.probability) >= CLEAR
    contrary = any((probability - 0.5) * (label.probability - 0.5) < 0 for probability in judges.values())
    return "judge" if sure and contrary else None
