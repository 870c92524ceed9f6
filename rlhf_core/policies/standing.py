"""What a policy version must have to be promoted: what made it is finished, and the judges that taught it passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlhf_core.errors import NotFound
from rlhf_core.records.base import Stage
from rlhf_core.records.feedback import JudgeGate
from rlhf_core.records.models import Gates, PolicyStanding, PolicyVersion
from rlhf_core.records.runs import Run, StageResult
from rlhf_core.records.samples import BASE_POLICY
from rlhf_core.stages.ancestry import results_of
from rlhf_core.store.store import Store

BASE = PolicyVersion(id=BASE_POLICY, run_id="", stage="", parent="", base_model="", artifact="")
"""The base model as a version: it was there before all runs, and no judge taught it."""
PAGE = 100


def standing(store: Store, version: PolicyVersion, holders: Mapping[str, str] | None = None) -> PolicyStanding:
    """Judge a version by its run as it stands now; `holders` are those of the aliases, where they are known."""
    held = store.aliases.holders() if holders is None else holders
    aliases = tuple(alias for alias, holder in held.items() if holder == version.id)
    if version.id == BASE_POLICY:
        return PolicyStanding(version=BASE, aliases=aliases)
    try:
        run = store.runs.get(version.run_id)
    except NotFound:
        told = f"its run '{version.run_id}' is not in the store"
        return PolicyStanding(version=version, aliases=aliases, unfinished=told, gates="unmeasured", gate_reason=told)
    gates, reason = _gates(store, version)
    return PolicyStanding(
        version=version,
        aliases=aliases,
        run_state=run.state,
        unfinished=_unfinished(run, version, store.stage_results.of_run(run.id)),
        gates=gates,
        gate_reason=reason,
    )


def latest(store: Store) -> PolicyVersion | None:
    """Return the newest version of a run that succeeded whose gates passed; never a control."""
    after = 0
    while True:
        versions, after = store.policy_versions.page(PAGE, after, newest=True)
        for version in versions:
            found = standing(store, version, {})
            if found.run_state == "SUCCEEDED" and found.is_fit:
                return version
        if not after:
            return None


def _unfinished(run: Run, version: PolicyVersion, results: Mapping[Stage, StageResult]) -> str:
    if version.is_control:
        return "it is a control of PPO, to be set beside a policy and not to be used"
    if run.state == "FAILED":
        return f"its run '{run.id}' failed"
    if "CANCELLED" in (run.state, run.requested):
        return f"its run '{run.id}' was cancelled"
    if all(result.policy_version != version.id for result in results.values()):
        return f"stage '{version.stage}' of its run '{run.id}' is not finished; the run is {run.state}"
    return ""


def _gates(store: Store, version: PolicyVersion) -> tuple[Gates, str]:
    """How the judges stand whose labels, or whose word on revisions, the version learned from; and what falls short."""
    results = results_of(store, version.run_id)
    if "reward" in results and version.stage == "ppo":
        models = [store.reward_models.get(name) for name in results["reward"].reward_models.values()]
        ungated = [model.objective for model in models if model.ungated]
        if ungated or version.ungated:
            return "failed", _short(measured_gates(store, results), ungated)
        judged = any(model.pairs > model.human_pairs + model.data_pairs for model in models)
        return ("passed" if judged else "none"), ""
    if version.ungated:
        return "failed", "a judge that had not passed its gate labelled what it learned from"
    if "critique" not in results:
        return "none", ""
    gates = measured_gates(store, results)
    if not gates:
        return "unmeasured", "the judge that checked its revisions has not been measured"
    failed = [gate.objective for gate in gates if not gate.passed]
    return ("failed", _short(gates, failed)) if failed else ("passed", "")


def measured_gates(store: Store, results: Mapping[Stage, StageResult]) -> list[JudgeGate]:
    """Return the last measure of each objective's gate, in the run that labelled."""
    if "label" not in results:
        return []
    # Of a panel that of all together: each of its judges has one too.
    gates = [gate for gate in store.gates.find(results["label"].run_id) if not gate.panel]
    return list({gate.objective: gate for gate in gates}.values())


def _short(gates: Sequence[JudgeGate], objectives: Sequence[str]) -> str:
    reasons = {gate.objective: gate.reason for gate in gates if not gate.passed}
    told = [f"{name}: {reasons.get(name) or 'its judge has not passed its gate'}" for name in objectives]
    return "; ".join(told) or "a judge that had not passed its gate labelled what it learned from"
