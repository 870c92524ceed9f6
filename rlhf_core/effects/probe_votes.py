"""Votes on the probes under two constitutions: each text is asked about a pair once, whichever of them it serves."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.principle import Principle
from rlhf_core.effects.report import Judging
from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.preference_labels import labels_from_tallies
from rlhf_core.feedback.templates import COMPARE_HASH
from rlhf_core.feedback.vote_aggregation import sigmoid, tallies
from rlhf_core.feedback.voters import open_polls, vote_id, with_votes
from rlhf_core.interfaces import World
from rlhf_core.records.feedback import Critique, Preference, Vote
from rlhf_core.records.samples import Comparison, Sample

UNIT = 32
"""Pairs in one call to the judge, each with all that is asked about it; progress is told between calls."""

Key = tuple[str, str]
"""A principle's hash and a comparison's id."""
Ballots = Mapping[Key, tuple[Vote, Vote]]
"""The two orders' votes."""


class Judge(Protocol):
    """The part of interfaces.Feedback that the measure of an edit needs."""

    @property
    def name(self) -> str: ...

    @property
    def template_hash(self) -> str: ...

    def compare(self, questions: Sequence[tuple[Comparison, Principle]]) -> list[Vote]: ...

    def critique(self, items: Sequence[tuple[Sample, Principle]]) -> list[Critique]: ...


NewJudge = Callable[[Constitution], Judge]
"""A judge that remembers nothing, asking in the way that a constitution wants."""
Tick = Callable[[str, int, int], None]
"""Phase, votes asked, votes to ask. May raise, which ends the work."""


def wanted(constitution: Constitution, pairs: Sequence[Comparison]) -> dict[Key, tuple[Principle, Comparison]]:
    """Return what a constitution asks about these pairs: every principle with a say, on the prompts that it is for."""
    voting = {p.hash: p for p in constitution.principles if p.weight and any(p.serves.values())}
    return {
        (principle_hash, pair.id): (principle, pair)
        for principle_hash, principle in voting.items()
        for pair in pairs
        if principle.applies_to(pair.prompt.tags)
    }


def ask(
    questions: Mapping[Key, tuple[Principle, Comparison]], judge: Judge, phase: str, tick: Tick
) -> dict[Key, tuple[Vote, Vote]]:
    """Ask the judge in both orders, all principles on one pair together, as they share what they read."""
    pairs: dict[str, Comparison] = {}
    asked: dict[str, dict[str, Principle]] = defaultdict(dict)
    for (principle_hash, pair_id), (principle, pair) in questions.items():
        pairs[pair_id] = pair
        asked[pair_id][principle_hash] = principle
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for pair_id, principles in asked.items():
        alike[tuple(principles)].append(pair_id)
    ballots: dict[Key, tuple[Vote, Vote]] = {}
    tick(phase, 0, 2 * len(questions))
    for hashes, ids in alike.items():
        for start in range(0, len(ids), UNIT):
            unit = ids[start : start + UNIT]
            keys = [(principle_hash, one) for one in unit for principle_hash in hashes]
            votes = judge.compare([(pairs[one], asked[one][principle_hash]) for principle_hash, one in keys])
            ballots |= dict(zip(keys, zip(votes[::2], votes[1::2], strict=True), strict=True))
            tick(phase, 2 * len(ballots), 2 * len(questions))
    return ballots


def judge_both(
    before: Constitution,
    after: Constitution,
    pairs: Sequence[Comparison],
    new_judge: NewJudge,
    tick: Tick,
) -> tuple[Ballots, Ballots, Judging]:
    """Return the votes of both, and those of `before` asked again of a fresh judge, in the opposite order of pairs.

    Raises InvalidInput where the constitutions ask the judge in different ways, as their votes have nothing in common.
    """
    old, new = wanted(before, pairs), wanted(after, pairs)
    started, judge = time.monotonic(), new_judge(before)
    if new_judge(after).template_hash != judge.template_hash:
        raise InvalidInput(
            "effects: defaults.compare asks the judge in two ways (cot, pointwise), so no vote serves both; give both "
            "the same",
            "defaults.compare",
        )
    ballots = ask(old | new, judge, "judge", tick)
    again = ask(dict(reversed(old.items())), new_judge(before), "judge again", tick)
    judging = Judging(
        judge=judge.name,
        asked=2 * len(ballots),
        shared=2 * len(old.keys() & new.keys()),
        again=2 * len(again),
        seconds=time.monotonic() - started,
    )
    return ballots, again, judging


def true_ballots(questions: Mapping[Key, tuple[Principle, Comparison]], world: World) -> dict[Key, tuple[Vote, Vote]]:
    """Return how a perfect judge of the world would vote: the same in both orders."""
    ballots: dict[Key, tuple[Vote, Vote]] = {}
    for key, (principle, pair) in questions.items():
        odds = world.truth(pair, principle.compare)
        first = Vote(
            id=vote_id(pair, principle, "truth", False),
            comparison_id=pair.id,
            principle_id=principle.id,
            principle_hash=principle.hash,
            template_hash=COMPARE_HASH,
            constitution_hash="",
            judge="truth",
            swapped=False,
            logprob_a=math.log(max(sigmoid(odds), 1e-300)),
            logprob_b=math.log(max(sigmoid(-odds), 1e-300)),
            label_mass=1.0,
        )
        ballots[key] = (first, first.model_copy(update={"swapped": True, "id": f"{first.id}-swapped"}))
    return ballots


def labels(
    constitution: Constitution, pairs: Sequence[Comparison], ballots: Ballots, config: LabelConfig
) -> dict[str, list[Preference]]:
    """Return each objective's labels, one for each pair; the votes of other constitutions in `ballots` are left out."""
    votes = [vote for key in wanted(constitution, pairs) for vote in ballots[key]]
    polls = with_votes(open_polls(pairs, constitution, constitution.objective_names, config), votes)
    places = constitution.precedence()
    tallied = {name: tallies(polls, places, name, config) for name in constitution.objective_names}
    made: dict[str, dict[str, Preference]] = {name: {} for name in constitution.objective_names}
    for label in labels_from_tallies(pairs, tallied, constitution, votes[0].judge if votes else "", config):
        made[label.objective][label.comparison_id] = label
    return {name: [by_pair[pair.id] for pair in pairs] for name, by_pair in made.items()}
