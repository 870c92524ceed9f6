"""What pretraining asks of the hidden states themselves: what a line is worth and risks, and what a reply comes to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlhf_core.sandbox.encoding import RISKS, WORTHS, Example
from rlhf_core.sandbox.world import KINDS

READING_WEIGHT, SUM_WEIGHT = 0.5, 0.5
"""Loss weights of what a line and a whole reply come to, against 1 for a token."""


class Understanding(nn.Module):
    """Reads what lines and replies come to off the hidden states. It shapes them in pretraining and is not kept."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.worth, self.risk = nn.Linear(width, len(WORTHS)), nn.Linear(width, RISKS)
        self.totals = nn.Linear(width, 1 + len(KINDS))

    def loss_sum(self, hidden: Tensor, examples: Sequence[Example]) -> Tensor:
        """Weighted cross-entropies of the readings and squared errors of the sums, of hidden states (B, L, H)."""
        readings = [(row, *reading) for row, example in enumerate(examples) for reading in example.readings]
        sums = [(row, *one) for row, example in enumerate(examples) for one in example.sums]
        if not readings:
            return hidden.new_zeros(())
        rows, places, worths, risks = zip(*readings, strict=True)
        states = hidden[list(rows), list(places)].float()
        loss = functional.cross_entropy(self.worth(states), torch.tensor(worths), reduction="sum")
        loss = loss + functional.cross_entropy(self.risk(states), torch.tensor(risks), reduction="sum")
        rows, places, numbers = zip(*sums, strict=True)
        states = hidden[list(rows), list(places)].float()
        return READING_WEIGHT * loss + SUM_WEIGHT * (self.totals(states) - torch.tensor(numbers)).square().sum()
