"""What pretraining reads off hidden states, by hand: two states, four numbers wide, one of them behind padding."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rlhf_core.sandbox.encoding import RISKS, WORTHS, Example, Reading, Sum
from rlhf_core.sandbox.understanding import Understanding

HIDDEN = torch.tensor([[[1.0, 0, 0, 0], [0, 1.0, 0, 0]], [[0, 0, 1.0, 0], [9.0, 9.0, 9.0, 9.0]]])
EXAMPLES = [
    Example([5, 6], [], (Reading(0, 2, 0), Reading(1, 6, 15)), (Sum(1, (1.0, 0, 0, 0, 0, 0)),)),
    Example([7], [], (Reading(0, 0, 3),), (Sum(0, (-0.25, 0, 1.0, 0, 0, 0)),)),
]


def head(**rows: Tensor) -> Understanding:
    """Of zeros, but for the rows that are given, each as a matrix."""
    understanding = Understanding(4)
    with torch.no_grad():
        for name, linear in understanding.named_children():
            linear.bias.zero_()
            linear.weight.copy_(rows.get(name, torch.zeros_like(linear.weight)))
    return understanding


def matrix(classes: int, *columns: tuple[int, int, float]) -> Tensor:
    weight = torch.zeros(classes, 4)
    for row, column, value in columns:
        weight[row, column] = value
    return weight


def test_a_head_that_knows_everything_loses_nothing():
    understanding = head(
        worth=matrix(len(WORTHS), (2, 0, 50.0), (6, 1, 50.0), (0, 2, 50.0)),
        risk=matrix(RISKS, (0, 0, 50.0), (15, 1, 50.0), (3, 2, 50.0)),
        totals=matrix(6, (0, 1, 1.0), (0, 2, -0.25), (2, 2, 1.0)),
    )
    assert understanding.loss_sum(HIDDEN, EXAMPLES).item() == pytest.approx(0, abs=1e-6)


def test_a_head_that_knows_nothing_loses_a_guess_at_each_reading_and_the_squares_of_the_sums():
    # Three readings, each of 7 worths and 16 risks, count twice; 1 + 0.0625 + 1 of the sums counts four times.
    loss = head().loss_sum(HIDDEN, EXAMPLES).item()
    assert loss == pytest.approx(6 * (math.log(7) + math.log(16)) + 8.25, rel=1e-6)


def test_one_sum_that_is_missed_by_a_half_costs_one():
    known = {
        "worth": matrix(len(WORTHS), (2, 0, 50.0), (6, 1, 50.0), (0, 2, 50.0)),
        "risk": matrix(RISKS, (0, 0, 50.0), (15, 1, 50.0), (3, 2, 50.0)),
    }
    understanding = head(**known, totals=matrix(6, (0, 1, 1.0), (0, 2, -0.25), (2, 2, 0.5)))
    assert understanding.loss_sum(HIDDEN, EXAMPLES).item() == pytest.approx(1, abs=1e-5)


def test_what_nothing_is_read_of_costs_nothing():
    assert Understanding(4).loss_sum(HIDDEN, [Example([5, 6], [])]).item() == 0


def test_the_hidden_states_learn_from_what_is_read_and_those_that_nobody_reads_do_not():
    hidden = HIDDEN.clone().requires_grad_()
    torch.manual_seed(0)
    Understanding(4).loss_sum(hidden, EXAMPLES).backward()
    assert hidden.grad is not None
    assert (hidden.grad.abs().sum(-1) > 0).tolist() == [[True, True], [True, False]]
