"""How votes are come by, and what they become: labels, with a judge that is measured where the truth is known."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.config import LabelConfig, RunConfig
from rlhf_core.constitution.schema import Principle
from rlhf_core.data import load_preferences
from rlhf_core.errors import TrainingFailed
from rlhf_core.feedback.calibration import calibrate
from rlhf_core.feedback.gate import Case, Evidence, Judge, human_truth, measure_gate
from rlhf_core.feedback.tally import Tally, abstention
from rlhf_core.feedback.votes import labels_from_votes, tallies, vote_id, voters
from rlhf_core.records import Comparison, Preference, Vote, uniform_draw
from rlhf_core.run_records import Calibration, JudgeGate
from rlhf_core.seams import Feedback, Gold
from rlhf_core.stages.ancestry import results_of
from rlhf_core.stages.context import Context, chunks
from rlhf_core.stages.rounds import labelled_policy

CHUNK = 64
"""Comparisons that are judged, and whose votes are stored, at a time."""
IMPORTED = 200
"""Pairs of the user's own file on which a judge is measured, at most."""
EVEN = 1e-9
"""Gold scores no farther apart than this are equal."""


class Drawn(NamedTuple):
    """The pairs of an earlier run, and how many of its drawn pairs were no pairs, as both texts were the same."""

    pairs: list[Comparison]
    identical: int


class Settled(NamedTuple):
    labels: list[Preference]
    gates: list[JudgeGate]


def pairs_before(ctx: Context) -> Drawn | None:
    """The pairs of `from_run`, where this run would draw the very same; then no model writes them again."""
    source = ctx.config.from_run
    result = results_of(ctx.store, source).get("label") if source else None
    if result is None or result.policy_version != labelled_policy(ctx):
        return None
    before = RunConfig.model_validate_json(ctx.store.run(result.run_id).config)
    if _drawing(before) != _drawing(ctx.config):
        return None
    stored = [pair for pair in ctx.store.comparisons(result.run_id) if pair.a.stage == "label"]
    pairs = [pair.model_copy(update={"run_id": ctx.run.id}) for pair in stored]
    ctx.store.add_comparisons(pairs)
    return Drawn(pairs, result.counts["identical"])


def _drawing(config: RunConfig) -> tuple[object, ...]:
    """All that decides which pairs are drawn from a policy."""
    label = config.label
    drawn = (label.pairs, label.temperature, label.base_share, label.candidates)
    return config.seed, config.model.max_tokens, config.data.prompts, config.data.heldout_prompts, *drawn


def vote_on(
    ctx: Context,
    feedback: Feedback,
    pairs: Sequence[Comparison],
    objectives: Sequence[str],
    counts: Counter[str],
) -> list[Vote]:
    """The votes of the principles drawn for each pair; one that any run has stored is not asked for again.

    `counts` gains `votes.cached` and `votes.asked`.
    """
    law, settings = ctx.constitution, ctx.config.label
    known: dict[str, Vote] = {}
    missing: dict[tuple[str, ...], list[Comparison]] = defaultdict(list)
    for pair in {pair.id: pair for pair in pairs}.values():
        drawn = {p.id: p for objective in objectives for p in voters(pair, law, objective, settings)}
        ids = {name: _both_orders(pair, drawn[name], feedback) for name in sorted(drawn)}
        known |= ctx.store.votes_by_id([identity for both in ids.values() for identity in both])
        unasked = tuple(name for name, both in ids.items() if not known.keys() >= set(both))
        if unasked:
            missing[unasked].append(pair)
    fresh: list[Vote] = []
    for names, unjudged in missing.items():
        fresh += feedback.compare(unjudged, *map(law.principle, names))
    # Votes of other runs are added too: they count as this run's.
    votes = {vote.id: vote.model_copy(update={"run_id": ctx.run.id}) for vote in (*known.values(), *fresh)}
    ctx.store.add_votes(list(votes.values()))
    counts.update({"votes.cached": len(known), "votes.asked": len(fresh)})
    return list(votes.values())


