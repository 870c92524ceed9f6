"""Our own engine: the rows of one policy version, written a token at a time by the model of this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from rlhf_core.inference.kv_cache import Slab, whole_cache
from rlhf_core.inference.sampling import draw_own_noise, write
from rlhf_core.inference.sequence import TokenSequence
from rlhf_core.models.backbone import Backbone

PREFILL_SPREAD = 1.5
"""Prompts are computed together when the longest is at most this many times as long as the shortest."""


class NativeDecoder:
    """Prompts that rows share are computed once; the rows of a step are one pass through the model."""

    def __init__(self, backbone: Backbone):
        self._backbone = backbone
        self._rows: list[TokenSequence] = []
        self._slab: Slab | None = None

    @property
    def rows(self) -> Sequence[TokenSequence]:
        return self._rows

    @property
    def bytes(self) -> int:
        """Memory of keys and values."""
        return self._slab.bytes if self._slab else 0

    @torch.inference_mode()
    def join(self, rows: Sequence[TokenSequence]) -> None:
        """Compute the prompts, and write each row's first token."""
        for batch in _of_like_length(rows):
            self._join(batch)
        self.leave()

    @torch.inference_mode()
    def step(self) -> None:
        """One more token in each row."""
        rows, slab, device = self._rows, self._slab, self._backbone.device
        if slab is None:
            return
        slab.make_room()
        last = torch.tensor([[row.tokens[-1]] for row in rows], device=device)
        lengths = torch.tensor([len(row.prompt) + len(row.tokens) for row in rows], device=device)
        logits = self._backbone.forward(last, slab.mask(lengths), 1, slab.cache).logits[:, -1]
        slab.advance()
        write(rows, logits)
        self.leave()

    @torch.inference_mode()
    def leave(self) -> None:
        """Let go of the rows that have ended, and of their memory."""
        gone = [place for place, row in enumerate(self._rows) if row.ended]
        if len(gone) == len(self._rows) or self._slab is None:
            self._rows, self._slab = [], None
        elif gone:
            width = max(len(row.prompt) + len(row.tokens) - 1 for row in self._rows if not row.ended)
            self._rows = [self._rows[place] for place in self._slab.leave(gone, width)]

    def _join(self, rows: Sequence[TokenSequence]) -> None:
        config = self._backbone.model.config
        unique = {prompt: place for place, prompt in enumerate(dict.fromkeys(row.prompt for row in rows))}
        filled = whole_cache(config)
        ids, mask = self._backbone.pad_left(list(unique))
        logits = self._backbone.forward(ids, mask, 1, filled).logits[:, -1]
        source = [unique[row.prompt] for row in rows]
        draw_own_noise(rows)
        self._slab = self._slab or Slab(config)
        self._slab.join(filled, source, ids.shape[1])
        self._rows = [*self._rows, *rows]
        write(rows, logits[torch.tensor(source, device=logits.device)])


def _of_like_length(rows: Sequence[TokenSequence]) -> Iterator[list[TokenSequence]]:
    batch: list[TokenSequence] = []
    for row in sorted(rows, key=lambda row: len(row.prompt)):
        if batch and len(row.prompt) > PREFILL_SPREAD * len(batch[0].prompt):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
