"""Our decode loop: unique prompts are prefilled once and forked, finished rows leave, log-probs are the exact ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import length_batches
from rlhf_core.models.cache import roomy_cache
from rlhf_core.records import BASE_POLICY, Message, Prompt, Sample, content_id

KEEP_SHARE = 0.75
"""Finished rows are dropped from the cache when no more than this share is still being written."""

ShouldStop = Callable[[], bool]


class Generated(NamedTuple):
    """A response: tokens with the end token, their log-probs in nats at the sampling temperature, ended or cut."""

    tokens: list[int]
    logprobs: list[float]
    finished: bool


def generate(
    backbone: Backbone,
    prompts: Sequence[list[int]],
    *,
    n: int,
    temperature: float,
    max_tokens: int,
    seed: int | Sequence[int],
    should_stop: ShouldStop | None = None,
) -> list[Generated]:
    """n responses per prompt, grouped by prompt, from the active adapter; temperature 0 takes the likeliest token.

    A row's noise comes from (seed, prompt, sample index) alone, so a text does not depend on its neighbours.
    `seed` may be one per prompt. A true `should_stop` cuts what is unfinished.
    """
    seeds = [seed] * len(prompts) if isinstance(seed, int) else list(seed)
    for prompt in prompts:
        backbone.check_length(len(prompt), max_tokens)
    rows = list(row_seeds(prompts, seeds, n))
    results: list[Generated | None] = [None] * len(rows)
    for batch in length_batches([prompt for prompt, _ in rows], extra=max_tokens):
        texts, noise_seeds = [rows[i][0] for i in batch], [rows[i][1] for i in batch]
        written = _decode(backbone, texts, noise_seeds, temperature, max_tokens, should_stop)
        for i, result in zip(batch, written, strict=True):
            results[i] = result
    return [result for result in results if result is not None]


def row_seeds(prompts: Sequence[list[int]], seeds: Sequence[int], n: int) -> Iterator[tuple[list[int], int]]:
    """n rows per prompt, each with its seed; a prompt that is repeated under one seed is drawn anew."""
    seen: dict[tuple[int, tuple[int, ...]], int] = {}
    for prompt, seed in zip(prompts, seeds, strict=True):
        key = (seed, tuple(prompt))
        first = seen.get(key, 0)
        seen[key] = first + n
        yield from ((prompt, row_seed(seed, prompt, index)) for index in range(first, first + n))


def row_seed(seed: int, prompt: Sequence[int], index: int) -> int:
    """The seed of one row's noise."""
    return derived_seed(seed, index, *prompt)


def derived_seed(*parts: object) -> int:
    """A seed that depends on all parts and on nothing else."""
    return int.from_bytes(hashlib.sha256("|".join(map(str, parts)).encode()).digest()[:8], "big") >> 1


@torch.inference_mode()
def _decode(
    backbone: Backbone,
    prompts: Sequence[list[int]],
    seeds: Sequence[int],
    temperature: float,
    max_tokens: int,
    should_stop: ShouldStop | None,
) -> list[Generated]:
    cache = roomy_cache(backbone.model.config, max(map(len, prompts)) + max_tokens)
    logits, mask = prefill(backbone, prompts, cache)
    device, stops = logits.device, torch.tensor(backbone.stop_ids, device=logits.device)
    tokens = torch.zeros(len(prompts), max_tokens, dtype=torch.long, device=device)
    logprobs = torch.zeros(len(prompts), max_tokens, device=device)
    lengths = torch.full((len(prompts),), max_tokens, device=device)
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    noise = draw_noise(seeds, max_tokens).to(device) if temperature > 0 else None
    rows = torch.arange(len(prompts), device=device)  # rows of the batch -> rows of the result
    for t in range(max_tokens):
        chosen, chosen_logprobs = pick(logits, temperature, noise[rows, t] if noise is not None else None)
        tokens[rows, t], logprobs[rows, t] = chosen, chosen_logprobs
        stopped = torch.isin(chosen, stops) & ~ended[rows]
        lengths[rows[stopped]], ended[rows[stopped]] = t + 1, True
        live = ~ended[rows]
        count = int(live.sum())
        cut = should_stop is not None and should_stop()
        if not count or cut or t + 1 == max_tokens:
            lengths = torch.where(ended, lengths, t + 1)
            break
        if count <= KEEP_SHARE * len(rows):
            kept = live.nonzero().squeeze(1)
            cache.batch_select_indices(kept)
            rows, mask, chosen = rows[kept], mask[kept], chosen[kept]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
        logits = backbone.forward(chosen[:, None], mask, 1, cache).logits[:, -1]
    return [
        Generated(ids[:length], values[:length], done)
        for ids, values, length, done in zip(
            tokens.tolist(), logprobs.tolist(), lengths.tolist(), ended.tolist(), strict=True
        )
    ]


