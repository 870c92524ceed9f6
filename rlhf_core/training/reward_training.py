"""Training of one objective's reward model on soft labels, each ensemble member on its own bootstrap of the pairs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rlhf_core.config import RewardConfig
from rlhf_core.errors import InvalidInput, TrainingFailed
from rlhf_core.models.batching import shuffled_batches
from rlhf_core.models.generation import derived_seed
from rlhf_core.models.reward_model import RewardModel
from rlhf_core.records import Prompt
from rlhf_core.run_records import StepMetrics
from rlhf_core.training.optimizer import Optimizer
from rlhf_core.training.preference import bootstrap_weights, bradley_terry_loss, preference_accuracy


class LabelledPair(NamedTuple):
    """Two responses to one prompt, and the probability that a is the better one."""

    prompt: Prompt
    a: str
    b: str
    probability: float
    weight: float = 1.0
    source: Literal["ai", "human", "data"] = "ai"


def train_reward_model(
    model: RewardModel, pairs: Sequence[LabelledPair], config: RewardConfig, seed: int
) -> Iterator[StepMetrics]:
    """Minimise the weighted Bradley-Terry loss; yields each update. `config.members` is the model's own affair."""
    _check(model, pairs)
    rows_a = [model.encode(pair.prompt, pair.a) for pair in pairs]
    rows_b = [model.encode(pair.prompt, pair.b) for pair in pairs]
    lengths = [max(len(a), len(b)) for a, b in zip(rows_a, rows_b, strict=True)]
    generator = torch.Generator().manual_seed(derived_seed(seed, "reward", model.objective))
    probability = torch.tensor([pair.probability for pair in pairs])
    weights = bootstrap_weights(torch.tensor([pair.weight for pair in pairs]), model.members, generator)
    steps = config.epochs * -(-len(pairs) // config.batch_size)
    optimizer = Optimizer(model.parameters(), config.learning_rate, steps)
    for _ in range(config.epochs):
        for rows in shuffled_batches(lengths, config.batch_size, generator):
            started, rate, device = time.perf_counter(), optimizer.rate, model.backbone.device
            with model.backbone.using(model.adapter, train=True):
                both = model.forward([rows_a[i] for i in rows] + [rows_b[i] for i in rows], train=True)
                a, b = both.split(len(rows))
                targets = probability[rows].to(device)
                loss = bradley_terry_loss(a, b, targets, weights[rows].to(device), config.center_coef)
                norm = optimizer.step(loss, f"step {optimizer.update} of the reward model of '{model.objective}'")
            values = {"loss": loss.item(), "grad_norm": norm, "learning_rate": rate, **_margins(a, b, targets)}
            values["seconds"] = time.perf_counter() - started
            yield StepMetrics(stage=f"reward/{model.objective}", step=optimizer.update, steps=steps, values=values)


def pairwise_accuracy(model: RewardModel, pairs: Sequence[LabelledPair]) -> tuple[float, int]:
    """Share of the pairs that the ensemble's mean orders like the label, and how many pairs have an order."""
    if not pairs:
        return 0.5, 0
    a = model.score([(pair.prompt, pair.a) for pair in pairs]).mean(1)
    b = model.score([(pair.prompt, pair.b) for pair in pairs]).mean(1)
    return preference_accuracy(a, b, torch.tensor([pair.probability for pair in pairs]))


@torch.no_grad()
def _margins(a: Tensor, b: Tensor, probability: Tensor) -> dict[str, float]:
    accuracy, _ = preference_accuracy(a.mean(1), b.mean(1), probability)
    margin = (a - b).mean(1) * torch.sign(probability - 0.5)
    return {"accuracy": accuracy, "margin": margin.mean().item(), "mean_score": torch.cat([a, b]).mean().item()}


def _check(model: RewardModel, pairs: Sequence[LabelledPair]) -> None:
    if not any(pair.weight > 0 and pair.probability != 0.5 for pair in pairs):
        raise TrainingFailed(f"objective '{model.objective}' has no pair with a preference among its {len(pairs)}")
    for pair in pairs:
        if not 0 <= pair.probability <= 1 or not 0 <= pair.weight < float("inf"):
            raise InvalidInput(
                f"a pair of '{model.objective}' has probability {pair.probability} and weight {pair.weight}; "
                "allowed: a probability from 0 to 1, a finite weight of at least 0"
            )
