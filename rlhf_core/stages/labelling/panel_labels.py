"""A panel in a run: each of its judges is measured, those that pass label together, and what each said is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.feedback.panel import Rules, Seat, opinions, panel_name, pool, pool_evidence, weights_of
from rlhf_core.feedback.vote_aggregation import Tally
from rlhf_core.interfaces import PanelJudge
from rlhf_core.records.base import content_id
from rlhf_core.records.feedback import Calibration, JudgeGate, Opinion, Preference
from rlhf_core.records.samples import Comparison
from rlhf_core.stages.context import Context
from rlhf_core.stages.labelling.judge_truth import Measured, known_by_people, measure, measure_judge


class Verdict(NamedTuple):
    """What a judge or a panel makes of every pair for one objective, and how far it is to be trusted."""

    name: str
    tallied: Sequence[Tally]
    measured: Measured
    members: Sequence[Measured] = ()
    """Of a panel, its judges."""
    said: Sequence[tuple[Opinion, ...]] = ()
    """Of a panel, each judge's opinion of each pair."""

    @property
    def gates(self) -> list[JudgeGate]:
        """Those of the judges, then the one that decides."""
        return [one.gate for one in (*self.members, self.measured)]

    @property
    def calibrations(self) -> list[Calibration]:
        return [one.calibration for one in (*self.members, self.measured) if one.calibration is not None]

    def with_opinions(self, labels: Sequence[Preference]) -> list[Preference]:
        """Return the labels of the pairs, in order, with what each judge of the panel said."""
        if not self.said:
            return list(labels)
        return [
            label.model_copy(
                # Another label where a judge says something else, even if all together come to the same.
                update={
                    "id": content_id("preference", label.id, *(one.model_dump_json() for one in said)),
                    "opinions": said,
                }
            )
            for label, said in zip(labels, self.said, strict=True)
        ]


def panel_verdict(
    ctx: Context,
    panel: Sequence[PanelJudge],
    objective: str,
    pairs: Sequence[Comparison],
    tallied: Sequence[Sequence[Tally]],
    counts: Counter[str],
) -> Verdict:
    """Measure the judges of a panel on one objective, leave out those that fail, and measure the rest as one judge.

    `tallied` are each judge's, in the order of the pairs.
    """
    name, rules = panel_name(panel), Rules(ctx.constitution, ctx.config.label)
    # Looked up once, as people go on labelling while one judge after the other is asked.
    people = known_by_people(ctx, objective)
    each = [
        measure_judge(ctx, one.feedback, objective, pairs, own, people, counts, one.name)
        for one, own in zip(panel, tallied, strict=True)
    ]
    weights = weights_of([one.gate for one in each], [one.weight for one in panel])
    seats = [Seat(judge.name, w, one.applied) for judge, w, one in zip(panel, weights, each, strict=True)]
    members = [_seated(name, judge, w, one) for judge, w, one in zip(panel, weights, each, strict=True)]
    whole = measure(ctx, name, objective, pool_evidence([one.evidence for one in each], seats, rules))
    by_pair = list(zip(*tallied, strict=True))
    return Verdict(
        name,
        [pool(said, seats, rules) for said in by_pair],
        whole._replace(gate=_of_panel(whole.gate, [one.gate for one in members])),
        members,
        [opinions(said, seats, rules) for said in by_pair],
    )


def note_verdict(ctx: Context, verdict: Verdict) -> None:
    """Note how the gates of one objective came out: of a panel also who is left out, and why."""
    gate = verdict.measured.gate
    for member in verdict.members:
        out = not member.gate.weight
        told = f"left out of the panel: {member.gate.reason}" if out else member.gate.reason or "passes its gate"
        ctx.note(f"judge '{member.gate.judge}', {gate.objective}: {told}", alarm=out)
    who = "panel" if verdict.members else "judge"
    ctx.note(f"{who}, {gate.objective}: {gate.reason or 'passes its gate'}", alarm=bool(gate.reason))


def _seated(panel: str, judge: PanelJudge, weight: float, one: Measured) -> Measured:
    """What was measured of a judge, as that of a judge of this panel."""
    place = {"panel": panel, "judge": judge.name}
    gate = one.gate.model_copy(
        update={
            **place,
            "id": content_id("gate", one.gate.id, panel, weight),
            "model": judge.feedback.name,
            "protocol": judge.protocol,
            "template_hash": judge.feedback.template_hash,
            "weight": weight,
        }
    )
    calibration = one.calibration and one.calibration.model_copy(
        update={**place, "id": content_id("calibration", one.calibration.id, panel)}
    )
    return one._replace(gate=gate, calibration=calibration)


def _of_panel(gate: JudgeGate, members: Sequence[JudgeGate]) -> JudgeGate:
    """The gate of all together, which no panel passes of whose judges none does."""
    update: dict[str, object] = {"id": content_id("gate", gate.id, *(member.id for member in members))}
    if not any(member.passed for member in members):
        reasons = "; ".join(f"'{member.judge}' {member.reason}" for member in members)
        update |= {"passed": False, "reason": f"no judge of the panel passes its gate: {reasons}"}
    return gate.model_copy(update=update)
