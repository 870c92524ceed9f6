"""The decode loop against plain forward passes and Hugging Face's own `generate`."""

import pytest
import torch
from transformers import GenerationConfig

from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.inference.generate import chat, generate
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import make_batch
from rlhf_core.models.logprobs import response_logprobs
from rlhf_core.records.samples import Message, Prompt
from tests.local_sampler import LocalSampler

KINDS = ("llama", "gpt2", "qwen3")
PROMPTS = [[10, 20, 30], [7] * 12, [1, 2, 3, 4, 5, 6], [200, 100]]


def shaken(backbone: Backbone) -> Backbone:
    backbone.adapters.add("a", 1)
    with torch.no_grad():
        for parameter in backbone.adapters.parameters("a"):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)) * 0.02)
    return backbone


def turns(*texts: str) -> list[tuple[Message, ...]]:
    return [(Message(role="user", content=text),) for text in texts]


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_writing_is_that_of_hugging_face(tiny_model, kind):
    backbone = tiny_model(kind)
    written = generate(backbone, PROMPTS, n=1, temperature=0, max_tokens=20, seed=0)
    settings = GenerationConfig(max_new_tokens=20, do_sample=False, eos_token_id=backbone.eos_id, pad_token_id=0)
    for prompt, result in zip(PROMPTS, written, strict=True):
        ids = torch.tensor([prompt])
        expected = backbone.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        assert result.tokens == expected[0, len(prompt) :].tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_behaviour_logprobs_are_those_of_a_plain_pass(tiny_model, kind, temperature):
    backbone = shaken(tiny_model(kind))
    with backbone.adapters.using("a"):
        written = generate(backbone, PROMPTS, n=3, temperature=temperature, max_tokens=24, seed=5)
        batch = make_batch(backbone, [p for p in PROMPTS for _ in range(3)], [result.tokens for result in written])
        again = response_logprobs(backbone, batch, temperature)
    for row, result in zip(again, written, strict=True):
        assert row[: len(result.tokens)].tolist() == pytest.approx(result.logprobs, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_does_not_depend_on_its_neighbours(tiny_model, kind):
    backbone = tiny_model(kind)
    together = generate(backbone, PROMPTS, n=2, temperature=1.0, max_tokens=16, seed=3)
    for i, prompt in enumerate(PROMPTS):
        alone = generate(backbone, [prompt], n=2, temperature=1.0, max_tokens=16, seed=3)
        assert [result.tokens for result in alone] == [result.tokens for result in together[2 * i : 2 * i + 2]]


def test_a_shared_prefill_gives_what_separate_ones_give(tiny_model):
    backbone = tiny_model()
    forked = generate(backbone, PROMPTS[:2], n=4, temperature=1.0, max_tokens=16, seed=3)
    repeated = generate(
        backbone, [p for p in PROMPTS[:2] for _ in range(4)], n=1, temperature=1.0, max_tokens=16, seed=3
    )
    assert [result.tokens for result in forked] == [result.tokens for result in repeated]
    assert len({tuple(result.tokens) for result in forked}) == 8


def test_each_prompt_may_have_its_own_seed(tiny_model):
    backbone = tiny_model()
    both = generate(backbone, [PROMPTS[0], PROMPTS[0]], n=1, temperature=1.0, max_tokens=8, seed=[1, 2])
    for result, seed in zip(both, (1, 2), strict=True):
        alone = generate(backbone, PROMPTS[:1], n=1, temperature=1.0, max_tokens=8, seed=seed)
        assert result.tokens == alone[0].tokens


def test_sampling_is_unfiltered(tiny_model):  # the frequencies are the whole softmax
    backbone = tiny_model()
    written = generate(backbone, [PROMPTS[0]], n=4000, temperature=1.0, max_tokens=1, seed=0)
    drawn = torch.tensor([result.tokens[0] for result in written])
    logits = backbone.forward(*backbone.pad_left(PROMPTS[:1]), keep=1).logits[0, -1]
    probability = logits.detach().softmax(-1)
    counts = torch.bincount(drawn, minlength=len(probability)).float()
    assert (probability < 1e-3).any() and counts[probability < 1e-3].sum() > 0
    common = probability > 0.01
    error = (counts / 4000 - probability)[common] / (probability * (1 - probability) / 4000).sqrt()[common]
    assert error.abs().max() < 4.5


def test_a_finished_response_ends_with_the_end_token_and_only_there(tiny_model):
    backbone = tiny_model()
    written = generate(backbone, PROMPTS, n=60, temperature=1.5, max_tokens=30, seed=1)
    finished = [result for result in written if result.finished]
    cut = [result for result in written if not result.finished]
    assert finished and cut
    assert all(result.tokens.index(backbone.eos_id) == len(result.tokens) - 1 for result in finished)
    assert all(len(result.tokens) == 30 and backbone.eos_id not in result.tokens for result in cut)
    assert all(len(result.tokens) == len(result.logprobs) for result in written)


def test_a_request_to_stop_cuts_what_is_unfinished(tiny_model):
    calls = iter([False, False, True])
    written = generate(
        tiny_model(), PROMPTS, n=1, temperature=0, max_tokens=30, seed=0, should_stop=lambda: next(calls)
    )
    assert [len(result.tokens) for result in written] == [3] * 4 and not any(result.finished for result in written)


def test_a_prompt_that_leaves_no_room_is_refused(tiny_model):
    with pytest.raises(InvalidInput, match="the prompt has 190 tokens"):
        generate(tiny_model(), [[1] * 190], n=1, temperature=0, max_tokens=3, seed=0)


def test_nothing_to_write_is_nothing_written(tiny_model):
    backbone = tiny_model()
    assert generate(backbone, [], n=2, temperature=1, max_tokens=3, seed=0) == []
    assert chat(backbone, [], 3) == []


def test_chat_is_greedy_and_keeps_the_order(tiny_model):
    backbone = tiny_model()
    texts = chat(backbone, turns("a much longer question", "short", "a much longer question"), 6)
    assert texts[0] == texts[2] and texts[1] == chat(backbone, turns("short"), 6)[0]


def test_the_sampler_names_the_policy_version(tiny_model):
    backbone = shaken(tiny_model())
    sampler = LocalSampler(backbone)
    prompts = [Prompt.of("one"), Prompt.of("two")]
    samples = sampler.generate(prompts, policy_version="a", n=2, max_tokens=8, seed=4)
    assert [sample.prompt.messages[0].content for sample in samples] == ["one", "one", "two", "two"]
    assert {sample.policy_version for sample in samples} == {"a"} and len({sample.id for sample in samples}) == 4
    assert samples == sampler.generate(prompts, policy_version="a", n=2, max_tokens=8, seed=4)
    base = sampler.generate(prompts, policy_version="base", n=2, max_tokens=8, seed=4)
    assert [sample.response for sample in base] != [sample.response for sample in samples]
    with pytest.raises(NotFound, match="unknown adapter 'missing'"):
        sampler.generate(prompts, policy_version="missing")
