"""Supervised fine-tuning: the adapter learns to give the demonstrations' responses."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from rlhf_core.config.run import SftConfig
from rlhf_core.errors import TrainingFailed
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import Batch, make_batch, shuffled_batches
from rlhf_core.models.logprobs import response_tokens
from rlhf_core.records.runs import StepMetrics
from rlhf_core.records.samples import Demonstration
from rlhf_core.seeding import derived_seed
from rlhf_core.training.epoch_state import EpochState, Keep, keep_nothing
from rlhf_core.training.optimizer import Optimizer
from rlhf_core.training.parallel import ALONE, Ranks
from rlhf_core.training.ppo.losses import masked_mean
from rlhf_core.training.rehearsal import divergence, rehearsed, texts_at_once


def train_sft(
    backbone: Backbone,
    adapter: str,
    demonstrations: Sequence[Demonstration],
    config: SftConfig,
    seed: int,
    snapshot: Path | None = None,
    keep: Keep = keep_nothing,
    ranks: Ranks = ALONE,
    texts: Sequence[Sequence[int]] = (),
) -> Iterator[StepMetrics]:
    """Minimise the mean negative log-probability of the response tokens, the end token included; yields each update.

    With `texts`, which the base wrote, the divergence from it on them is minimised too, by `rehearsal_coef`.
    With a snapshot, go on as if never interrupted. Processes that learn together share the rows of each update.
    """
    if not demonstrations:
        raise TrainingFailed("there are no demonstrations for supervised fine-tuning")
    prompts = [backbone.render(demonstration.prompt.messages) for demonstration in demonstrations]
    responses = [backbone.encode_response(shown.response, shown.ended) for shown in demonstrations]
    lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
    batches_per_epoch = -(-len(prompts) // config.batch_size)
    steps = config.epochs * batches_per_epoch
    optimizer = Optimizer(backbone.adapters.parameters(adapter), config.learning_rate, steps, ranks=ranks)
    state = EpochState.begin(optimizer, snapshot)
    done = optimizer.update
    generator = torch.Generator().manual_seed(derived_seed(seed, "sft"))
    for epoch in range(config.epochs):
        batches = shuffled_batches(lengths, config.batch_size, generator)
        for rows in batches[max(0, done - epoch * len(batches)) :]:
            started = time.perf_counter()
            batch = make_batch(backbone, [prompts[i] for i in rows], [responses[i] for i in rows])
            rate, values = optimizer.rate, dict[str, float]()
            optimizer.discard()
            with backbone.adapters.using(adapter, train=True):
                values["loss"] = _learn(backbone, batch, config.micro_batch_size or len(rows), optimizer)
                if texts:
                    values["rehearsal_kl"] = _rehearse(backbone, texts, config, optimizer)
            values |= {"grad_norm": optimizer.apply(_place(optimizer)), "learning_rate": rate}
            values |= {"tokens": float(batch.mask.sum()), "seconds": time.perf_counter() - started}
            keep(state)
            yield StepMetrics(stage="sft", step=optimizer.update, steps=steps, values=values)


def _learn(backbone: Backbone, batch: Batch, rows_per_pass: int, optimizer: Optimizer) -> float:
    """Add the gradient of the demonstrations' loss, in as many passes as it needs; returns the loss."""
    count, ranks = batch.mask.sum(), optimizer.ranks
    total = torch.zeros((), device=batch.ids.device)
    for part, weight in ranks.passes(torch.arange(len(batch.ids)), rows_per_pass):
        micro = batch.rows(part) if len(part) < len(batch.ids) else batch
        loss = -weight * masked_mean(response_tokens(backbone, micro).logprobs, micro.mask, count)
        optimizer.accumulate(loss, _place(optimizer))
        total += loss.detach()
    return ranks.total(total).item()


def _rehearse(backbone: Backbone, texts: Sequence[Sequence[int]], config: SftConfig, optimizer: Optimizer) -> float:
    """Add the gradient of the divergence from the base, by its weight; returns it, in nats a token."""
    batch, ranks = rehearsed(backbone, texts, config, optimizer.update), optimizer.ranks
    total = torch.zeros((), device=batch.ids.device)
    for part, weight in ranks.passes(torch.arange(len(batch.ids)), texts_at_once(backbone, config)):
        micro = batch.rows(part) if len(part) < len(batch.ids) else batch
        away = weight * divergence(backbone, micro) / batch.mask.sum()
        optimizer.accumulate(config.rehearsal_coef * away, _place(optimizer))
        total += away.detach()
    return ranks.total(total).item()


def _place(optimizer: Optimizer) -> str:
    return f"step {optimizer.update} of supervised fine-tuning"
