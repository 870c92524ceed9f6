"""Matrix products by oneDNN: the numbers and gradients of PyTorch's own, and only where they are quicker."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf_core.models.kernels import onednn_linear
from rlhf_core.models.kernels.onednn_linear import LEAST_SIDE, QuickLinear, linear, quicken

WIDE = LEAST_SIDE + 44


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def by_onednn(monkeypatch) -> list[torch.Size]:
    """The shapes of what oneDNN is given from here on."""
    if onednn_linear._by_onednn is None:
        pytest.skip("this build of PyTorch has no linear layer by oneDNN")
    seen: list[torch.Size] = []
    plain = onednn_linear._product
    monkeypatch.setattr(onednn_linear, "_product", lambda x, *others: (seen.append(x.shape), plain(x, *others))[1])
    return seen


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(5,), (2, 3), (1, 1), (2, 2, 2)])
def test_values_and_gradients_are_those_of_64_bits(by_onednn, shape, bias):
    exact = [numbers(*shape, LEAST_SIDE), numbers(WIDE, LEAST_SIDE, seed=1), numbers(WIDE, seed=2)][: 2 + bias]
    upstream = numbers(*shape, WIDE, seed=3)
    given = [tensor.float().requires_grad_() for tensor in exact]
    found = linear(*given)
    found.backward(upstream.float())
    reference = [tensor.requires_grad_() for tensor in exact]
    functional.linear(*reference).backward(upstream)
    torch.testing.assert_close(found.double(), functional.linear(*reference), rtol=0, atol=1e-4)
    for one, other in zip(given, reference, strict=True):
        assert one.grad is not None and other.grad is not None
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=0, atol=1e-4)
    assert by_onednn == [(*shape, LEAST_SIDE), (*shape, WIDE)]


def test_a_matrix_that_stands_the_other_way_round_and_rows_with_gaps_give_the_same(by_onednn):
    x, weight = numbers(6, 2 * LEAST_SIDE).float()[::2, ::2], numbers(LEAST_SIDE, WIDE, seed=1).float().T
    torch.testing.assert_close(linear(x, weight), functional.linear(x, weight), rtol=0, atol=1e-4)
    assert len(by_onednn) == 1


def test_a_frozen_matrix_takes_no_gradient_and_keeps_no_rows():
    x, weight = numbers(4, LEAST_SIDE).float().requires_grad_(), numbers(WIDE, LEAST_SIDE, seed=1).float()
    kept: list[torch.Size] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: (kept.append(tensor.shape), tensor)[1], lambda it: it):
        linear(x, weight).sum().backward()
    assert weight.grad is None and x.grad is not None
    assert kept == [weight.shape]


@pytest.mark.parametrize(
    "x, weight",
    [
        (numbers(4, LEAST_SIDE - 1).float(), numbers(WIDE, LEAST_SIDE - 1).float()),
        (numbers(4, LEAST_SIDE).float(), numbers(LEAST_SIDE - 1, LEAST_SIDE).float()),
        (numbers(4, LEAST_SIDE), numbers(WIDE, LEAST_SIDE)),
        (numbers(4, LEAST_SIDE).bfloat16(), numbers(WIDE, LEAST_SIDE).bfloat16()),
        (numbers(0, LEAST_SIDE).float(), numbers(WIDE, LEAST_SIDE).float()),
    ],
    ids=["narrow", "short", "64 bits", "16 bits", "no rows"],
)
def test_what_does_not_suit_stays_with_pytorch_bit_for_bit(by_onednn, x, weight):
    assert torch.equal(linear(x, weight), functional.linear(x, weight))
    assert by_onednn == []


def test_autocast_keeps_its_16_bits(by_onednn):
    with torch.autocast("cpu", torch.bfloat16):
        found = linear(numbers(4, LEAST_SIDE).float(), numbers(WIDE, LEAST_SIDE).float())
    assert found.dtype == torch.bfloat16 and by_onednn == []


def test_a_model_computes_its_plain_layers_so_and_can_be_copied(by_onednn):
    shape = {"hidden_size": LEAST_SIDE, "intermediate_size": WIDE, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, **shape)).eval()
    ids = torch.arange(10).view(2, 5)
    plain, names = model(ids).logits, list(model.state_dict())
    quicken(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.model.layers[0].mlp.up_proj.weight.zero_()
    torch.testing.assert_close(model(ids).logits, plain, rtol=0, atol=1e-5)
    assert len(by_onednn) == 7  # four of attention, three of the feed-forward block; the head is too small
    assert list(model.state_dict()) == names and not torch.allclose(twin(ids).logits, plain, atol=1e-5)


def test_layers_of_another_kind_are_left_alone():
    model = nn.ModuleDict({"plain": nn.Linear(4, 4), "other": nn.Bilinear(2, 2, 2)})
    quicken(model)
    assert type(model["plain"]) is QuickLinear and type(model["other"]) is nn.Bilinear


def test_rows_of_16_bits_with_gaps_are_laid_together_and_not_the_matrix_copied_for_each():
    x, weight = numbers(24, 7, 32).bfloat16()[:, -1:], numbers(64, 32, seed=1).bfloat16()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as seen:
        found = linear(x, weight)
    # One product of all rows; PyTorch by itself makes 24 of one row, each with a copy of the matrix.
    assert not [event for event in seen.events() if event.name == "aten::bmm"]
    assert found.shape == (24, 1, 64)
    exact = functional.linear(x.double(), weight.double())
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-3)
