"""Log-probs by chunks: the same numbers and gradients as from all logits at once, and never all logits."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.models import logprobs as module
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import Batch, make_batch
from rlhf_core.models.logprobs import response_tokens, token_entropy, token_logprobs
from rlhf_core.models.policy import Policy
from tests.conftest import save_model, save_tokenizer

PROMPTS = [[1, 2, 3], [9] * 10, [4, 5]]
RESPONSES = [[11, 12, 256], [13, 256], [14, 15, 16, 17, 256]]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
@pytest.mark.parametrize("dense", [False, True])
def test_chunks_give_the_numbers_and_gradients_of_all_logits_at_once(tiny_model, monkeypatch, kind, dense):
    backbone = tiny_model(kind)
    backbone.adapters.add("low", 0)
    name = "low"
    if dense:
        backbone.adapters.add_dense("whole", "low")
        name = "whole"
    batch, parameters = make_batch(backbone, PROMPTS, RESPONSES), backbone.adapters.parameters(name)
    keep, result = batch.mask.bool(), []
    three = 3 * 4 * backbone.vocabulary
    for size, kept in ((2**25, 2**25), (three, 2**25), (three, 0)):  # one chunk; of three tokens, kept or made again
        monkeypatch.setattr(module, "CHUNK_BYTES", size)
        monkeypatch.setattr(module, "KEPT_BYTES", kept)
        monkeypatch.setattr(module, "LEAST_TOKENS", 1)
        with backbone.adapters.using(name, train=True):
            tokens = response_tokens(backbone, batch, 0.8, "loss")
            loss = tokens.logprobs.sum() + 0.3 * tokens.entropy.square().sum() + tokens.hidden.sum()
            result.append((tokens, torch.autograd.grad(loss, parameters, allow_unused=True)))
    with torch.no_grad(), backbone.adapters.using(name):
        logits = backbone.forward(batch.ids, batch.present, batch.mask.shape[1] + 1).logits[:, :-1]
    for tokens, gradients in result:
        expected = token_logprobs(logits, batch.targets, 0.8)
        torch.testing.assert_close(tokens.logprobs[keep], expected[keep], atol=1e-4, rtol=0)
        torch.testing.assert_close(tokens.entropy[keep], token_entropy(logits, 0.8)[keep], atol=1e-4, rtol=0)
        assert not tokens.logprobs[~keep].any() and not tokens.entropy[~keep].any()
        for one, other in zip(gradients, result[0][1], strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
def test_a_frozen_heads_gradient_is_autograds_of_the_logits_divided_by_the_temperature(tiny_model, kind):
    backbone = tiny_model(kind)
    backbone.adapters.add("low", 0)
    batch, parameters = make_batch(backbone, PROMPTS, RESPONSES), backbone.adapters.parameters("low")
    with backbone.adapters.using("low", train=True):
        assert backbone.head_is_plain and backbone.frozen_head is not None
        result = torch.autograd.grad(response_tokens(backbone, batch, 0.5).logprobs.sum(), parameters)
        total = torch.zeros(())
        for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
            logits = backbone.model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
            total = total + (logits / 0.5).log_softmax(-1)[torch.arange(len(response)), response].sum()
        expected = torch.autograd.grad(total, parameters)
    assert max(part.abs().max() for part in expected) > 0.1
    for one, other in zip(result, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_a_model_that_caps_its_logits_is_seen_and_gives_its_own_numbers(tmp_path):
    save_model(tmp_path, "gemma2")
    save_tokenizer(tmp_path)
    backbone = Backbone.load(str(tmp_path), ModelConfig(base_model=str(tmp_path)))
    assert not backbone.head_is_plain
    batch = make_batch(backbone, PROMPTS, RESPONSES)
    with torch.no_grad():
        result = response_tokens(backbone, batch).logprobs
        for i, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
            labels = torch.tensor([[-100] * len(prompt) + response])
            loss = backbone.model(torch.tensor([prompt + response]), labels=labels).loss
            assert result[i].sum().item() == pytest.approx(-loss.item() * len(response), abs=1e-4)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation makes, those of the backward pass included."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return made


@pytest.mark.parametrize("tokens", [48, pytest.param(512, marks=pytest.mark.slow)])
def test_the_largest_buffer_stays_under_64_mb_where_all_logits_would_be_larger(tmp_path, tokens):
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=49_152, **shape))
    save_tokenizer(tmp_path)
    model.save_pretrained(tmp_path)
    lora = LoraConfig(rank=2, alpha=4)
    backbone = Backbone.load(str(tmp_path), ModelConfig(base_model=str(tmp_path), lora=lora))
    backbone.adapters.add("policy", 0)
    policy = Policy(backbone, "policy", ("low",))
    ids = torch.randint(0, 49_152, (8, 16 + tokens), generator=torch.Generator().manual_seed(0))
    batch = Batch(ids, torch.ones_like(ids), torch.ones(8, tokens, dtype=torch.long))
    with Largest() as largest, backbone.adapters.using("policy", train=True):
        evaluation = policy.evaluate(batch, train=True, entropy="loss")
        (evaluation.logprobs.sum() + evaluation.entropy.sum() + evaluation.values.sum()).backward()
    whole = 8 * tokens * 49_152 * 4
    print(f"largest buffer {largest.bytes / 2**20:.1f} MB, all logits {whole / 2**20:.0f} MB")
    assert 2**20 < largest.bytes < 64 * 2**20 < whole
    own = {id(parameter) for parameter in backbone.adapters.parameters("policy")}
    assert all((parameter.grad is not None) == (id(parameter) in own) for parameter in backbone.model.parameters())
