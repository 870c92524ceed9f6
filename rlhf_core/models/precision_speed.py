"""How quick 16-bit floats are on this processor: without its own instructions for them, they take ten times as long."""

from __future__ import annotations

import logging
import time

import torch

ROWS, INNER, OUTER = 64, 576, 1536
"""The shape of one product: a batch of tokens through a layer of a small model."""
REPEATS, TRIES = 3, 3
SLOW = 0.9
"""Ratio below which 16 bits are slower than 32 beyond doubt."""
log = logging.getLogger("charter.models")


def ratio_to_float32(dtype: torch.dtype) -> float:
    """Return products a second of this precision on the CPU over those of float32: measured, in less than 2 s."""
    pairs = [
        (torch.ones(ROWS, INNER, dtype=one), torch.ones(OUTER, INNER, dtype=one)) for one in (torch.float32, dtype)
    ]
    best = [float("inf")] * len(pairs)
    for _ in range(TRIES):
        for place, (rows, weight) in enumerate(pairs):
            torch.nn.functional.linear(rows, weight)
            started = time.perf_counter()
            for _ in range(REPEATS):
                torch.nn.functional.linear(rows, weight)
            best[place] = min(best[place], time.perf_counter() - started)
    return best[0] / best[1]


def warn_if_slow(dtype: torch.dtype, device: str, name: str) -> None:
    """Say before any work that a model's precision is slow here, with the measured ratio."""
    if device.startswith("cuda") or dtype is torch.float32:
        return
    ratio = ratio_to_float32(dtype)
    if ratio < SLOW:
        log.warning(
            "'%s' is to compute in %s, in which this processor makes %.2g times the products of float32; "
            "set model.dtype to float32, or leave it at auto",
            name,
            str(dtype).removeprefix("torch."),
            ratio,
        )
