"""Responses of the active adapter, written by this process: our engine's decode loop over batches that nobody joins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rlhf_core.inference.engines import fixed
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
    asked = list(row_seeds(prompts, seeds, n))[share]
    return write_rows(backbone, asked, temperature=temperature, max_tokens=max_tokens, should_stop=should_stop)


def write_rows(
    backbone: Backbone,
    asked: Sequence[tuple[list[int], int]],
    *,
    temperature: float,
    max_tokens: int,
    should_stop: ShouldStop | None = None,
) -> list[Generated]:
    """Return a response to each prompt, drawn from the seed beside it. The prompts are short enough."""
    params = SamplingParams.model_construct(temperature=temperature, max_tokens=max_tokens)
    meaning = TokenMeaning(backbone.decode, frozenset(backbone.stop_ids))
    version = backbone.adapters.active or BASE_POLICY
    rows = [TokenSequence(tuple(prompt), own, version, params, meaning) for prompt, own in asked]
    texts = [row.prompt for row in rows]
    for batch in length_batches(texts, extra=max_tokens, max_tokens=backbone.most_positions):
        own = [rows[index] for index in batch]
        stays = fixed.suits(backbone, max(row.reach for row in own))
        decoder = fixed.FixedDecoder(backbone) if stays else NativeDecoder(backbone)
        decoder.join(own)
        while decoder.rows and not (should_stop is not None and should_stop()):
            decoder.step()
    return [Generated(row.tokens, row.logprobs, row.finished) for row in rows]


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
