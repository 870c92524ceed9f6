"""From the heads of an ensemble to the score of a reply: steps, length, and what the members' doubt costs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlhf_core.config.reward import Aggregate, StepPool
from rlhf_core.records.base import Record


class Scoring(Record):
    """How one reward model reads and scores. It is saved with the heads, so a version's scores never change."""

    process: bool = False
    """Score each line of a reply, and the reply by its lines."""
    step_pool: StepPool = "min"
    aggregate: Aggregate = "mean"
    uwo_coef: float = 0.1
    max_tokens: int | None = None
    layers: int | None = None
    """Of the base that are read, from below; None reads all."""
    reference_tokens: int = 0
    """Most tokens of the base's own answer, which is read before the reply; 0 reads none."""
    member_mean: tuple[float, ...] = ()
    """Of each member over replies of the training labels; with `member_sd` the unit of `uwo` and `wco`."""
    member_sd: tuple[float, ...] = ()
    length_slope: float = 0.0
    """Score that a token is worth by itself; taken off, so that length no longer pays."""
    mean_length: float = 0.0

    @property
    def is_plain(self) -> bool:
        """The score is the mean of the raw ones."""
        return self.aggregate == "mean" and not self.length_slope


def pool_steps(steps: Tensor, counts: Sequence[int], pool: StepPool) -> Tensor:
    """Return scores (R, M) of replies from those (S, M) of their steps, `counts` (R) of them in each reply.

    `min`: a reply is as good as its worst step (Lightman et al. 2023 take the product, which behaves like it). `sum`:
    steps add up, so that a reply of fewer good steps is worth less.
    """
    if len(steps) == len(counts):
        return steps
    parts = steps.split(list(counts))
    pooled = {
        "min": lambda part: part.amin(0),
        "mean": lambda part: part.mean(0),
        "sum": lambda part: part.sum(0),
        "last": lambda part: part[-1],
    }[pool]
    return torch.stack([pooled(part) for part in parts])


def ensemble_scores(members: Tensor, lengths: Tensor, scoring: Scoring) -> Tensor:
    """Return members' scores (B, M), shifted so that their mean over M is the ensemble's score.

    `mean` is the mean of the logits. `uwo` is mean - c var and `wco` the minimum over members in units of their own
    standard deviation (Coste et al. 2023), as the members' zeros and scales are arbitrary. lengths (B,) in tokens.
    """
    members = members - scoring.length_slope * (lengths - scoring.mean_length)[:, None]
    if scoring.aggregate == "mean" or not len(members):
        return members
    z = (members - torch.tensor(scoring.member_mean)) / torch.tensor(scoring.member_sd)
    mean = z.mean(1)
    cautious = z.amin(1) if scoring.aggregate == "wco" else mean - scoring.uwo_coef * z.var(1, correction=0)
    return z + (cautious - mean)[:, None]


def in_score_units(steps: Tensor, scoring: Scoring) -> Tensor:
    """Return members' scores (S, M) of steps in the unit of `ensemble_scores`, to set them beside replies'."""
    return steps if scoring.aggregate == "mean" else steps / torch.tensor(scoring.member_sd)


def fitted(scoring: Scoring, members: Tensor, lengths: Tensor, correct_length: bool) -> Scoring:
    """Fit the scoring's scale to members (N, M) and lengths (N,) of replies that the labels are about.

    The length slope is that of the least-squares line of the mean score; the members' scale is what is left after it.
    """
    away = lengths - lengths.mean()
    slope = float(away @ members.mean(1) / away.square().sum().clamp_min(1e-12)) if correct_length else 0.0
    left = members - slope * away[:, None]
    return scoring.model_copy(
        update={
            "member_mean": tuple(left.mean(0).tolist()),
            "member_sd": tuple(left.std(0, correction=0).clamp_min(1e-8).tolist()),
            "length_slope": slope,
            "mean_length": float(lengths.mean()),
        }
    )
