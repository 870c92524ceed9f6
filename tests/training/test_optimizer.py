"""The gradient step: schedule, clip, stop at a non-finite loss, resume."""

import pytest
import torch
from torch import nn

from rlhf_core.errors import TrainingFailed
from rlhf_core.training.optimizer import Optimizer


def test_the_rate_warms_up_and_decays_to_just_above_0():
    optimizer = Optimizer([nn.Parameter(torch.ones(1))], 1.0, 10, warmup=0.2)
    rates = []
    for update in range(10):
        optimizer.update = update
        rates.append(optimizer.rate)
    assert rates == pytest.approx([0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def test_a_single_update_has_the_full_rate():
    assert Optimizer([nn.Parameter(torch.ones(1))], 0.3, 1).rate == 0.3


def test_the_gradients_norm_is_reported_and_clipped():
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = Optimizer([parameter], 0.1, 10, max_grad_norm=1.0, eps=1.0, warmup=0)
    norm = optimizer.step((parameter * torch.tensor([30.0, 40.0])).sum(), "test")
    assert norm == pytest.approx(50)
    # With eps 1 Adam's first move is rate * g / (|g| + 1), so it shows the clipped gradient (0.6, 0.8).
    assert parameter.tolist() == pytest.approx([-0.1 * 0.6 / 1.6, -0.1 * 0.8 / 1.8], rel=1e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_anything_moves(bad):
    parameter = nn.Parameter(torch.ones(1))
    with pytest.raises(TrainingFailed, match="at step 3 of the test"):
        Optimizer([parameter], 0.1, 10).step(parameter.sum() * bad, "step 3 of the test")
    assert parameter.item() == 1


def test_a_gradient_that_is_not_finite_stops_too():
    parameter = nn.Parameter(torch.zeros(1))
    with pytest.raises(TrainingFailed, match="norm is"):
        Optimizer([parameter], 0.1, 10).step(parameter.sqrt().sum(), "here")
    assert parameter.item() == 0


def test_resumed_moments_go_on_bit_for_bit(tmp_path):
    def train(optimizer: Optimizer, parameter: nn.Parameter, steps: int) -> None:
        for _ in range(steps):
            optimizer.step(((parameter - torch.tensor([1.0, -2.0])) ** 4).sum(), "test")

    straight = nn.Parameter(torch.zeros(2))
    train(Optimizer([straight], 0.05, 6), straight, 6)
    first = nn.Parameter(torch.zeros(2))
    optimizer = Optimizer([first], 0.05, 6)
    train(optimizer, first, 3)
    optimizer.save(tmp_path / "optimizer.safetensors")
    second = nn.Parameter(first.detach().clone())
    resumed = Optimizer([second], 0.05, 6)
    resumed.load(tmp_path / "optimizer.safetensors")
    train(resumed, second, 3)
    assert torch.equal(second, straight)


@pytest.mark.parametrize(
    ("schedule", "warmup", "rates"),
    [
        ("cosine", 0.0, [1, 0.8535534, 0.5, 0.1464466]),
        ("constant", 0.0, [1, 1, 1, 1]),
        ("constant", 0.5, [0.5, 1, 1, 1]),
        ("linear", 0.25, [1, 1, 2 / 3, 1 / 3]),
    ],
)
def test_the_rate_follows_its_schedule(schedule, warmup, rates):
    optimizer = Optimizer([torch.nn.Parameter(torch.zeros(1))], 2.0, 4, warmup=warmup, schedule=schedule)
    found = []
    for optimizer.update in range(4):
        found.append(optimizer.rate / 2)
    assert found == pytest.approx(rates)
