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
from rlhf_core.training.ppo.losses import masked_mean


def train_sft(
    backbone: Backbone,
    adapter: str,
    demonstrations: Sequence[Demonstration],
    config: SftConfig,
    seed: int,
    snapshot: Path | None = None,
    keep: Keep = keep_nothing,
) -> Iterator[StepMetrics]:
    """Minimise the mean negative log-probability of the response tokens, the end token included; yields each update.

    With a snapshot, go on as if never interrupted.
    """
    if not demonstrations:
        raise TrainingFailed("there are no demonstrations for supervised fine-tuning")
    prompts = [backbone.render(demonstration.prompt.messages) for demonstration in demonstrations]
    responses = [backbone.encode_response(demonstration.response) for demonstration in demonstrations]
    lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
    batches_per_epoch = -(-len(prompts) // config.batch_size)
    steps = config.epochs * batches_per_epoch
    optimizer = Optimizer(backbone.adapters.parameters(adapter), config.learning_rate, steps)
    state = EpochState.begin(optimizer, snapshot)
    done = optimizer.update
    generator = torch.Generator().manual_seed(derived_seed(seed, "sft"))
    for epoch in range(config.epochs):
        batches = shuffled_batches(lengths, config.batch_size, generator)
        for rows in batches[max(0, done - epoch * len(batches)) :]:
            started = time.perf_counter()
            batch = make_batch(backbone, [prompts[i] for i in rows], [responses[i] for i in rows])
            rate = optimizer.rate
            with backbone.adapters.using(adapter, train=True):
                loss, norm = _update(backbone, batch, config.micro_batch_size or len(rows), optimizer)
            values = {"loss": loss, "grad_norm": norm, "learning_rate": rate}
            values |= {"tokens": float(batch.mask.sum()), "seconds": time.perf_counter() - started}
            keep(state)
            yield StepMetrics(stage="sft", step=optimizer.update, steps=steps, values=values)


def _update(backbone: Backbone, batch: Batch, rows_per_pass: int, optimizer: Optimizer) -> tuple[float, float]:
    """Take a gradient step in as many passes as it needs; returns its loss and the gradient's norm before the clip."""
    where, count, total = f"step {optimizer.update} of supervised fine-tuning", batch.mask.sum(), 0.0
    optimizer.discard()
    for part in torch.arange(len(batch.ids)).split(rows_per_pass):
        micro = batch.rows(part) if len(part) < len(batch.ids) else batch
        loss = -masked_mean(response_tokens(backbone, micro).logprobs, micro.mask, count)
        optimizer.accumulate(loss, where)
        total += loss.item()
    return total, optimizer.apply(where)
