"""Texts of the base model itself, on which fine-tuning is held to what the base would say (pseudo-rehearsal).

Demonstrations say how to answer, and nothing of what else the model knows; an adapter that only follows them takes that
along too. The texts need no data: the base goes on from one token drawn at random (Robins 1995; for language models Liu
et al. 2023, LLM-QAT, section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from rlhf_core.config.run import SftConfig
from rlhf_core.inference.generate import ShouldStop, generate
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import Batch, make_batch
from rlhf_core.seeding import derived_seed

TEXTS = 64
"""Texts of one fine-tuning; its updates go through them in turn."""
WRITTEN_AT_ONCE = 16
LOGIT_BYTES = 64 * 2**20
GPU_LOGIT_BYTES = 512 * 2**20
"""Logits of a pass, as 32-bit floats, that are there at once, several times over."""


def base_texts(
    backbone: Backbone, config: SftConfig, seed: int, should_stop: ShouldStop | None = None
) -> Iterator[list[tuple[int, ...]]]:
    """Yield the base model's texts as tokens, some at a time: the same ones for the same model, settings and seed."""
    allowed = backbone.token_ids or range(backbone.vocabulary)
    plain = [token for token in allowed if token not in backbone.tokenizer.all_special_ids]
    seed = derived_seed(seed, "rehearsal")
    drawn = torch.randint(len(plain), (TEXTS,), generator=torch.Generator().manual_seed(seed)).tolist()
    begun = [[*_before(backbone), plain[place]] for place in drawn]
    for first in range(0, TEXTS, WRITTEN_AT_ONCE):
        part = begun[first : first + WRITTEN_AT_ONCE]
        with backbone.adapters.using(None):
            rest = generate(
                backbone,
                part,
                n=1,
                temperature=1.0,
                max_tokens=config.rehearsal_tokens - 1,
                seed=seed,
                should_stop=should_stop,
            )
        yield [(start[-1], *one.tokens) for start, one in zip(part, rest, strict=True)]


def rehearsed(backbone: Backbone, texts: Sequence[Sequence[int]], config: SftConfig, update: int) -> Batch:
    """Return the texts of one update as a batch, each behind what begins all texts of the model."""
    size = config.rehearsal_batch_size
    chosen = [list(texts[(update * size + place) % len(texts)]) for place in range(size)]
    before = _before(backbone)
    # Without a token before it a text's own first one is what the others follow on.
    return make_batch(backbone, [before or text[:1] for text in chosen], chosen if before else [t[1:] for t in chosen])


def texts_at_once(backbone: Backbone, config: SftConfig) -> int:
    """Return how many texts a pass reads: few, as all of their logits are there at once, and as all layers' states."""
    size = GPU_LOGIT_BYTES if backbone.device.type == "cuda" else LOGIT_BYTES
    most = size // (4 * backbone.vocabulary * config.rehearsal_tokens)
    return max(1, min(most, config.micro_batch_size or config.batch_size))


def divergence(backbone: Backbone, batch: Batch) -> Tensor:
    """Return KL(base || active adapter), in nats, summed over the batch's response tokens."""
    with torch.no_grad(), backbone.adapters.using(None):
        base = _log_probs(backbone, batch)
    return (base.exp() * (base - _log_probs(backbone, batch))).sum()


def _log_probs(backbone: Backbone, batch: Batch) -> Tensor:
    """Log-probabilities (N, V) of all tokens at the places of the response tokens."""
    logits = backbone.forward(batch.ids, batch.present, batch.mask.shape[1] + 1).logits[:, :-1]
    return logits[batch.mask.bool()].float().log_softmax(-1)


def _before(backbone: Backbone) -> list[int]:
    first = backbone.tokenizer.bos_token_id
    return [first] if isinstance(first, int) else []
