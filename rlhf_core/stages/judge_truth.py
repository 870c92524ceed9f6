"""Pairs on which the better reply is known, by people or by a world's gold, to measure a judge on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rlhf_core.config.run import LabelConfig
from rlhf_core.data.loaders import load_preferences
from rlhf_core.feedback.judge_gate import Case, Evidence, human_truth
from rlhf_core.feedback.vote_aggregation import Tally, abstention, tallies
from rlhf_core.interfaces import Feedback, Gold
from rlhf_core.records.samples import Comparison
from rlhf_core.seeding import uniform_draw
from rlhf_core.stages.context import Context, chunks
from rlhf_core.stages.label_votes import CHUNK, vote_on

IMPORTED = 200
"""Pairs of the user's own file on which a judge is measured, at most."""
EVEN = 1e-9
"""Gold scores no farther apart than this are equal."""


def evidence_on(
    ctx: Context,
    feedback: Feedback,
    objective: str,
    pairs: Sequence[Comparison],
    tallied: Sequence[Tally],
    counts: Counter[str],
) -> list[Evidence]:
    """What decides on the gate comes first: gold of the run's pairs where a world has it, or else what people say."""
    world, settings = ctx.tools.world, ctx.config.label
    gold = world.gold if world and objective in world.gold.objectives else None
    evidence = [Evidence("gold", _gold_cases(gold, objective, pairs, tallied, settings))] if gold else []
    people = _people(ctx, objective)
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
        Case(pair, a_is_better, one, bool(abstention(one, settings)))
        for (pair, a_is_better), one in zip(people, counted, strict=True)
    ]
    return [*evidence, Evidence("human", cases)]


def _gold_cases(
    gold: Gold, objective: str, pairs: Sequence[Comparison], tallied: Sequence[Tally], settings: LabelConfig
) -> list[Case]:
    cases = []
    for pair, counted in zip(pairs, tallied, strict=True):
        a, b = (gold.score(pair.prompt, sample.response)[objective] for sample in (pair.a, pair.b))
        if abs(a - b) > EVEN:
            cases.append(Case(pair, a > b, counted, bool(abstention(counted, settings))))
    return cases


def _people(ctx: Context, objective: str) -> list[tuple[Comparison, bool]]:
    """Comparisons whose better reply people know: of the uniform slice of any run, and of the user's own file."""
    truths = human_truth(ctx.store.preferences.find(objective, labelers="human"))
    known = [(ctx.store.comparisons.get(identity), truth) for identity, truth in truths.items()]
    data = ctx.config.data
    if data.preferences and data.preferences_objective == objective:
        imported = sorted(load_preferences(data.preferences), key=lambda pair: uniform_draw(pair.id))[:IMPORTED]
        ctx.store.comparisons.add(imported)
        known += [(pair, True) for pair in imported]
    return known
