"""Responses of the active adapter, written by this process: our engine's decode loop over batches that nobody joins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rlhf_core.inference.engines.native import NativeDecoder
from rlhf_core.inference.sampling import row_seeds
from rlhf_core.inference.sequence import SamplingParams, TokenMeaning, TokenSequence
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import length_batches
from rlhf_core.records.samples import BASE_POLICY, Message

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
    share: slice = slice(None),
) -> list[Generated]:
    """Return n responses per prompt, grouped by prompt; temperature 0 takes the likeliest token.

    A row's noise comes from (seed, prompt, sample index) alone, so a text does not depend on its neighbours.
    `seed` may be one per prompt. A true `should_stop` cuts what is unfinished. Only a `share` of the responses may be
    asked for; they are as they would be among all.
    """
    seeds = [seed] * len(prompts) if isinstance(seed, int) else list(seed)
    for prompt in prompts:
        backbone.check_length(len(prompt), max_tokens)
    rows = list(row_seeds(prompts, seeds, n))[share]
    results: list[Generated | None] = [None] * len(rows)
    for batch in length_batches([p for p, _ in rows], extra=max_tokens, max_tokens=backbone.most_positions):
        texts, noise_seeds = [rows[i][0] for i in batch], [rows[i][1] for i in batch]
        written = _decode(backbone, texts, noise_seeds, temperature, max_tokens, should_stop)
        for i, result in zip(batch, written, strict=True):
            results[i] = result
    return [result for result in results if result is not None]


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
    logits, mask = _read(backbone, list(unique), cache)
    if len(unique) == len(prompts):
        return logits, mask
    fork = torch.tensor([unique[tuple(prompt)] for prompt in prompts], device=logits.device)
    cache.batch_select_indices(fork)
    return logits[fork], mask[fork]


def _read(backbone: Backbone, prompts: Sequence[tuple[int, ...]], cache: DynamicCache) -> tuple[Tensor, Tensor]:
    """Next-token logits and mask of different prompts; a large model reads a long common beginning once."""
    first, shortest = prompts[0], min(map(len, prompts)) - 1
    shared = next((i for i in range(shortest) if any(row[i] != first[i] for row in prompts)), shortest)
    longest = max(map(len, prompts))
    worth = len(prompts) > 1 and backbone.size >= WORTH_SHARING and shared >= SHARED * longest
    if not worth or not shares(backbone, longest):
        ids, mask = backbone.pad_left(prompts)
        return backbone.forward(ids, mask, 1, cache).logits[:, -1], mask
    before, present = backbone.pad_left([first[:shared]])
    backbone.hidden(before, present, 1, cache)
    cache.batch_select_indices(torch.zeros(len(prompts), dtype=torch.long, device=before.device))
    own, own_mask = backbone.pad_left([row[shared:] for row in prompts])
    # The padding stands between the two parts: masked, and counted by no position.
    mask = torch.cat([present.expand(len(prompts), -1), own_mask], 1)
    return backbone.forward(own, mask, 1, cache).logits[:, -1], mask


def chat(
    backbone: Backbone,
    conversations: Sequence[Sequence[Message]],
    max_tokens: int,
    should_stop: ShouldStop | None = None,
) -> list[str]:
    """Return each conversation's next assistant turn, decoded greedily."""
    prompts = [backbone.render(conversation) for conversation in conversations]
    written = generate(backbone, prompts, n=1, temperature=0.0, max_tokens=max_tokens, seed=0, should_stop=should_stop)
    return [backbone.decode(result.tokens) for result in written]