def _both_orders(pair: Comparison, principle: Principle, feedback: Feedback) -> list[str]:
    return [vote_id(pair, principle, feedback.name, swapped, feedback.template_hash) for swapped in (False, True)]


def settle(
    ctx: Context, feedback: Feedback, pairs: Sequence[Comparison], votes: Sequence[Vote], counts: Counter[str]
) -> Settled:
    """Measure the judge, derive every label anew from the votes, and store both in one commit.

    `counts` gains the votes on pairs that people have labelled, where the judge is measured on these.
    """
    law, settings = ctx.constitution, ctx.config.label
    gates: dict[str, JudgeGate] = {}
    calibrations: dict[str, Calibration] = {}
    for objective in law.objective_names:
        tallied = tallies(pairs, votes, law, objective, settings)
        evidence = _evidence(ctx, feedback, objective, pairs, tallied, counts)
        judge = Judge(ctx.run.id, feedback.name, objective, law.hash)
        gates[objective] = measure_gate(judge, evidence[0], ctx.config.gate)
        for found in (calibrate(judge, one, settings.calibration_pairs) for one in evidence):
            if found is not None:
                calibrations[objective] = found
    applied = {objective: calibration for objective, calibration in calibrations.items() if calibration.applied}
    labels = labels_from_votes(pairs, votes, law, feedback.name, settings, applied, gates)
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        for gate in gates.values():
            ctx.store.add_gate(gate)
        for calibration in calibrations.values():
            ctx.store.add_calibration(calibration)
        ctx.store.add_preferences(labels)
    return Settled(labels, list(gates.values()))


def _evidence(
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
    found = [Evidence("gold", _gold_cases(gold, objective, pairs, tallied, settings))] if gold else []
    people = _people(ctx, objective)
    if gold and (settings.calibration_pairs is None or len(people) < settings.calibration_pairs):
        return found
    asked = [pair for pair, _ in people]
    votes = [vote for piece in chunks(asked, CHUNK) for vote in vote_on(ctx, feedback, piece, [objective], counts)]
    counted = tallies(asked, votes, ctx.constitution, objective, settings)
    cases = [
        Case(pair, a_is_better, one, bool(abstention(one, settings)))
        for (pair, a_is_better), one in zip(people, counted, strict=True)
    ]
    return [*found, Evidence("human", cases)]


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
    truths = human_truth(ctx.store.preferences(objective, labelers="human"))
    known = [(ctx.store.comparison(identity), truth) for identity, truth in truths.items()]
    data = ctx.config.data
    if data.preferences and data.preferences_objective == objective:
        imported = sorted(load_preferences(data.preferences), key=lambda pair: uniform_draw(pair.id))[:IMPORTED]
        ctx.store.add_comparisons(imported)
        known += [(pair, True) for pair in imported]
    return known


def refuse_ungated(ctx: Context, gates: Sequence[JudgeGate], votes: int) -> None:
    """TrainingFailed, with what to do, when a judge has not passed and the run goes on to train on its labels."""
    failed = [gate for gate in gates if not gate.passed]
    if not failed or ctx.config.gate.allow_ungated or ctx.config.kind == "label":
        return
    lines = [f"{gate.objective}: {gate.reason}" for gate in failed]
    start = ctx.need("sft").run_id
    by_people = [gate.objective for gate in failed if gate.truth == "human"]
    ways = [
        f"label pairs with `charter label --gate --run {ctx.run.id} --objective {objective}`" for objective in by_people
    ]
    ways += [f"then give the same command with -s from_run={start} -s start_at=label"] if by_people else []
    ways += [
        "or let another model judge, or change the principles" if by_people else "change the principles or the model"
    ]
    ways += ["or train all the same with --allow-ungated, which is stamped on all that descends from these labels"]
    raise TrainingFailed(
        f"judge '{failed[0].judge}' has not passed its gate, so nothing is trained on its labels; all {votes} votes "
        f"are kept. {'; '.join(lines)}. What to do: {', '.join(ways)}"
    )
