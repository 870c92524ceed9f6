"""Embeddings have rows that are no tokens: those are never drawn, and all log-probs are of the tokens alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.inference.choice_logprobs import choose
from rlhf_core.inference.generate import generate
from rlhf_core.inference.sampling import pick
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import make_batch
from rlhf_core.models.logprobs import response_tokens
from rlhf_core.records.samples import Message
from tests.conftest import save_model, save_tokenizer

HI = (Message(role="user", content="Hi"),)
TOKENS = 264


@pytest.fixture
def padded(tmp_path: Path) -> Backbone:
    save_model(tmp_path, "llama", vocabulary=1024)
    save_tokenizer(tmp_path)
    return Backbone.load(str(tmp_path), ModelConfig(base_model=str(tmp_path), lora=LoraConfig(rank=4, alpha=8)))


def plain(backbone: Backbone, ids: list[int], temperature: float) -> torch.Tensor:
    with torch.no_grad():
        logits = backbone.model(input_ids=torch.tensor([ids])).logits[0, :, :TOKENS]
    return (logits / temperature).log_softmax(-1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 30.0])
def test_what_is_drawn_are_tokens_and_old_and_new_logprobs_agree(padded, temperature):
    prompt = padded.render(HI)
    drawn = generate(padded, [prompt], n=8, temperature=temperature, max_tokens=12, seed=0)
    assert all(token < TOKENS for result in drawn for token in result.tokens)
    batch = make_batch(padded, [prompt] * 8, [result.tokens for result in drawn])
    padded.adapters.add("a", 0)
    with padded.adapters.using("a", train=True):
        for entropy in ("data", "loss"):
            again = response_tokens(padded, batch, temperature, entropy)
            assert bool(again.entropy.isfinite().all())
            for i, result in enumerate(drawn):
                count = len(result.tokens)
                read = plain(padded, [*prompt, *result.tokens], temperature)[len(prompt) - 1 : -1]
                expected = read.gather(1, torch.tensor(result.tokens)[:, None])[:, 0]
                spread = -(read.exp() * read).sum(-1)
                torch.testing.assert_close(again.logprobs[i, :count], expected, atol=1e-4, rtol=0)
                torch.testing.assert_close(torch.tensor(result.logprobs), expected, atol=1e-4, rtol=0)
                torch.testing.assert_close(again.entropy[i, :count], spread, atol=1e-3, rtol=0)
            again.logprobs.sum().backward()
            assert all(bool(weight.grad.isfinite().all()) for weight in padded.adapters.parameters("a"))


def test_labels_are_weighed_among_tokens_alone(padded):
    (found,) = choose(padded, [HI], ["A", "B"])
    prompt = padded.render(HI)
    read = plain(padded, prompt, 1.0)[-1]
    assert found == pytest.approx(
        [float(read[i]) for i in padded.tokenizer.convert_tokens_to_ids(["A", "B"])], abs=1e-4
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("noise", [None, torch.tensor([0.5], dtype=torch.float64)])
def test_scores_that_are_no_numbers_are_never_sampled_from(value, noise):
    with pytest.raises(InvalidInput, match="are no numbers"):
        pick(torch.tensor([[0.0, value, 1.0]]), 1.0, noise)
