"""What people's labels of a run's pairs would tell its reward models, computed once these are trained."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import torch

from rlhf_core.feedback.pair_information import coverage_debts, pair_information
from rlhf_core.records.queue import PairInformation
from rlhf_core.records.samples import Comparison
from rlhf_core.reward_models.reward_model import RewardModel, score_all
from rlhf_core.stages.context import Context, chunks
from rlhf_core.stages.labelling.rounds import label_runs

CHUNK = 64
"""Pairs that are scored in one unit of model work."""


def information_of(ctx: Context, model: RewardModel) -> list[PairInformation]:
    """Score the pairs of the run's labels with every head of a trained model, and say which are worth asking about.

    Nothing where the model has one head, which contradicts nobody, or the run has no pairs.
    """
    labelled = ctx.results.get("label")
    runs = label_runs(ctx, labelled.run_id) if labelled and model.members > 1 else []
    pairs = {pair.id: pair for run in runs for pair in ctx.store.comparisons.of_run(run)}
    if not pairs:
        return []
    find, objective = ctx.store.preferences.find, model.objective
    judged = {label.comparison_id: label for run in runs for label in find(objective, run, "ai")}
    people = Counter(label.comparison_id for label in find(objective, labelers="human") if label.choice != "skip")
    serving = {one.hash for one in ctx.constitution.principles if objective in one.serves}
    judged_by: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        for vote in ctx.store.votes.find(run_id=run):
            if vote.principle_hash in serving:
                judged_by[vote.comparison_id].add(vote.principle_hash)
    margins = torch.cat(list(_margins(ctx, model, list(pairs.values())))).double().numpy()
    debts = coverage_debts(judged_by, people)
    return pair_information(list(pairs), objective, ctx.run.id, margins, judged, debts)


def _margins(ctx: Context, model: RewardModel, pairs: list[Comparison]) -> Iterator[torch.Tensor]:
    """Each head's difference in score (n, M), piece by piece."""
    for piece in chunks(pairs, CHUNK):
        replies = [(pair.prompt, sample.response) for pair in piece for sample in (pair.a, pair.b)]
        scores = ctx.tools.on_device(lambda part=replies: score_all([model], part, raw=True))[0].replies
        yield scores[::2] - scores[1::2]
