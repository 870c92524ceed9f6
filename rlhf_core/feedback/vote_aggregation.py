"""Add up the votes on a pair: log-odds over orders and principles, which principles count, when the judge abstains."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.constitution import Principle
from rlhf_core.feedback.voters import Poll
from rlhf_core.records.feedback import UNREAD, Choice, Protocol, Vote

TIE_BAND = (0.45, 0.55)


class Tally(NamedTuple):
    """One objective's votes on one comparison, added up; log-odds are of a being better than b."""

    first: float
    """Log-odds with a shown first, over all principles."""
    second: float
    """Log-odds with a shown second."""
    label_mass: float
    """The least over the votes."""
    votes: int
    protocol: Protocol = "logprobs"
    reason: str = ""
    """Why the judge abstains; empty where its label counts.

    `no_principle`, `no_votes` and `parse_failure` are so by any settings, `label_mass` and `position_gap` by those that
    it was tallied with.
    """
    said: tuple[float, float] | None = None
    """Where the judge answers in words: its mean choice in each order, from -1/2 for b to 1/2 for a."""

    @property
    def logit(self) -> float:
        """Mean over the two orders, which cancels an additive position bias exactly."""
        return (self.first + self.second) / 2

    @property
    def probability(self) -> float:
        if self.said is None:
            return sigmoid(self.logit)
        lead = sum(self.said) / 2
        # As sigmoid: swapping a and b gives 1 minus it to the last bit.
        return 0.5 + lead if lead >= 0 else 1 - (0.5 - lead)

    @property
    def gap(self) -> float:
        """|p_a shown first - p_a shown second|, each over all principles."""
        first, second = self.said or (sigmoid(self.first), sigmoid(self.second))
        return abs(first - second)


def tallies(polls: Sequence[Poll], precedence: Mapping[str, int], objective: str, config: LabelConfig) -> list[Tally]:
    """Tally each poll's votes for one objective, without those of principles that an earlier one overrules.

    `precedence` is that of the constitution.
    """
    return [
        tally(poll.votes, heard(poll.voters[objective], poll.votes, precedence, config), objective, config)
        for poll in polls
    ]


def tally(votes: Sequence[Vote], principles: Sequence[Principle], objective: str, config: LabelConfig) -> Tally:
    """Add up the principles' log-odds by weight, in each order of the replies.

    logit p = sum_j w_j s_j (l_j,first + l_j,second) / 2T with w_j the principle's weight, s_j its share in the
    objective and T `config.odds_temperature`. Votes of other principles do not count; a vote that could not be read
    adds nothing.
    """
    factor: dict[str, float] = defaultdict(float)
    for principle in principles:
        factor[principle.hash] += principle.weight * principle.serves[objective] / config.odds_temperature
    used = [vote for vote in votes if vote.principle_hash in factor]
    counted = _added(used, factor, _unusable(principles, used))
    return counted._replace(reason=abstention(counted, config))


def alone(votes: Sequence[Vote], odds_temperature: float = 1.0) -> Tally:
    """Tally the votes of one principle, with weight 1."""
    return _added(votes, defaultdict(lambda: 1 / odds_temperature), _unread(votes))


def _added(used: Sequence[Vote], factor: Mapping[str, float], reason: str) -> Tally:
    logits = {False: 0.0, True: 0.0}
    for vote in used:
        if vote.label_mass > 0:
            logits[vote.swapped] += factor[vote.principle_hash] * (vote.logprob_a - vote.logprob_b)
    return Tally(
        first=logits[False],
        second=logits[True],
        label_mass=min((vote.label_mass for vote in used), default=0.0),
        votes=len(used),
        protocol=_protocol(used),
        reason=reason,
        said=_choices(used, factor) if _protocol(used) == "text" else None,
    )


def _protocol(used: Sequence[Vote]) -> Protocol:
    """Of all votes alike, but for a pointwise judge's, who is asked otherwise where it cannot criticise."""
    asked: list[Protocol] = [vote.protocol for vote in used]
    return "pointwise" if "pointwise" in asked else asked[0] if asked else "logprobs"


def _choices(used: Sequence[Vote], factor: Mapping[str, float]) -> tuple[float, float]:
    """Weighted mean over the principles of 1/2 for a, -1/2 for b and 0 for a tie, in each order."""
    sums, weights = {False: 0.0, True: 0.0}, {False: 0.0, True: 0.0}
    for vote in used:
        margin, weight = vote.logprob_a - vote.logprob_b, factor[vote.principle_hash]
        weights[vote.swapped] += weight
        if not math.isclose(margin, 0, abs_tol=1e-9):
            sums[vote.swapped] += math.copysign(weight / 2, margin)
    first, second = (sums[order] / weights[order] if weights[order] else 0.0 for order in (False, True))
    return first, second


def _unusable(principles: Sequence[Principle], used: Sequence[Vote]) -> str:
    return _unread(used) if principles else "no_principle"


def _unread(used: Sequence[Vote]) -> str:
    if not used:
        return "no_votes"
    return UNREAD if any(vote.reason or vote.label_mass == 0 for vote in used) else ""


def abstention(counted: Tally, config: LabelConfig) -> str:
    """Return why the judge abstains; empty where its label counts."""
    if counted.reason:
        return counted.reason
    if counted.label_mass < config.min_label_mass:
        return "label_mass"
    return "position_gap" if counted.gap > config.abstain_gap else ""


def side(counted: Tally, config: LabelConfig) -> int:
    """Return which reply a tally prefers: 1 for a, -1 for b, 0 for a tie or an abstention."""
    return 0 if abstention(counted, config) else {"a": 1, "b": -1}.get(choice_of(counted.probability), 0)


def choice_of(probability: float) -> Choice:
    low, high = TIE_BAND
    return "a" if probability > high else "b" if probability < low else "tie"


def sigmoid(x: float) -> float:
    """Return 1 / (1 + exp(-x)); sigmoid(-x) is 1 - sigmoid(x) to the last bit, so that swapping a and b is exact."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else 1 - 1 / (1 + math.exp(x))


def heard(
    principles: Sequence[Principle], votes: Sequence[Vote], places: Mapping[str, int], config: LabelConfig
) -> tuple[Principle, ...]:
    """Return the principles whose votes on one pair count, in the given order.

    `places` are those of Constitution.precedence. The votes of a principle do not count where those of an earlier one
    count and prefer the other reply; weights do not matter for that. A principle that prefers neither reply, or has
    weight 0, overrules no other.
    """
    ranks = sorted({places[principle.id] for principle in principles})
    if len(ranks) < 2:
        return tuple(principles)
    cast: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        cast[vote.principle_hash].append(vote)
    sides = {p.id: side(alone(cast[p.hash], config.odds_temperature), config) if p.weight else 0 for p in principles}
    counted: set[str] = set()
    for rank in ranks:
        opposed = {-sides[name] for name in counted} - {0}
        counted |= {p.id for p in principles if places[p.id] == rank and sides[p.id] not in opposed}
    return tuple(principle for principle in principles if principle.id in counted)
