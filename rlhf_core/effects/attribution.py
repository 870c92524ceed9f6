"""Which principle did it: each edit alone, the whole edit without it, and each principle left out. Asks no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.diff import ConstitutionDiff, changed_principles
from rlhf_core.constitution.principle import Principle
from rlhf_core.effects.flips import count_flips, side
from rlhf_core.effects.probe_votes import Ballots
from rlhf_core.effects.probes import Probes
from rlhf_core.effects.report import EditEffect, PrincipleRole
from rlhf_core.evaluation.paired import Agreement, agreement
from rlhf_core.evaluation.statistics import Estimate, wilson
from rlhf_core.feedback.vote_aggregation import alone
from rlhf_core.feedback.vote_aggregation import side as side_of
from rlhf_core.records.feedback import Preference, Vote
from rlhf_core.records.samples import Comparison

Labels = Mapping[str, Sequence[Preference]]
Relabel = Callable[[Constitution], Labels]
"""Objective -> labels of all probes, from votes that are there."""


def edited_ids(before: Constitution, after: Constitution, diff: ConstitutionDiff) -> tuple[str, ...]:
    """Return the ids in `after`, or in `before` where it is gone, of the principles whose say on labels differs."""
    return changed_principles(renamed(before, diff), after)


def renamed(before: Constitution, diff: ConstitutionDiff) -> Constitution:
    """Return the constitution before, by the names that its principles bear after."""
    names = {change.before: change.after for change in diff.renamed}
    principles = tuple(p.model_copy(update={"id": names.get(p.id, p.id)}) for p in before.principles)
    return before.model_copy(update={"principles": principles})


def edit_effects(
    before: Constitution, after: Constitution, edited: Sequence[str], relabel: Relabel
) -> tuple[EditEffect, ...]:
    """Measure, for each edited principle and objective that it serves, what this edit alone flips, and all others."""
    start = relabel(before)
    found = []
    for name in edited:
        alone, without = relabel(_with(before, after, name)), relabel(_with(after, before, name))
        for objective in start:
            if objective in after.objective_names and _serves((before, after), name, objective):
                found.append(
                    EditEffect(
                        principle_id=name,
                        objective=objective,
                        alone=count_flips(start[objective], alone[objective]),
                        without=count_flips(start[objective], without[objective]),
                    )
                )
    return tuple(found)


def roles(
    constitution: Constitution, probes: Probes, ballots: Ballots, config: LabelConfig, relabel: Relabel
) -> tuple[PrincipleRole, ...]:
    """Return each principle with each objective that it serves: what it decides there, and how often it is right."""
    whole = relabel(constitution)
    found = []
    for principle in constitution.principles:
        served = tuple(o for o in constitution.objectives if principle.serves.get(o.name))
        if not served:
            continue
        less = relabel(_without(constitution, principle.id).model_copy(update={"objectives": served}))
        sides = [_side(ballots.get((principle.hash, pair.id)), config) for pair in probes.pairs]
        for name in (objective.name for objective in served):
            both = list(zip(whole[name], less[name], strict=True))
            accuracy = _accuracy(sides, probes, name)
            relevance = sum(map(bool, sides)) / len(sides)
            found.append(
                PrincipleRole(
                    principle_id=principle.id,
                    objective=name,
                    flips=count_flips(whole[name], less[name]),
                    n=sum(side(a) is not None and side(b) is not None for a, b in both),
                    relevance=relevance,
                    accuracy=accuracy,
                    performance=2 * (accuracy.value - 0.5) * relevance if accuracy else None,
                )
            )
    return tuple(found)


def _accuracy(sides: Sequence[int], probes: Probes, objective: str) -> Estimate | None:
    """Over the pairs on which the principle takes a side and a better reply is known."""
    if probes.direction(objective) == "longer":
        return None
    known = [own == way for own, way in zip(sides, probes.toward(objective), strict=True) if own and way]
    return wilson(sum(known), len(known)) if known else None


def agreements(
    constitution: Constitution, pairs: Sequence[Comparison], ballots: Ballots, config: LabelConfig
) -> tuple[Agreement, ...]:
    """Measure how every two principles agree.

    Agreement is how often they take the same side, each by itself, where the judge does not abstain.
    """
    sides = {p.id: [_side(ballots.get((p.hash, pair.id)), config) for pair in pairs] for p in constitution.principles}
    return tuple(agreement(a, b, list(zip(sides[a], sides[b], strict=True))) for a, b in combinations(sorted(sides), 2))


def log_odds(principle: Principle, pair: Comparison, ballots: Ballots) -> float:
    """Return the principle's own log-odds that a is better, averaged over the orders; 0 where it does not vote."""
    votes = ballots.get((principle.hash, pair.id), ())
    return sum(vote.logprob_a - vote.logprob_b for vote in votes) / 2


def say(constitution: Constitution, name: str, objective: str) -> tuple[Principle, float] | None:
    """Return a principle with its factor in an objective's log-odds; None where it has none there."""
    for principle in constitution.principles:
        if principle.id == name and (factor := principle.weight * principle.serves.get(objective, 0)):
            return principle, factor
    return None


def _side(ballot: tuple[Vote, Vote] | None, config: LabelConfig) -> int:
    """The side that one principle takes by itself; 0 for a tie, an abstention, or where it does not vote."""
    return 0 if ballot is None else side_of(alone(ballot, config.odds_temperature), config)


def _serves(constitutions: Sequence[Constitution], name: str, objective: str) -> bool:
    return any(say(constitution, name, objective) for constitution in constitutions)


def _without(constitution: Constitution, name: str) -> Constitution:
    return constitution.model_copy(update={"principles": tuple(p for p in constitution.principles if p.id != name)})


def _with(constitution: Constitution, source: Constitution, name: str) -> Constitution:
    """The constitution with this one principle as `source` has it, which may be not at all."""
    taken = tuple(p for p in source.principles if p.id == name)
    return constitution.model_copy(update={"principles": (*_without(constitution, name).principles, *taken)})
