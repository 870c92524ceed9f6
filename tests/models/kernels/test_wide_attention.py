"""Attention of 16 bits that learns on a CPU: in 32 bits, with transformers' own numbers wherever nothing learns."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf_core.models.kernels.wide_attention import NAME, let_widen

IDS = torch.arange(10).view(2, 5)


def model(dtype: torch.dtype) -> LlamaForCausalLM:
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=64, num_key_value_heads=2, attn_implementation="sdpa", **shape)
    return LlamaForCausalLM(config).eval().to(dtype)


@pytest.fixture
def precisions(monkeypatch) -> list[torch.dtype]:
    """Those of the queries that are attended with from here on."""
    seen: list[torch.dtype] = []
    plain = functional.scaled_dot_product_attention
    monkeypatch.setattr(
        functional,
        "scaled_dot_product_attention",
        lambda q, *rest, **more: (seen.append(q.dtype), plain(q, *rest, **more))[1],
    )
    return seen


@pytest.mark.parametrize("mask", [None, torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])])
def test_what_learns_in_16_bits_attends_in_32_and_what_only_reads_does_not(precisions, mask):
    half, exact = model(torch.bfloat16), model(torch.float64)
    exact.load_state_dict({name: tensor.double() for name, tensor in half.state_dict().items()})
    with torch.no_grad():
        plain = half(IDS, attention_mask=mask).logits
    let_widen(half)
    with torch.no_grad():
        assert torch.equal(half(IDS, attention_mask=mask).logits, plain)
    assert set(precisions) == {torch.bfloat16}
    precisions.clear()
    slopes = []
    for one in (half, exact):
        logits = one(IDS, attention_mask=mask).logits[:, -1].double()
        logits.square().sum().backward()
        slopes.append(one.model.layers[0].self_attn.q_proj.weight.grad.double())
        assert torch.isfinite(slopes[-1]).all()
    assert precisions[:2] == [torch.float32, torch.float32]
    # Attention's own share of the gradient is small beside what the other layers round.
    assert (slopes[0] - slopes[1]).norm() < 0.05 * slopes[1].norm()


def test_a_model_of_32_bits_keeps_its_attention():
    plain = model(torch.float32)
    let_widen(plain)
    assert plain.config._attn_implementation == "sdpa" != NAME
