"""Refuse to train on the labels of a judge that has not passed its gate, and say what the user can do."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.errors import TrainingFailed
from rlhf_core.records.feedback import JudgeGate
from rlhf_core.stages.context import Context


def refuse_ungated(ctx: Context, gates: Sequence[JudgeGate], votes: int) -> None:
    """Raise TrainingFailed, with what to do, when the run would train on labels of a judge that has not passed."""
    failed = [gate for gate in gates if not gate.passed]
    if not failed or ctx.config.gate.allow_ungated or ctx.config.kind == "label":
        return
    lines = [f"{gate.objective}: {gate.reason}" for gate in failed]
    start = ctx.need("sft").run_id
    by_people = [gate.objective for gate in failed if gate.truth == "human"]
    ways = [f"have people label pairs of run {ctx.run.id} for {objective}" for objective in by_people]
    ways += [f"then run again with from_run={start} and start_at=label"] if by_people else []
    ways += [
        "or let another model judge, or change the principles" if by_people else "change the principles or the model"
    ]
    ways += ["or train all the same with gate.allow_ungated=true, stamped on all that descends from these labels"]
    raise TrainingFailed(
        f"judge '{failed[0].judge}' has not passed its gate, so nothing is trained on its labels; all {votes} votes "
        f"are kept. {'; '.join(lines)}. What to do: {', '.join(ways)}"
    )
