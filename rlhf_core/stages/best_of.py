"""Best-of-n of the reference policy: what choosing by the reward models gains, before anything is trained on them."""

from __future__ import annotations

from rlhf_core.errors import TrainingFailed
from rlhf_core.evaluation.best_of_n import BestOfN, best_of_n_curves
from rlhf_core.evaluation.rows import PolicyRows
from rlhf_core.run_records import NormPack
from rlhf_core.stages.context import Context
from rlhf_core.stages.prompts import draw, prompts_of
from rlhf_core.stages.sampling import gold_scores, sample_all

BEST_OF = "best_of"
"""The stage that these samples are stored under."""


def choose_best(ctx: Context, version: str, pack: NormPack, auditor_pack: NormPack | None) -> int:
    """Sample, score, store, and note each objective's gain by its auditor; returns how many samples there are.

    Raises: TrainingFailed where an auditor sees no gain and `norm.require_gain` asks for one.
    """
    settings = ctx.config.norm
    everything = prompts_of(ctx, "heldout")
    prompts = draw(everything, min(settings.best_of_prompts, len(everything)), ctx.config.seed, BEST_OF)
    samples = sample_all(ctx, BEST_OF, prompts, version, settings.best_of, ctx.config.ppo.temperature)
    models = [*pack.reward_models, *(auditor_pack.reward_models if auditor_pack else ())]
    scores = ctx.tools.scorer.score(samples, models)
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        ctx.store.add_scores(scores)
        ctx.store.add_gold(gold_scores(ctx, samples))
    rows = PolicyRows("reference", version, samples, scores)
    # As the report draws them: a gain at the edge of its interval must not be accepted here and refused there.
    resamples, seed = ctx.config.evaluation.bootstrap, ctx.config.seed
    curves = best_of_n_curves(rows, pack, auditor_pack, resamples=resamples, seed=seed)
    for curve in curves:
        ctx.note(_said(curve))
    refused = [curve.objective for curve in curves if curve.accepted is False]
    if refused and settings.require_gain:
        raise TrainingFailed(
            f"the reward model of {' and '.join(refused)} is not accepted: choosing the best of {curves[0].n[-1]} "
            "replies by it gains nothing by its auditor. More labels or another judge may help; "
            "norm.require_gain=false goes on"
        )
    return len(samples)


def _said(curve: BestOfN) -> str:
    """Gold is for the report: what is said here may move someone to go on or to stop."""
    gain, n = curve.gains["proxy"][-1], curve.n[-1]
    text = f"{curve.objective}: the best of {n} by its reward model gains {gain.value:.2f} reference sd by itself"
    if curve.accepted is None:
        return f"{text}; without an auditor nothing can be said of its worth"
    checked = curve.gains["auditor"][-1]
    by_auditor = f"{checked.value:.2f} ({checked.low:.2f} to {checked.high:.2f}) by its auditor"
    verdict = "accepted" if curve.accepted else "NOT accepted: its auditor sees no gain, PPO would train on its faults"
    return f"{text}, {by_auditor}: {verdict}"
