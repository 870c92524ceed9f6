"""How rows of tokens become batches: rows of like length together, prompts padded left and responses right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rlhf_core.models.backbone import Backbone
from rlhf_core.models.memory_budget import MAX_TOKENS

MAX_ROWS = 256
"""Of one batch without gradients."""
WINDOW = 16
"""Batches of a shuffled epoch whose rows are sorted by length together."""


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
        """Return the chosen rows, without the columns that are padding in all of them."""
        ids, present, mask = self.ids[index], self.present[index], self.mask[index]
        prompt_width = ids.shape[1] - mask.shape[1]
        first = prompt_width - int(present[:, :prompt_width].sum(1).max())
        width = int(mask.sum(1).max())
        last = prompt_width + width
        return Batch(ids[:, first:last], present[:, first:last], mask[:, :width])


def make_batch(backbone: Backbone, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Batch:
    """Pad prompts and responses to one batch on the backbone's device."""
    for prompt, response in zip(prompts, responses, strict=True):
        backbone.check_length(len(prompt), len(response))
    ids, present = backbone.pad_left(prompts)
    width = max(map(len, responses))
    tail = torch.tensor([[*row, *[0] * (width - len(row))] for row in responses], device=ids.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in responses], device=ids.device)
    return Batch(torch.cat([ids, tail], 1), torch.cat([present, mask], 1), mask)


def length_batches(
    rows: Sequence[Sequence[int]], extra: int = 0, max_rows: int = MAX_ROWS, max_tokens: int = MAX_TOKENS
) -> Iterator[list[int]]:
    """Yield row numbers in batches of like length; equal rows stand together. Each row will get `extra` tokens more.

    A batch holds at most `max_tokens`, padding included, but always one row.
    """
    batch: list[int] = []
    for i in sorted(range(len(rows)), key=lambda i: (len(rows[i]), rows[i])):
        if batch and (len(batch) == max_rows or (len(batch) + 1) * (len(rows[i]) + extra) > max_tokens):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def shuffled_batches(lengths: Sequence[int], size: int, generator: torch.Generator) -> list[list[int]]:
    """Return one epoch's row numbers in batches: shuffled, then sorted by length within windows, to save padding."""
    order = torch.randperm(len(lengths), generator=generator).tolist()
    batches: list[list[int]] = []
    for start in range(0, len(order), WINDOW * size):
        window = sorted(order[start : start + WINDOW * size], key=lambda i: lengths[i])
        batches += [window[i : i + size] for i in range(0, len(window), size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
