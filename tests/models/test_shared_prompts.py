"""Responses to one prompt read it once: the same states and gradients, from fewer positions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rlhf_core.models import logprobs
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import Batch, make_batch
from rlhf_core.models.logprobs import response_tokens, states_before

KINDS = ("llama", "gpt2", "qwen3")
SHORT, LONG = [7, 8, 9], [5, 6, 7, 8, 9, 10, 11, 12]
PROMPTS = [LONG, SHORT, LONG, SHORT, LONG]
RESPONSES = [[3, 4, 5, 6], [6, 5], [4, 4, 4], [9, 9, 9, 1], [2]]


def batch_of(backbone: Backbone) -> Batch:
    return make_batch(backbone, PROMPTS, RESPONSES)


def positions(backbone: Backbone) -> list[tuple[int, ...]]:
    """The shapes of the ids that the model is given, pass by pass."""
    assert backbone._spared_block is not None, "what is tried once is not counted"
    seen: list[tuple[int, ...]] = []
    embedding = backbone.model.get_input_embeddings()
    embedding.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    return seen


def gradients(backbone: Backbone) -> tuple[Tensor, list[Tensor]]:
    """Log-probs (B, T), and the slopes of their weighted sum."""
    with backbone.adapters.using("policy", train=True):
        result = response_tokens(backbone, batch_of(backbone)).logprobs
        slopes = torch.autograd.grad(
            (result * torch.linspace(-1, 2, result.numel()).view_as(result)).sum(),
            backbone.adapters.parameters("policy"),
        )
    return result.detach(), list(slopes)


def alone(backbone: Backbone, monkeypatch) -> tuple[Tensor, list[Tensor]]:
    with monkeypatch.context() as patch:
        patch.setattr(logprobs, "WORTH_SHARING", 0.0)
        return gradients(backbone)


@pytest.mark.parametrize("kind", KINDS)
def test_shared_prompts_change_neither_logprobs_nor_gradients(tiny_model, kind, monkeypatch):
    backbone = tiny_model(kind)
    backbone.adapters.add("policy", 0)
    with torch.no_grad():
        for parameter in backbone.adapters.parameters("policy"):
            parameter.add_(0.05)
    logprobs_shared, slopes_shared = gradients(backbone)
    logprobs_alone, slopes_alone = alone(backbone, monkeypatch)
    torch.testing.assert_close(logprobs_shared, logprobs_alone, atol=1e-5, rtol=1e-5)
    assert max(float(slope.abs().max()) for slope in slopes_alone) > 1e-3
    for one, other in zip(slopes_shared, slopes_alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_each_prompt_is_read_once_and_the_last_token_of_a_response_not_at_all(tiny_model):
    backbone = tiny_model("llama")
    seen = positions(backbone)
    states = states_before(backbone, batch_of(backbone))
    assert seen == [(2, 8), (5, 3)]
    assert states.shape == (5, 4, backbone.hidden_size)


@pytest.mark.parametrize(
    ("prompts", "responses"),
    [([LONG, SHORT], [[3] * 6, [5]]), ([SHORT, SHORT], [[3], [4]])],
    ids=["nothing is shared", "responses of one token"],
)
def test_where_sharing_saves_nothing_there_is_one_pass(tiny_model, prompts, responses):
    backbone = tiny_model("llama")
    seen = positions(backbone)
    batch = make_batch(backbone, prompts, responses)
    assert states_before(backbone, batch).shape == (2, batch.mask.shape[1], backbone.hidden_size)
    assert seen == [tuple(batch.ids.shape)]


def test_what_shares_a_prompt_adds_up_its_gradient_in_one_order(tiny_model):
    backbone = tiny_model("llama")
    backbone.adapters.add("policy", 0)
    batch = make_batch(backbone, [LONG * 4] * 128, [[3 + i % 7, 4, 5] for i in range(128)])
    weights = torch.randn(128, 3, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    torch.set_num_threads(max(2, threads))
    repeats = []
    try:
        for _ in range(8):
            with backbone.adapters.using("policy", train=True):
                loss = (response_tokens(backbone, batch).logprobs * weights).sum()
                repeats.append(torch.autograd.grad(loss, backbone.adapters.parameters("policy")))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for again in repeats[1:] for one, other in zip(repeats[0], again, strict=True))
