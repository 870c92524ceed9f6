"""One objective's labels under two constitutions, set against each other, against noise and against the truth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.effects.probes import Probes
from rlhf_core.effects.report import Finding, ObjectiveEffect, TagFlips, TruthCheck
from rlhf_core.evaluation.paired import mcnemar_exact
from rlhf_core.evaluation.statistics import Estimate, mean_estimate, prompt_means, wilson
from rlhf_core.records.feedback import Preference

SIGNIFICANT = 0.05
MOVED = 0.1
"""A label has moved when its probability differs by more than this."""
MIN_TAGGED, MAX_TAGS = 10, 8
"""A tag is told of when it is on this many pairs, but not on all; at most so many of them."""

Side = int | None
"""+1 for a, -1 for b, 0 for a tie, None where the label abstains."""


class Labelled(NamedTuple):
    """One objective's labels of all probes, each list in the probes' order."""

    before: Sequence[Preference]
    after: Sequence[Preference]
    again: Sequence[Preference]
    """Those of the constitution before, from votes that were asked a second time."""


class TrueSides(NamedTuple):
    """What a perfect judge makes of the probes, before and after."""

    before: Sequence[Preference]
    after: Sequence[Preference]


def side(label: Preference) -> Side:
    return None if label.abstained else {"a": 1, "b": -1}.get(label.choice, 0)


def flipped(before: Preference, after: Preference) -> bool:
    """Tell whether a label went from one reply to the other; becoming a tie or an abstention is no flip."""
    return (side(before) or 0) * (side(after) or 0) < 0


def count_flips(before: Sequence[Preference], after: Sequence[Preference]) -> int:
    return sum(map(flipped, before, after))


def objective_effect(
    objective: str, labelled: Labelled, probes: Probes, truth: TrueSides | None, seed: int
) -> ObjectiveEffect | None:
    """Sum up one objective; None where no pair has a label under both constitutions."""
    before, after = ([side(label) for label in labels] for labels in labelled[:2])
    decided = [i for i in range(len(before)) if before[i] is not None and after[i] is not None]
    if not decided:
        return None
    repeated = sum(None not in (b, side(label)) for b, label in zip(before, labelled.again, strict=True))
    flips = [flipped(b, a) for b, a in zip(labelled.before, labelled.after, strict=True)]
    noise = [flipped(b, a) for b, a in zip(labelled.before, labelled.again, strict=True)]
    towards = [way * (side(label) or 0) for way, label in zip(probes.toward(objective), labelled.after, strict=True)]
    toward, away = (sum(f and t == way for f, t in zip(flips, towards, strict=True)) for way in (1, -1))
    p_noise = mcnemar_exact(
        sum(f and not n for f, n in zip(flips, noise, strict=True)),
        sum(n and not f for f, n in zip(flips, noise, strict=True)),
    )
    return ObjectiveEffect(
        objective=objective,
        n=len(decided),
        abstained=(before.count(None), after.count(None)),
        flips=sum(flips),
        flip_share=wilson(sum(flips), len(decided)),
        softened=sum(bool(before[i]) and after[i] == 0 for i in decided),
        firmed=sum(before[i] == 0 and bool(after[i]) for i in decided),
        mean_shift=_shift(labelled, probes, seed),
        noise_flips=sum(noise),
        noise_share=wilson(sum(noise), repeated) if repeated else None,
        p_noise=p_noise,
        direction=probes.direction(objective),
        toward=toward,
        away=away,
        p_direction=mcnemar_exact(toward, away),
        net=_net(labelled, probes, objective, decided, seed),
        finding=_finding(sum(flips), sum(noise), p_noise, len(decided) / len(flips)),
        truth=_truth_check(labelled, truth) if truth else None,
        tags=_tags(probes, flips, decided),
    )


def _finding(flips: int, noise: int, p_noise: float, decided: float) -> Finding:
    if flips > noise and p_noise < SIGNIFICANT:
        return "changed"
    if decided < 0.5:
        return "mostly abstained"
    return "within noise" if flips else "no change"


def _shift(labelled: Labelled, probes: Probes, seed: int) -> Estimate:
    shifts = [abs(a.probability - b.probability) for b, a in zip(labelled.before, labelled.after, strict=True)]
    return _by_prompt(shifts, probes, range(len(shifts)), seed)


def _net(labelled: Labelled, probes: Probes, objective: str, decided: Sequence[int], seed: int) -> Estimate:
    ways = probes.toward(objective)
    moves = [ways[i] * ((side(labelled.after[i]) or 0) - (side(labelled.before[i]) or 0)) / 2 for i in decided]
    return _by_prompt(moves, probes, decided, seed)


def _by_prompt(values: Sequence[float], probes: Probes, places: Sequence[int], seed: int) -> Estimate:
    names = [probes.pairs[i].prompt.id for i in places]
    return mean_estimate(prompt_means(values, names, list(dict.fromkeys(names))), seed=seed)


def _truth_check(labelled: Labelled, truth: TrueSides) -> TruthCheck:
    """Only pairs count on which the judge abstains under neither constitution."""
    everything = zip(labelled.before, labelled.after, truth.before, truth.after, strict=True)
    rows = [row for row in everything if side(row[0]) is not None and side(row[1]) is not None]
    judged = [(old, new) for b, a, old, new in rows if flipped(b, a)]
    return TruthCheck(
        flips=count_flips(truth.before, truth.after),
        precision=_share([side(old) != side(new) for old, new in judged]),
        recall=_share([flipped(b, a) for b, a, old, new in rows if flipped(old, new)]),
        matters=_share([_shifted(old, new, 1e-9) for old, new in judged]),
        moves=sum(_shifted(old, new) for old, new in zip(truth.before, truth.after, strict=True)),
        move_precision=_share([_shifted(old, new) for b, a, old, new in rows if _shifted(b, a)]),
        move_recall=_share([_shifted(b, a) for b, a, old, new in rows if _shifted(old, new)]),
    )


def _shifted(before: Preference, after: Preference, by: float = MOVED) -> bool:
    return abs(after.probability - before.probability) > by


def _share(hits: Sequence[bool]) -> Estimate | None:
    return wilson(sum(hits), len(hits)) if hits else None


def _tags(probes: Probes, flips: Sequence[bool], decided: Sequence[int]) -> tuple[TagFlips, ...]:
    members: dict[str, list[int]] = defaultdict(list)
    for i in decided:
        for tag in probes.pairs[i].prompt.tags:
            members[tag].append(i)
    told = {tag: rows for tag, rows in members.items() if MIN_TAGGED <= len(rows) < len(decided)}
    rows = [TagFlips(tag=tag, flips=sum(flips[i] for i in rows), n=len(rows)) for tag, rows in told.items()]
    return tuple(sorted(rows, key=lambda row: (-row.flips / row.n, row.tag))[:MAX_TAGS])
