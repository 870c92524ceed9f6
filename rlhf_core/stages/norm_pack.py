"""The stage that sets the scale: the reference policy's scores, and what choosing the best of n by them gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rlhf_core.data.prompt_draws import draw
from rlhf_core.errors import TrainingFailed
from rlhf_core.evaluation.best_of_n import BestOfN, best_of_n_curves
from rlhf_core.evaluation.norm_pack import build_norm_pack
from rlhf_core.evaluation.policy_rows import PolicyRows
from rlhf_core.records.models import NormPack, Score
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Sample
from rlhf_core.stages.context import Context, Timer, chunks
from rlhf_core.stages.prompts import prompts_of
from rlhf_core.stages.samples import gold_scores, sample_all

BEST_OF = "best_of"
"""The stage that these samples are stored under."""


def choose_best(ctx: Context, version: str, pack: NormPack, auditor_pack: NormPack | None) -> int:
    """Sample, score, store, and note each objective's gain by its auditor; return how many samples there are.

    Raises: TrainingFailed where an auditor sees no gain and `norm.require_gain` asks for one.
    """
    settings = ctx.config.norm
    everything = prompts_of(ctx, "heldout")
    prompts = draw(everything, min(settings.best_of_prompts, len(everything)), ctx.config.seed, BEST_OF)
    samples = sample_all(ctx, BEST_OF, prompts, version, settings.best_of, ctx.config.ppo.temperature)
    models = [*pack.reward_models, *(auditor_pack.reward_models if auditor_pack else ())]
    scores = ctx.tools.scorer.score(samples, models)
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        ctx.store.scores.add(scores)
        ctx.store.gold_scores.add(gold_scores(ctx, samples))
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


def norm_pack_stage(ctx: Context) -> StageResult:
    """Score samples of the reference policy; their mean and spread are the unit of every weight in the run."""
    timer, settings = Timer(), ctx.config.norm
    everything = prompts_of(ctx, "train")
    prompts = draw(everything, min(settings.prompts, len(everything)), ctx.config.seed, "norm_pack")
    version = ctx.need("sft").policy_version
    # As rollouts are sampled: at another temperature the same policy would start above or below 0.
    rewarded, samples = ctx.need("reward"), list[Sample]()
    count = len(prompts) * settings.samples
    total = count * (3 if rewarded.auditors else 2)
    for piece in chunks(prompts, ctx.piece(len(prompts))):
        samples += sample_all(ctx, "norm_pack", piece, version, settings.samples, ctx.config.ppo.temperature)
        ctx.progress("norm_pack", len(samples), total)
    grades = gold_scores(ctx, samples)
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        ctx.store.gold_scores.add(grades)
    pack = _pack(ctx, version, samples, rewarded.reward_models, count, total)
    auditor_pack = _pack(ctx, version, samples, rewarded.auditors, 2 * count, total) if rewarded.auditors else None
    counts = {"samples": len(samples)}
    if settings.best_of:
        counts["best_of"] = choose_best(ctx, version, pack, auditor_pack)
    return StageResult(
        run_id=ctx.run.id,
        stage="norm_pack",
        norm_pack=pack.id,
        auditor_pack=auditor_pack.id if auditor_pack else "",
        counts=counts,
        seconds=timer.seconds,
    )


def _pack(
    ctx: Context, version: str, samples: Sequence[Sample], models: Mapping[str, str], done: int, total: int
) -> NormPack:
    """The NormPack of reward models, by objective, on samples of the reference policy; stored with their scores.

    `done` samples of the stage's `total` are behind it, each counted once when it is drawn and once for each scoring.
    """
    scores: list[Score] = []
    for piece in chunks(samples, ctx.piece(len(samples))):
        scores += ctx.tools.scorer.score(piece, list(models.values()))
        ctx.progress("norm_pack", done + len(scores) // len(models), total)
    found = {(score.reward_model, score.sample_id): score.score for score in scores}
    pack = build_norm_pack(
        run_id=ctx.run.id,
        policy_version=version,
        objectives=tuple(models),
        reward_models=tuple(models.values()),
        scores=np.array([[found[model, sample.id] for sample in samples] for model in models.values()]),
        lengths=np.array([sample.tokens for sample in samples], dtype=float),
        temperature=ctx.config.ppo.temperature,
    )
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        ctx.store.scores.add(scores)
        ctx.store.norm_packs.add(pack)
    return pack
