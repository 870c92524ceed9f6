"""The stage that labels: pairs, votes in both orders, a judge that is measured, and a soft label per objective."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rlhf_core.feedback.judge_protocol import family
from rlhf_core.feedback.preference_labels import label
from rlhf_core.feedback.vote_aggregation import tallies
from rlhf_core.feedback.voters import Poll
from rlhf_core.interfaces import Feedback, PanelJudge
from rlhf_core.records.feedback import Preference
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Comparison
from rlhf_core.stages.context import Context, Timer
from rlhf_core.stages.labelling.judge_truth import known_by_people, measure_judge
from rlhf_core.stages.labelling.pairs import pairs_to_judge
from rlhf_core.stages.labelling.panel_labels import Verdict, note_verdict, panel_verdict
from rlhf_core.stages.labelling.rounds import labelled_policy
from rlhf_core.stages.labelling.ungated import refuse_ungated
from rlhf_core.stages.labelling.votes import vote_on
from rlhf_core.stages.usage import JudgeCosts, Spending


def label_stage(ctx: Context) -> StageResult:
    """Label pairs: two samples of a prompt -> votes under every principle -> one soft label per objective.

    The votes are what stays: labels are derived from all of them together, once the judge, or each judge of a panel, is
    measured.
    """
    timer, policy = Timer(), labelled_policy(ctx)
    feedback, costs = ctx.tools.feedback(ctx.constitution), JudgeCosts(ctx, ctx.tools.panel(ctx.constitution))
    judges = [one.feedback for one in costs.panel] or [feedback]
    spending = Spending(ctx, "label", *dict.fromkeys([feedback, *judges]))
    counts: Counter[str] = Counter()
    polls = _ask(ctx, policy, feedback, judges, spending, costs, counts)
    pairs = [poll.comparison for poll in polls[0]]
    verdicts = [_verdict(ctx, feedback, costs.panel, name, polls, counts) for name in ctx.constitution.objective_names]
    labels = _label(ctx, pairs, verdicts)
    counts["labels"] = len(labels)
    if family(ctx.tools.backbone.name) in {family(judge.name) for judge in judges}:
        counts["judge_of_own_family"] = len(pairs)
    for one in labels:
        counts[f"abstained.{one.reason}" if one.abstained else f"choice.{one.choice}"] += 1
    for verdict in verdicts:
        note_verdict(ctx, verdict)
    refuse_ungated(ctx, [one.measured.gate for one in verdicts], sum(len(poll.votes) for own in polls for poll in own))
    result = StageResult(
        run_id=ctx.run.id,
        stage="label",
        policy_version=policy,
        counts=dict(sorted(counts.items())),
        seconds=timer.seconds,
    )
    return costs.close(spending.close(result))


def _ask(
    ctx: Context,
    policy: str,
    feedback: Feedback,
    judges: Sequence[Feedback],
    spending: Spending,
    costs: JudgeCosts,
    counts: Counter[str],
) -> list[list[Poll]]:
    """Draw the pairs and ask every judge for votes on them, piece by piece; a pair that is drawn twice has one poll.

    Returns the polls of each judge, all on the same pairs.
    """
    polls: list[dict[str, Poll]] = [{} for _ in judges]
    before = 0
    for piece, done in pairs_to_judge(ctx, policy, feedback, counts):
        for place, (judge, own) in enumerate(zip(judges, polls, strict=True), start=1):
            for poll in vote_on(ctx, judge, piece, ctx.constitution.objective_names, counts):
                own.setdefault(poll.comparison.id, poll)
            so_far = before + (done - before) * place // len(judges)
            ctx.progress("label", so_far, ctx.config.label.pairs, **spending.step(), **costs.step())
        before = done
    return [list(own.values()) for own in polls]


def _verdict(
    ctx: Context,
    feedback: Feedback,
    panel: Sequence[PanelJudge],
    objective: str,
    polls: Sequence[Sequence[Poll]],
    counts: Counter[str],
) -> Verdict:
    """What the judge, or the panel, makes of all pairs for one objective."""
    pairs, places = [poll.comparison for poll in polls[0]], ctx.constitution.precedence()
    tallied = [tallies(own, places, objective, ctx.config.label) for own in polls]
    if panel:
        return panel_verdict(ctx, panel, objective, pairs, tallied, counts)
    people = known_by_people(ctx, objective)
    return Verdict(
        feedback.name, tallied[0], measure_judge(ctx, feedback, objective, pairs, tallied[0], people, counts)
    )


def _label(ctx: Context, pairs: Sequence[Comparison], verdicts: Sequence[Verdict]) -> list[Preference]:
    """Derive every label anew, and store the labels and what they rest on in one commit."""
    labels: list[Preference] = []
    for verdict in verdicts:
        gate, applied = verdict.measured.gate, verdict.measured.applied
        own = [
            label(pair, counted, gate.objective, verdict.name, ctx.constitution, ctx.config.label, applied, gate)
            for pair, counted in zip(pairs, verdict.tallied, strict=True)
        ]
        labels += verdict.with_opinions(own)
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        for verdict in verdicts:
            for gate in verdict.gates:
                ctx.store.gates.add(gate)
            for calibration in verdict.calibrations:
                ctx.store.calibrations.add(calibration)
        ctx.store.preferences.add(labels)
    return labels
