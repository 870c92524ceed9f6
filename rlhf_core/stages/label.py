"""The stage that labels: pairs, votes in both orders, a judge that is measured, and a soft label per objective."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rlhf_core.feedback.judge_protocol import family
from rlhf_core.feedback.preference_labels import labels_from_tallies
from rlhf_core.feedback.vote_aggregation import Tally, tallies
from rlhf_core.feedback.voters import Poll
from rlhf_core.interfaces import Feedback
from rlhf_core.records.feedback import Preference
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Comparison
from rlhf_core.stages.context import Context, Timer
from rlhf_core.stages.labelling.judge_truth import Measured, measure_judge
from rlhf_core.stages.labelling.pairs import pairs_to_judge
from rlhf_core.stages.labelling.rounds import labelled_policy
from rlhf_core.stages.labelling.ungated import refuse_ungated
from rlhf_core.stages.labelling.votes import vote_on
from rlhf_core.stages.usage import Spending


def label_stage(ctx: Context) -> StageResult:
    """Label pairs: two samples of a prompt -> votes under every principle -> one soft label per objective.

    The votes are what stays: labels are derived from all of them together, once the judge is measured.
    """
    timer, policy = Timer(), labelled_policy(ctx)
    feedback = ctx.tools.feedback(ctx.constitution)
    spending = Spending(ctx, "label", feedback)
    counts: Counter[str] = Counter()
    polls = _ask(ctx, policy, feedback, spending, counts)
    pairs = [poll.comparison for poll in polls]
    places = ctx.constitution.precedence()
    tallied = {name: tallies(polls, places, name, ctx.config.label) for name in ctx.constitution.objective_names}
    measured = [measure_judge(ctx, feedback, name, pairs, tallied[name], counts) for name in tallied]
    labels = _label(ctx, feedback.name, pairs, tallied, measured)
    counts["labels"] = len(labels)
    if family(feedback.name) == family(ctx.tools.backbone.name):
        counts["judge_of_own_family"] = len(pairs)
    for one in labels:
        counts[f"abstained.{one.reason}" if one.abstained else f"choice.{one.choice}"] += 1
    gates = [one.gate for one in measured]
    for gate in gates:
        ctx.note(f"judge, {gate.objective}: {gate.reason or 'passes its gate'}")
    refuse_ungated(ctx, gates, sum(len(poll.votes) for poll in polls))
    result = StageResult(
        run_id=ctx.run.id,
        stage="label",
        policy_version=policy,
        counts=dict(sorted(counts.items())),
        seconds=timer.seconds,
    )
    return spending.close(result)


def _ask(ctx: Context, policy: str, feedback: Feedback, spending: Spending, counts: Counter[str]) -> list[Poll]:
    """Draw the pairs and ask for the votes on them, piece by piece; a pair that is drawn twice has one poll."""
    polls: dict[str, Poll] = {}
    for piece, done in pairs_to_judge(ctx, policy, feedback, counts):
        for poll in vote_on(ctx, feedback, piece, ctx.constitution.objective_names, counts):
            polls.setdefault(poll.comparison.id, poll)
        ctx.progress("label", done, ctx.config.label.pairs, **spending.step())
    return list(polls.values())


def _label(
    ctx: Context,
    judge: str,
    pairs: Sequence[Comparison],
    tallied: Mapping[str, Sequence[Tally]],
    measured: Sequence[Measured],
) -> list[Preference]:
    """Derive every label anew, and store the labels and what they rest on in one commit."""
    gates = {one.gate.objective: one.gate for one in measured}
    calibrations = [one.calibration for one in measured if one.calibration is not None]
    applied = {calibration.objective: calibration for calibration in calibrations if calibration.applied}
    labels = labels_from_tallies(pairs, tallied, ctx.constitution, judge, ctx.config.label, applied, gates)
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        for gate in gates.values():
            ctx.store.gates.add(gate)
        for calibration in calibrations:
            ctx.store.calibrations.add(calibration)
        ctx.store.preferences.add(labels)
    return labels
