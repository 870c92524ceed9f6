"""Log-probabilities of given responses under the active adapter, never holding logits of more than a chunk of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rlhf_core.models.backbone import Backbone


class Batch(NamedTuple):
    """Prompts padded on the left, responses on the right, so that all responses begin in one column.

    ids, present (B, P+T); mask (B, T) is 1 on response tokens. The padding's id counts nowhere.
    """

    ids: Tensor
    present: Tensor
    mask: Tensor

    @property
    def targets(self) -> Tensor:
        """The response's ids (B, T)."""
        return self.ids[:, -self.mask.shape[1] :]

    def rows(self, index: Tensor) -> Batch:
        """The chosen rows, without the columns that are padding in all of them."""
        ids, present, mask = self.ids[index], self.present[index], self.mask[index]
        prompt_width = ids.shape[1] - mask.shape[1]
        first = prompt_width - int(present[:, :prompt_width].sum(1).max())
        end = int(mask.sum(1).max())
        last = prompt_width + end
        return Batch(ids[:, first:last], present[:, first:last], mask[:, :end])


def make_batch(backbone: Backbone, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Batch:
    """Pad prompts and responses to one batch on the backbone's device."""
    for prompt, response in zip(prompts, responses, strict=True):
        backbone.check_length(len(prompt), len(response))
    ids, present = backbone.pad_left(prompts)
    width = max(map(len, responses))
    tail = torch.tensor([[*row, *[0] * (width - len(row))] for row in responses], device=ids.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in responses], device=ids.device)
    return Batch(torch.cat([ids, tail], 1), torch.cat([present, mask], 1), mask)


def token_logprobs(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature) at the targets, (B, T), from logits (B, T, V), in 32-bit floats."""
    scaled = logits.float() / temperature
    return scaled.gather(-1, targets[..., None]).squeeze(-1) - scaled.logsumexp(-1)


def token_entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy in nats of each position's distribution, (B, T)."""
    logprobs = (logits.float() / temperature).log_softmax(-1)
    return -(logprobs.exp() * logprobs).sum(-1)


def response_logprobs(backbone: Backbone, batch: Batch, temperature: float = 1.0, chunk: int = 64) -> Tensor:
    """Log-probs (B, T) of the batch's response tokens under the active adapter, no gradients; 0 where masked."""
    rows = []
    with torch.no_grad():
        for ids, present, mask in zip(*(part.split(chunk) for part in batch), strict=True):
            logits = backbone.forward(ids, present, mask.shape[1] + 1).logits[:, :-1]
            rows.append(token_logprobs(logits, ids[:, -mask.shape[1] :], temperature) * mask)
    return torch.cat(rows)