def prefill(backbone: Backbone, prompts: Sequence[list[int]], cache: DynamicCache) -> tuple[Tensor, Tensor]:
    """Next-token logits (B, V) and mask (B, P); each unique prompt is computed once."""
    unique = {key: i for i, key in enumerate(dict.fromkeys(map(tuple, prompts)))}
    ids, mask = backbone.pad_left(list(unique))
    logits = backbone.forward(ids, mask, 1, cache).logits[:, -1]
    if len(unique) == len(prompts):
        return logits, mask
    fork = torch.tensor([unique[tuple(prompt)] for prompt in prompts], device=logits.device)
    cache.batch_select_indices(fork)
    return logits[fork], mask[fork]


def draw_noise(seeds: Sequence[int], count: int) -> Tensor:
    """Uniform numbers (B, count), each row from its own seed."""
    generator = torch.Generator()
    return torch.stack(
        [torch.rand(count, dtype=torch.float64, generator=generator.manual_seed(seed)) for seed in seeds]
    )


def pick(logits: Tensor, temperature: float | Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
    """Tokens (B,) and their log-probs (B,): by inverse CDF where there is noise (B,), else the likeliest."""
    scaled = logits.float() if noise is None else logits.float() / temperature
    logprobs = scaled.log_softmax(-1)
    if noise is None:
        chosen = logprobs.argmax(-1)
    else:
        cdf = logprobs.exp().cumsum(-1, dtype=torch.float64)
        chosen = torch.searchsorted(cdf, noise[:, None] * cdf[:, -1:], right=True).squeeze(1)
        chosen = chosen.clamp_max(logits.shape[-1] - 1)
    return chosen, logprobs.gather(1, chosen[:, None]).squeeze(1)


def chat(
    backbone: Backbone,
    conversations: Sequence[Sequence[Message]],
    max_tokens: int,
    should_stop: ShouldStop | None = None,
) -> list[str]:
    """Each conversation's next assistant turn, decoded greedily."""
    prompts = [backbone.render(conversation) for conversation in conversations]
    written = generate(backbone, prompts, n=1, temperature=0.0, max_tokens=max_tokens, seed=0, should_stop=should_stop)
    return [backbone.decode(result.tokens) for result in written]


class LocalSampler:
    """The seam `Sampler` over this process's adapters: a policy version is the adapter of that name."""

    def __init__(self, backbone: Backbone):
        self.backbone = backbone

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        policy_version: str,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 64,
        seed: int = 0,
    ) -> list[Sample]:
        backbone = self.backbone
        with backbone.using(None if policy_version == BASE_POLICY else policy_version):
            written = generate(
                backbone,
                [backbone.render(prompt.messages) for prompt in prompts],
                n=n,
                temperature=temperature,
                max_tokens=max_tokens,
                seed=seed,
            )
        repeated = [prompt for prompt in prompts for _ in range(n)]
        return [
            Sample(
                id=content_id("sample", prompt.id, policy_version, seed, index, temperature, max_tokens),
                prompt=prompt,
                response=backbone.decode(result.tokens),
                policy_version=policy_version,
                finished=result.finished,
                tokens=len(result.tokens),
                logprob=sum(result.logprobs),
                seed=seed,
            )
            for index, (prompt, result) in enumerate(zip(repeated, written, strict=True))
        ]
