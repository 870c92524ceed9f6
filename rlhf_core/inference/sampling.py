"""How tokens are drawn: each row's own noise, by inverse CDF, so that a text does not depend on its neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from rlhf_core.errors import InvalidInput
from rlhf_core.inference.sequence import TokenSequence
from rlhf_core.seeding import derived_seed


def row_seeds(prompts: Sequence[list[int]], seeds: Sequence[int], n: int) -> Iterator[tuple[list[int], int]]:
    """Yield n rows per prompt, each with its seed; a prompt that is repeated under one seed is drawn anew."""
    seen: dict[tuple[int, tuple[int, ...]], int] = {}
    for prompt, seed in zip(prompts, seeds, strict=True):
        key = (seed, tuple(prompt))
        first = seen.get(key, 0)
        seen[key] = first + n
        yield from ((prompt, row_seed(seed, prompt, index)) for index in range(first, first + n))


def row_seed(seed: int, prompt: Sequence[int], index: int) -> int:
    """Return the seed of one row's noise."""
    return derived_seed(seed, index, *prompt)


def pick(logits: Tensor, temperature: float | Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the next tokens (B,) and their log-probs (B,).

    They are drawn by inverse CDF where there is noise (B,), else the likeliest.

    Raises InvalidInput where the logits are no numbers.
    """
    scaled = logits.float() if noise is None else logits.float() / temperature
    logprobs = scaled.log_softmax(-1)
    if noise is None:
        chosen = logprobs.argmax(-1)
    else:
        cdf = logprobs.exp().cumsum(-1, dtype=torch.float64)
        chosen = torch.searchsorted(cdf, noise[:, None] * cdf[:, -1:], right=True).squeeze(1)
        chosen = chosen.clamp_max(logits.shape[-1] - 1)
    found = logprobs.gather(1, chosen[:, None]).squeeze(1)
    if not bool(found.isfinite().all()):
        raise InvalidInput(
            "the model's scores of the next token are no numbers: its weights, or its dtype, are at fault"
        )
    return chosen, found


def draw_noise(rows: Sequence[TokenSequence]) -> None:
    """Draw the noise of all the tokens that rows may get, each row's from its own seed."""
    generator = torch.Generator()
    for row in (row for row in rows if row.params.temperature > 0):
        generator.manual_seed(row.seed)
        row.noise = torch.rand(row.params.max_tokens, dtype=torch.float64, generator=generator).numpy()


def write(rows: Sequence[TokenSequence], logits: Tensor) -> Tensor:
    """Draw each row's next token from logits (B, V) with its own noise and temperature; rows that ended take none.

    Returns the tokens (B,) where the logits are.
    """
    temperatures = torch.tensor([row.params.temperature for row in rows], device=logits.device)
    noise = torch.tensor([row.next_noise for row in rows], dtype=torch.float64, device=logits.device)
    chosen, logprobs = pick_each(logits, temperatures, noise)
    for row, token, logprob in zip(rows, chosen.tolist(), logprobs.tolist(), strict=True):
        if not row.ended:
            row.take(token, logprob)
    return chosen


def pick_each(logits: Tensor, temperatures: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Pick tokens with a temperature (B,) for each row; 0 takes the likeliest token."""
    greedy = temperatures == 0
    if bool(greedy.all()):
        return pick(logits, 1.0, None)
    drawn, logprobs = pick(logits, torch.where(greedy, 1.0, temperatures)[:, None], noise)
    if not bool(greedy.any()):
        return drawn, logprobs
    likeliest, highest = pick(logits, 1.0, None)
    return torch.where(greedy, likeliest, drawn), torch.where(greedy, highest, logprobs)
