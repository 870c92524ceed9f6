"""The losses of preference labels, by example and ensemble member: pairs, ties, rankings, ratings, steps.

Scores have the members last; every loss is (B, M), so that weights and bootstraps apply to all kinds alike.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax


def bradley_terry(scores_a: Tensor, scores_b: Tensor, probability: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """Return -p log s(d) - (1-p) log s(-d) with d = r_a - r_b - margin.

    Bradley and Terry 1952; Christiano et al. 2017.

    scores (B, M); probability (B,) that a is better. margin (B,) is how far the better reply has to lead (Touvron et
    al. 2023); it counts towards the reply that the label prefers.
    """
    targets = probability[:, None].expand_as(scores_a)
    return binary_cross_entropy_with_logits(_lead(scores_a, scores_b, probability, margin), targets, reduction="none")


def davidson(
    scores_a: Tensor,
    scores_b: Tensor,
    probability: Tensor,
    tie: Tensor,
    log_tie: Tensor,
    margin: Tensor | float = 0.0,
) -> Tensor:
    """Return the cross-entropy of a better, b better or tie, whose odds are e^{d/2} : e^{-d/2} : v (Davidson 1970).

    tie (B,) is the label's probability of a tie, `probability` that of a where there is none; log_tie (M,) is log v of
    each member. As v goes to 0 and without ties this is `bradley_terry`.
    """
    half = _lead(scores_a, scores_b, probability, margin) / 2
    outcomes = log_softmax(torch.stack([half, -half, log_tie.expand_as(half)]), dim=0)
    targets = torch.stack([probability * (1 - tie), (1 - probability) * (1 - tie), tie])
    return -(targets[..., None] * outcomes).sum(0)


def plackett_luce(scores: Tensor, ranks: Tensor) -> Tensor:
    """Return -log of the chance to draw the replies in order of rank, each by e^r among those left.

    Luce 1959, Plackett 1975.

    scores (B, N, M); ranks (B, N) from the best (lowest) on, infinite where there is no reply. Replies of one rank are
    drawn from the same set (Breslow 1974). Two replies of different rank are one pair of `bradley_terry`.
    """
    present = ranks.isfinite()
    left = (ranks[:, None, :] >= ranks[:, :, None]) & present[:, None, :]  # (B, N, N): who is left as i is drawn
    rivals = scores[:, None].masked_fill(~left[..., None], -torch.inf).logsumexp(2)
    return torch.where(present[..., None], rivals - scores, 0.0).sum(1)


def squared_error(scores: Tensor, ratings: Tensor) -> Tensor:
    """Return (r - y)^2 of scores (B, M) and ratings (B,)."""
    return (scores - ratings[:, None]).square()


def step_cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy (1, M) of a reply's step scores (S, M) and labels (S,) (Lightman et al. 2023).

    Labels lie in [0, 1]."""
    targets = labels[:, None].expand_as(scores)
    return binary_cross_entropy_with_logits(scores, targets, reduction="none").mean(0, keepdim=True)


def preference_accuracy(scores_a: Tensor, scores_b: Tensor, probability: Tensor) -> tuple[float, int]:
    """Return the share of pairs whose scores (B,) are ordered like the label, equal ones as half, and their number.

    Pairs labelled exactly 0.5 have no order and do not count; with none left the answer is (0.5, 0).
    """
    decided = probability != 0.5
    if not decided.any():
        return 0.5, 0
    margin = (scores_a - scores_b)[decided] * torch.sign(probability[decided] - 0.5)
    return float(((margin > 0).float() + 0.5 * (margin == 0)).mean()), int(decided.sum())


def tie_odds(tied: int, pairs: int) -> float:
    """Return v of `davidson` with which replies of equal score tie as often as `tied` of the `pairs`.

    Half a tie and half a decided pair are added.
    """
    share = (tied + 0.5) / (pairs + 1)
    return 2 * share / (1 - share)


def bootstrap_weights(weights: Tensor, members: int, generator: torch.Generator) -> Tensor:
    """Return weights (N, M) of each member's bootstrap of N labels with weights (N,).

    A single member sees the data itself.

    Labels of weight 0 are not drawn. The mean over all labels and members is 1, so that the loss has the same size for
    any weights.
    """
    count, usable = len(weights), weights.nonzero().squeeze(1)
    if members == 1:
        draws = torch.ones(count, 1)
    else:
        chosen = usable[torch.randint(len(usable), (members, len(usable)), generator=generator)]
        draws = torch.stack([torch.bincount(row, minlength=count).float() for row in chosen], 1)
    scaled = draws * weights[:, None]
    return scaled / scaled.mean()


def _lead(scores_a: Tensor, scores_b: Tensor, probability: Tensor, margin: Tensor | float) -> Tensor:
    asked = margin * torch.sign(probability - 0.5)
    return scores_a - scores_b - asked[:, None]
