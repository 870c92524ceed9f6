"""What people's labels of a run's pairs would tell its reward models, computed once these are trained."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import torch

from rlhf_core.feedback.pair_information import coverage_debts, pair_information
from rlhf_core.records.queue import PairInformation
from rlhf_core.records.samples import Comparison
from rlhf_core.reward_models.reward_model import RewardModel, score_all
from rlhf_core.stages.context import Context, RunStopped, chunks
from rlhf_core.stages.labelling.rounds import label_runs
from rlhf_core.stages.versions import drop_adapters, load_reward_models

CHUNK = 64
"""Pairs that are scored in one unit of model work."""


def store_information(ctx: Context, versions: Mapping[str, str]) -> None:
    """Store which pairs of the run's labels are worth asking about, by every head of its reward models.

    Nothing where models have one head, which contradicts nobody, or the run has no pairs. `versions` are the stored
    reward models by objective. Raises RunStopped when the run was asked to stop; it begins anew when it is resumed.
    """
    labelled = ctx.results.get("label")
    runs = label_runs(ctx, labelled.run_id) if labelled and ctx.config.reward.members > 1 else []
    known = {pair.id: pair for run in runs for pair in ctx.store.comparisons.of_run(run)}
    if not known:
        return
    # Those of like length are read together, with less padding.
    pairs = sorted(known.values(), key=lambda pair: len(pair.a.response) + len(pair.b.response))
    models = list(load_reward_models(ctx, versions, f"told-{ctx.run.id}").values())
    try:
        margins = _margins(ctx, models, pairs)
    finally:
        drop_adapters(ctx, [], models)
    told = [
        one
        for own, model in zip(margins, models, strict=True)
        for one in _told(ctx, model, runs, [pair.id for pair in pairs], own)
    ]
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        ctx.store.pair_information.put(told)


def _told(
    ctx: Context, model: RewardModel, runs: Sequence[str], pairs: Sequence[str], margins: torch.Tensor
) -> list[PairInformation]:
    find, objective = ctx.store.preferences.find, model.objective
    judged = {label.comparison_id: label for run in runs for label in find(objective, run, "ai")}
    people = Counter(label.comparison_id for label in find(objective, labelers="human") if label.choice != "skip")
    serving = {one.hash for one in ctx.constitution.principles if objective in one.serves}
    judged_by: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        for vote in ctx.store.votes.find(run_id=run):
            if vote.principle_hash in serving:
                judged_by[vote.comparison_id].add(vote.principle_hash)
    debts = coverage_debts(judged_by, people)
    return pair_information(pairs, objective, ctx.run.id, margins.double().numpy(), judged, debts)


def _margins(ctx: Context, models: Sequence[RewardModel], pairs: Sequence[Comparison]) -> list[torch.Tensor]:
    """Each model's differences in score (N, M), by its heads. Raises RunStopped when the run was asked to stop."""
    ctx.note(f"scoring {len(pairs)} pairs, to say which of them people should label first")
    found: list[list[torch.Tensor]] = [[] for _ in models]
    for piece in chunks(pairs, CHUNK):
        replies = [(pair.prompt, sample.response) for pair in piece for sample in (pair.a, pair.b)]
        scored = ctx.tools.on_device(lambda part=replies: score_all(models, part, raw=True))
        for own, members in zip(found, scored, strict=True):
            own.append(members.replies[::2] - members.replies[1::2])
        if ctx.should_stop():
            raise RunStopped(f"run {ctx.run.id} stopped while its pairs were scored")
    return [torch.cat(own) for own in found]
