"""One response a token at a time, so that it can be shown while it is written and others can run in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from rlhf_core.models.backbone import Backbone
from rlhf_core.models.cache import roomy_cache
from rlhf_core.models.generation import Generated, draw_noise, pick, prefill, row_seed


def write_stepwise(
    backbone: Backbone,
    adapter: Callable[[], str | None],
    prompt: list[int],
    *,
    temperature: float,
    max_tokens: int,
    seed: int,
) -> Iterator[Generated]:
    """What is written so far, after every token; the last one equals `generate`'s first sample of this seed.

    `adapter` is asked for before every step, as other work may have switched or evicted it in between.
    """
    backbone.check_length(len(prompt), max_tokens)
    tokens: list[int] = []
    logprobs: list[float] = []
    with torch.inference_mode():
        cache = roomy_cache(backbone.model.config, len(prompt) + max_tokens)
        noise = draw_noise([row_seed(seed, prompt, 0)], max_tokens).to(backbone.device) if temperature > 0 else None
        with backbone.using(adapter()):
            logits, mask = prefill(backbone, [prompt], cache)
    for t in range(max_tokens):
        with torch.inference_mode(), backbone.using(adapter()):
            if t > 0:
                mask = torch.cat([mask, mask.new_ones(1, 1)], 1)
                last = torch.tensor([[tokens[-1]]], device=backbone.device)
                logits = backbone.forward(last, mask, 1, cache).logits[:, -1]
            chosen, chosen_logprobs = pick(logits, temperature, noise[:, t] if noise is not None else None)
        tokens.append(int(chosen))
        logprobs.append(float(chosen_logprobs))
        finished = tokens[-1] in backbone.stop_ids
        yield Generated(list(tokens), list(logprobs), finished)
        if finished:
            return
