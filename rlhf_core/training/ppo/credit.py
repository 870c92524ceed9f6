"""Divide a reply's score among its lines by a reward model's scores of single lines, paid where they end.

The parts add up to the score of the whole reply, so what is optimised stays the same (a return-equivalent
redistribution, Arjona-Medina et al. 2019); an early line is no longer praised or blamed for a later one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rlhf_core.config.reward import StepPool
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.reward_inputs import lines_of
from rlhf_core.reward_models.reward_model import Members


class Credit(NamedTuple):
    """`lines` (B, T) counts the lines of a response from 0; `moved` (K, B, T) is what is paid at a line's end and not
    at the response's, in standard deviations; over a response's tokens it adds up to 0."""

    lines: Tensor
    moved: Tensor


def no_credit(objectives: int, mask: Tensor) -> Credit:
    """Treat every response as one line, so that its whole score is paid at its end."""
    return Credit(torch.zeros_like(mask, dtype=torch.long), torch.zeros(objectives, *mask.shape, device=mask.device))


def line_credit(
    backbone: Backbone,
    responses: Sequence[tuple[str, Sequence[int]]],
    scored: Sequence[tuple[Members, StepPool]],
    sd: Sequence[float],
    mask: Tensor,
) -> Credit:
    """Compute the credit of responses, each with its tokens, from each objective's scores, in units of its `sd`.

    A response whose tokens are not those of its text is one line, as no line's end is known in it.
    """
    credit = no_credit(len(scored), mask)
    if not any(any(members.steps) for members, _ in scored):
        return credit
    for row, (text, tokens) in enumerate(responses):
        parts = backbone.by_line(lines_of(text))
        places = [line for line, part in enumerate(parts) for _ in part][: len(tokens)]
        if len(parts) < 2 or [token for part in parts for token in part][: len(tokens)] != list(tokens):
            continue
        known: list[tuple[int, tuple[float, ...], StepPool]] = [
            (k, members.steps[row], pool)
            for k, (members, pool) in enumerate(scored)
            if len(members.steps[row]) == places[-1] + 1
        ]
        if not known:
            continue
        credit.lines[row, : len(tokens)] = torch.tensor(places)
        last = len(tokens) - 1
        for k, steps, pool in known:
            for line, share in enumerate(shares(steps, pool)[:-1]):
                end = len(places) - 1 - places[::-1].index(line)
                credit.moved[k, row, end] += share / sd[k]
                credit.moved[k, row, last] -= share / sd[k]
    return credit


def shares(steps: Sequence[float], pool: StepPool) -> list[float]:
    """Return each line's share of the reply's score; the shares add up to it."""
    if pool == "sum":
        return list(steps)
    if pool == "mean":
        return [step / len(steps) for step in steps]
    decides = len(steps) - 1 if pool == "last" else min(range(len(steps)), key=steps.__getitem__)
    return [step if line == decides else 0.0 for line, step in enumerate(steps)]
