"""The Bradley-Terry loss for soft labels, by ensemble member (Bradley and Terry 1952; Christiano et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def bradley_terry_loss(
    scores_a: Tensor, scores_b: Tensor, probability: Tensor, weight: Tensor, center_coef: float = 0.0
) -> Tensor:
    """-p log s(r_a - r_b) - (1-p) log s(r_b - r_a), weighted and averaged, plus a penalty on (r_a + r_b)^2.

    scores (B, M); probability (B,) that a is better; weight (B, M), 0 leaves a pair out of a member's bootstrap.
    """
    targets = probability[:, None].expand_as(scores_a)
    loss = binary_cross_entropy_with_logits(scores_a - scores_b, targets, reduction="none")
    return (weight * (loss + center_coef * (scores_a + scores_b).square())).mean()


def preference_accuracy(scores_a: Tensor, scores_b: Tensor, probability: Tensor) -> tuple[float, int]:
    """Share of the pairs whose scores (B,) are ordered like the label, equal scores counting half, and how many pairs.

    Pairs labelled exactly 0.5 have no order and do not count; with none left the answer is (0.5, 0).
    """
    decided = probability != 0.5
    if not decided.any():
        return 0.5, 0
    margin = (scores_a - scores_b)[decided] * torch.sign(probability[decided] - 0.5)
    return float(((margin > 0).float() + 0.5 * (margin == 0)).mean()), int(decided.sum())


def bootstrap_weights(weights: Tensor, members: int, generator: torch.Generator) -> Tensor:
    """Weights (N, M) of each member's bootstrap of N pairs with weights (N,); a single member sees the data itself.

    The mean over all pairs and members is 1, so that the loss has the same size for any weights.
    """
    count = len(weights)
    if members == 1:
        draws = torch.ones(count, 1)
    else:
        chosen = torch.randint(count, (members, count), generator=generator)
        draws = torch.stack([torch.bincount(row, minlength=count).float() for row in chosen], 1)
    scaled = draws * weights[:, None]
    return scaled / scaled.mean()
