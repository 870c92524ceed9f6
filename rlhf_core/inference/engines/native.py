"""Our own decode loop: the rows of one policy version, written a token at a time by the model of this process.

Serving lets rows join while others are written; training writes a batch that is closed, by the same steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from rlhf_core.inference.choice_logprobs import SHARED, shares
from rlhf_core.inference.kv_cache import KVCache, prompt_cache
from rlhf_core.inference.sampling import draw_noise, write
from rlhf_core.inference.sequence import TokenSequence
from rlhf_core.models.backbone import Backbone

KEEP_SHARE = 0.75
"""Rows that have ended are dropped from the batch when no more than this share of it is still being written."""
WORTH_SHARING = 50_000_000
"""Weights of a model from which copying a cache costs less than reading a common beginning again."""


class NativeDecoder:
    """Prompts that rows share are computed once; the rows of a step are one pass through the model.

    A row that has ended keeps its place, and its steps count for nothing, until another one takes the place or enough
    have ended to make the batch smaller.
    """

    def __init__(self, backbone: Backbone):
        self._backbone = backbone
        self._rows: list[TokenSequence] = []
        self._cache: KVCache | None = None

    @property
    def rows(self) -> Sequence[TokenSequence]:
        return [row for row in self._rows if not row.ended]

    @property
    def bytes(self) -> int:
        """Memory of keys and values."""
        return self._cache.bytes if self._cache else 0

    @torch.inference_mode()
    def join(self, rows: Sequence[TokenSequence]) -> None:
        """Compute the prompts, and write each row's first token."""
        unique = {prompt: index for index, prompt in enumerate(dict.fromkeys(row.prompt for row in rows))}
        source = [unique[row.prompt] for row in rows]
        config = self._backbone.model.config
        prompts, reach = prompt_cache(config), max(row.reach for row in rows)
        logits, mask = prefill(self._backbone, list(unique), prompts, reach)
        self._cache = self._cache or KVCache(config)
        self._cache.join(prompts, mask, source, self._seat(rows), max(row.params.max_tokens for row in rows) - 1)
        draw_noise(rows)
        write(rows, logits[torch.tensor(source, device=logits.device)])
        self._shrink()

    @torch.inference_mode()
    def step(self) -> None:
        """Write one more token in each row."""
        rows, cache, device = self._rows, self._cache, self._backbone.device
        if cache is None:
            return
        last = torch.tensor([[row.tokens[-1]] for row in rows], device=device)
        mask = cache.next_column(torch.tensor([not row.ended for row in rows], device=device))
        logits = self._backbone.forward(last, mask, 1, cache.layers).logits[:, -1]
        cache.advance()
        write(rows, logits)
        self._shrink()

    @torch.inference_mode()
    def leave(self) -> None:
        """Let go of the rows that have ended, and of their memory."""
        places = [place for place, row in enumerate(self._rows) if not row.ended]
        if not places or self._cache is None:
            self._rows, self._cache = [], None
        elif len(places) < len(self._rows):
            self._cache.keep(places)
            self._rows = [self._rows[place] for place in places]

    def _seat(self, rows: Sequence[TokenSequence]) -> list[int]:
        """Give rows the places of those that have ended, then new ones behind all; return the places."""
        free = [place for place, row in enumerate(self._rows) if row.ended]
        places = [*free, *range(len(self._rows), len(self._rows) + len(rows))][: len(rows)]
        for place, row in zip(places, rows, strict=True):
            self._rows[place : place + 1] = [row]
        return places

    def _shrink(self) -> None:
        if len(self.rows) <= KEEP_SHARE * len(self._rows):
            self.leave()


def prefill(
    backbone: Backbone, prompts: Sequence[tuple[int, ...]], cache: DynamicCache, reach: int
) -> tuple[Tensor, Tensor]:
    """Return next-token logits (B, V) and mask (B, P) of different prompts that are written to `reach` positions.

    A large model reads a long common beginning once.
    """
    first, shortest = prompts[0], min(map(len, prompts)) - 1
    shared = next((i for i in range(shortest) if any(row[i] != first[i] for row in prompts)), shortest)
    worth = len(prompts) > 1 and backbone.size >= WORTH_SHARING and shared >= SHARED * max(map(len, prompts))
    if not worth or not shares(backbone, reach):
        ids, mask = backbone.pad_left(prompts)
        return backbone.forward(ids, mask, 1, cache).logits[:, -1], mask
    before, present = backbone.pad_left([first[:shared]])
    backbone.hidden(before, present, 1, cache)
    cache.batch_select_indices(torch.zeros(len(prompts), dtype=torch.long, device=before.device))
    own, own_mask = backbone.pad_left([row[shared:] for row in prompts])
    # The padding stands between the two parts: masked, and counted by no position.
    mask = torch.cat([present.expand(len(prompts), -1), own_mask], 1)
    return backbone.forward(own, mask, 1, cache).logits[:, -1], mask
