"""Log-probabilities of given replies: what the conversations before them have in common is read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from rlhf_core.inference.choice_logprobs import families_for
from rlhf_core.inference.kv_cache import roomy_cache
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.logprobs import token_logprobs
from rlhf_core.records.samples import Message

MAX_TOKENS = 2048
"""Tokens of one pass behind what is shared; the logits of a chunk of them are the most that is held."""
CHUNK = 128
"""Tokens whose logits are made at a time."""


@torch.inference_mode()
def reply_logprobs(
    backbone: Backbone, conversations: Sequence[Sequence[Message]], replies: Sequence[str]
) -> list[float]:
    """Return log p(reply, end of turn | conversation) in nats, summed over the reply's tokens, for each pair."""
    prompts = [backbone.render(conversation) for conversation in conversations]
    ends = [backbone.encode_response(reply) for reply in replies]
    for prompt, end in zip(prompts, ends, strict=True):
        backbone.check_length(len(prompt), len(end))
    results = [0.0] * len(prompts)
    for prefix, members in families_for(backbone, prompts):
        for part in _parts(members, [len(prompts[i]) - prefix + len(ends[i]) for i in members]):
            own = [prompts[i][prefix:] for i in part]
            sums = _sums(backbone, prompts[part[0]][:prefix], own, [ends[i] for i in part])
            for i, value in zip(part, sums, strict=True):
                results[i] = value
    return results


def _parts(members: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows of like length together, as many as MAX_TOKENS hold."""
    part: list[int] = []
    for length, row in sorted(zip(lengths, members, strict=True)):
        if part and (len(part) + 1) * length > MAX_TOKENS:
            yield part
            part = []
        part.append(row)
    yield part


def _sums(backbone: Backbone, prefix: list[int], own: Sequence[list[int]], ends: Sequence[list[int]]) -> list[float]:
    """Summed log-probs of `ends`, each after the shared prefix and what is its own before it."""
    ids, mask = backbone.pad_left([[*before, *end[:-1]] for before, end in zip(own, ends, strict=True)])
    width = max(map(len, ends))
    cache = None
    if prefix:
        cache = roomy_cache(backbone.model.config, len(prefix) + ids.shape[1])
        shared, present = backbone.pad_left([prefix])
        backbone.hidden(shared, present, 1, cache)
        cache.batch_select_indices(torch.zeros(len(own), dtype=torch.long, device=ids.device))
        mask = torch.cat([present.expand(len(own), -1), mask], 1)
    output = backbone.forward if not backbone.head_is_plain else None
    states = output(ids, mask, width, cache).logits if output else backbone.hidden(ids, mask, width, cache)
    rows = [states[i, width - len(end) :] for i, end in enumerate(ends)]
    targets = torch.tensor([token for end in ends for token in end], device=ids.device)
    logprobs = _chosen(backbone, torch.cat(rows), targets)
    return [part.sum().item() for part in logprobs.split([len(end) for end in ends])]


def _chosen(backbone: Backbone, states: Tensor, targets: Tensor) -> Tensor:
    """Log-probs (N,) of targets (N,), of logits (N, V) or of the hidden states (N, H) before a plain head."""
    chunks = zip(states.split(CHUNK), targets.split(CHUNK), strict=True)
    plain = backbone.head_is_plain
    return torch.cat([token_logprobs(backbone.head(chunk) if plain else chunk, part) for chunk, part in chunks])
