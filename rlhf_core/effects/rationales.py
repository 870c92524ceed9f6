"""The pairs whose labels flipped furthest, with what the critic says of both replies under the principle behind it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.principle import Principle
from rlhf_core.effects.attribution import log_odds, say
from rlhf_core.effects.flips import flipped
from rlhf_core.effects.probe_votes import Ballots, Judge
from rlhf_core.effects.report import FlippedPair
from rlhf_core.feedback.templates import transcript
from rlhf_core.records.feedback import Preference
from rlhf_core.records.samples import Comparison

SHOWN = 10

Labels = Mapping[str, Sequence[Preference]]


class Versions(NamedTuple):
    """A constitution before and after, principles by the same names, and the names of those that differ."""

    before: Constitution
    after: Constitution
    edited: tuple[str, ...]


class _Mover(NamedTuple):
    """The edited principle that moved a label most; `principle` is None where none of them votes on the objective."""

    name: str
    principle: Principle | None
    shift: float


def flipped_pairs(
    versions: Versions, pairs: Sequence[Comparison], ballots: Ballots, old: Labels, new: Labels, critic: Judge
) -> tuple[FlippedPair, ...]:
    """Return at most ten pairs over all objectives, by how far their probability moved."""
    flips = [
        (objective, i)
        for objective in old
        if objective in new
        for i in range(len(pairs))
        if flipped(old[objective][i], new[objective][i])
    ]

    def moved(flip: tuple[str, int]) -> float:
        objective, i = flip
        return abs(new[objective][i].probability - old[objective][i].probability)

    top = sorted(flips, key=moved, reverse=True)[:SHOWN]
    movers = [_mover(versions, objective, pairs[i], ballots) for objective, i in top]
    words = _criticise([(pairs[i], mover) for (_, i), mover in zip(top, movers, strict=True)], critic)
    return tuple(
        FlippedPair(
            objective=objective,
            prompt=transcript(pairs[i].prompt.messages),
            a=pairs[i].a.response,
            b=pairs[i].b.response,
            before=old[objective][i].probability,
            after=new[objective][i].probability,
            principle_id=mover.name,
            shift=mover.shift,
            rationale_a=rationale[0],
            rationale_b=rationale[1],
        )
        for (objective, i), mover, rationale in zip(top, movers, words, strict=True)
    )


def _mover(versions: Versions, objective: str, pair: Comparison, ballots: Ballots) -> _Mover:
    best = _Mover("", None, 0.0)
    for name in versions.edited:
        said = [say(constitution, name, objective) for constitution in (versions.before, versions.after)]
        old, new = (factor * log_odds(p, pair, ballots) if p else 0.0 for p, factor in (s or (None, 0.0) for s in said))
        if abs(new - old) > abs(best.shift):
            voter = said[1] or said[0]
            best = _Mover(name, voter[0] if voter else None, new - old)
    return best


def _criticise(asked: Sequence[tuple[Comparison, _Mover]], critic: Judge) -> list[tuple[str, str]]:
    """The critiques of a and b; empty where the principle only compares."""
    words = [("", "")] * len(asked)
    groups: dict[str, list[int]] = defaultdict(list)
    for place, (_, mover) in enumerate(asked):
        if mover.principle is not None and mover.principle.critique is not None:
            groups[mover.name].append(place)
    for places in groups.values():
        principle = asked[places[0]][1].principle
        if principle is not None:
            samples = [sample for place in places for sample in (asked[place][0].a, asked[place][0].b)]
            texts = [critique.text for critique in critic.critique([(sample, principle) for sample in samples])]
            words_of = zip(texts[::2], texts[1::2], strict=True)
            for place, both in zip(places, words_of, strict=True):
                words[place] = both
    return words
