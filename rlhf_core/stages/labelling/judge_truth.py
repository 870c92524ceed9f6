"""Measure a run's judge on pairs whose better reply is known, from people or from a world's gold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.config.run import LabelConfig
from rlhf_core.data.loaders import decided_pairs
from rlhf_core.feedback.judge_calibration import calibrate
from rlhf_core.feedback.judge_gate import Case, Evidence, Judge, measure_gate
from rlhf_core.feedback.vote_aggregation import Tally, tallies
from rlhf_core.interfaces import Feedback, Gold
from rlhf_core.records.feedback import Calibration, JudgeGate
from rlhf_core.records.samples import Comparison
from rlhf_core.seeding import uniform_draw
from rlhf_core.stages.context import Context, chunks
from rlhf_core.stages.imported.own_rows import PREFERENCES, rows_of
from rlhf_core.stages.labelling.people import human_truth, people_labels
from rlhf_core.stages.labelling.votes import CHUNK, vote_on

IMPORTED = 200
"""Pairs of the user's own file on which a judge is measured, at most."""
EVEN = 1e-9
"""Gold scores no farther apart than this are equal."""


Known = Sequence[tuple[Comparison, bool]]
"""Comparisons whose better reply people know, and whether that is a."""


class Measured(NamedTuple):
    gate: JudgeGate
    calibration: Calibration | None
    evidence: Sequence[Evidence]
    """What it was held against, first what decided on the gate."""

    @property
    def applied(self) -> Calibration | None:
        """The calibration that labels go through."""
        return self.calibration if self.calibration and self.calibration.applied else None


def measure_judge(
    ctx: Context,
    feedback: Feedback,
    objective: str,
    pairs: Sequence[Comparison],
    tallied: Sequence[Tally],
    people: Known,
    counts: Counter[str],
    name: str = "",
) -> Measured:
    """Measure the judge of one objective: its gate, and its calibration where enough pairs are known.

    `people` is what `known_by_people` found. `counts` gains the votes on these pairs, where the judge is measured on
    them. Without a `name` it is called by its model.
    """
    evidence = _evidence(ctx, feedback, objective, pairs, tallied, people, counts)
    return measure(ctx, name or feedback.name, objective, evidence)


def measure(ctx: Context, name: str, objective: str, evidence: Sequence[Evidence]) -> Measured:
    """Hold what a judge said, or a panel, against what is known."""
    judge = Judge(ctx.run.id, name, objective, ctx.constitution.hash)
    gate = measure_gate(judge, evidence[0], ctx.config.gate)
    fitted = [calibrate(judge, one, ctx.config.label.calibration_pairs) for one in evidence]
    return Measured(gate, next((one for one in reversed(fitted) if one is not None), None), evidence)


def _evidence(
    ctx: Context,
    feedback: Feedback,
    objective: str,
    pairs: Sequence[Comparison],
    tallied: Sequence[Tally],
    people: Known,
    counts: Counter[str],
) -> list[Evidence]:
    """Gather what the judge is held against, first what decides on its gate.

    That is the gold of the run's pairs where a world has it, or else what people say.
    """
    world, settings = ctx.tools.world, ctx.config.label
    gold = world.gold if world and objective in world.gold.objectives else None
    evidence = [Evidence("gold", _gold_cases(gold, objective, pairs, tallied, settings))] if gold else []
    if gold and (settings.calibration_pairs is None or len(people) < settings.calibration_pairs):
        return evidence
    asked = [pair for pair, _ in people]
    polls = {
        poll.comparison.id: poll
        for piece in chunks(asked, CHUNK)
        for poll in vote_on(ctx, feedback, piece, [objective], counts)
    }
    counted = tallies([polls[pair.id] for pair in asked], ctx.constitution.precedence(), objective, settings)
    cases = [
        Case(pair, a_is_better, one, bool(one.reason)) for (pair, a_is_better), one in zip(people, counted, strict=True)
    ]
    return [*evidence, Evidence("human", cases)]


def _gold_cases(
    gold: Gold, objective: str, pairs: Sequence[Comparison], tallied: Sequence[Tally], settings: LabelConfig
) -> list[Case]:
    cases = []
    for pair, counted in zip(pairs, tallied, strict=True):
        a, b = (gold.score(pair.prompt, sample.response)[objective] for sample in (pair.a, pair.b))
        if abs(a - b) > EVEN:
            cases.append(Case(pair, a > b, counted, bool(counted.reason)))
    return cases


def known_by_people(ctx: Context, objective: str) -> Known:
    """Find the comparisons whose better reply people know: of any run's uniform slice, and of the user's own file."""
    labels = people_labels(ctx.store, objective)
    truths = human_truth(label for _, label in labels)
    known = [(pair, truths[pair.id]) for pair, _ in labels if pair.id in truths]
    data = ctx.config.data
    if data.preferences and data.preferences_objective == objective:
        decided = decided_pairs(rows_of(ctx, data.preferences, PREFERENCES))
        imported = sorted(decided, key=lambda pair: uniform_draw(pair.id))[:IMPORTED]
        ctx.store.comparisons.add(imported)
        known += [(pair, True) for pair in imported]
    return known
