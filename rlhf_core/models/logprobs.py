"""Log-probabilities of given responses under the active adapter, never holding logits of more than a chunk of rows."""

from __future__ import annotations

import torch
from torch import Tensor

from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import Batch


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
