"""The stage that labels: pairs, votes in both orders, a judge that is measured, and a soft label per objective."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.errors import TrainingFailed
from rlhf_core.feedback.judge import family
from rlhf_core.feedback.judge_calibration import calibrate
from rlhf_core.feedback.judge_gate import Judge, measure_gate
from rlhf_core.feedback.preference_labels import labels_from_votes, tallies
from rlhf_core.interfaces import Feedback
from rlhf_core.records.feedback import Calibration, JudgeGate, Preference, Vote
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Comparison
from rlhf_core.stages.context import Context, Timer
from rlhf_core.stages.judge_truth import evidence_on
from rlhf_core.stages.label_pairs import pairs_to_judge
from rlhf_core.stages.label_rounds import labelled_policy
from rlhf_core.stages.label_votes import vote_on
from rlhf_core.stages.usage import Spending


def label_stage(ctx: Context) -> StageResult:
    """Two samples of a prompt -> votes in both orders under every principle -> one soft label per objective.

    The votes are what stays: labels are derived from all of them together, once the judge is measured.
    """
    timer = Timer()
    feedback = ctx.tools.feedback(ctx.constitution)
    spending = Spending(ctx, "label", feedback)
    pairs: dict[str, Comparison] = {}
    votes: dict[str, Vote] = {}
    counts: Counter[str] = Counter()
    for piece, done in pairs_to_judge(ctx, counts):
        pairs |= {pair.id: pair for pair in piece}
        judged = vote_on(ctx, feedback, piece, ctx.constitution.objective_names, counts)
        votes |= {vote.id: vote for vote in judged}
        ctx.progress("label", done, ctx.config.label.pairs, **spending.step())
    settled = settle(ctx, feedback, list(pairs.values()), list(votes.values()), counts)
    counts["labels"] = len(settled.labels)
    if family(feedback.name) == family(ctx.tools.backbone.name):
        counts["judge_of_own_family"] = len(pairs)
    for one in settled.labels:
        counts[f"abstained.{one.reason}" if one.abstained else f"choice.{one.choice}"] += 1
    for gate in settled.gates:
        ctx.note(f"judge, {gate.objective}: {gate.reason or 'passes its gate'}")
    refuse_ungated(ctx, settled.gates, len(votes))
    result = StageResult(
        run_id=ctx.run.id,
        stage="label",
        policy_version=labelled_policy(ctx),
        counts=dict(sorted(counts.items())),
        seconds=timer.seconds,
    )
    return spending.close(result)


class Settled(NamedTuple):
    labels: list[Preference]
    gates: list[JudgeGate]


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
        evidence = evidence_on(ctx, feedback, objective, pairs, tallied, counts)
        judge = Judge(ctx.run.id, feedback.name, objective, law.hash)
        gates[objective] = measure_gate(judge, evidence[0], ctx.config.gate)
        for found in (calibrate(judge, one, settings.calibration_pairs) for one in evidence):
            if found is not None:
                calibrations[objective] = found
    applied = {objective: calibration for objective, calibration in calibrations.items() if calibration.applied}
    labels = labels_from_votes(pairs, votes, law, feedback.name, settings, applied, gates)
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        for gate in gates.values():
            ctx.store.gates.add(gate)
        for calibration in calibrations.values():
            ctx.store.calibrations.add(calibration)
        ctx.store.preferences.add(labels)
    return Settled(labels, list(gates.values()))


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
