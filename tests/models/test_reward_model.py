"""Reward models: one score however a conversation is batched."""

import pytest
import torch

from rlhf_core.errors import InvalidInput
from rlhf_core.models.reward_model import RewardModel
from rlhf_core.records import Message, Prompt

CONVERSATIONS = [
    (Prompt.of("How do I boil an egg?"), "Ten minutes in hot water."),
    (Prompt.of("Hi"), ""),
    (Prompt.from_messages((Message(role="system", content="Be brief."), Message(role="user", content="Why?"))), "So."),
]


@pytest.fixture(params=["llama", "gpt2", "qwen3"])
def model(tiny_model, request) -> RewardModel:
    model = RewardModel.create(tiny_model(request.param), "reward", "helpful", 3, seed=1)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)) * 0.05)
    return model


def test_a_score_is_the_same_alone_batched_and_padded_on_either_side(model):  # check 20
    together = model.score(CONVERSATIONS)
    assert together.shape == (3, 3) and together.std() > 1e-3
    for conversation, scores in zip(CONVERSATIONS, together, strict=True):
        torch.testing.assert_close(model.score([conversation])[0], scores, atol=1e-5, rtol=1e-5)
        row = model.encode(*conversation).ids
        ids = torch.tensor([[*row, *[0] * 9]])
        mask = torch.tensor([[1] * len(row) + [0] * 9])
        with torch.no_grad(), model.backbone.using("reward"):
            hidden = model.backbone.forward(ids, mask, keep=ids.shape[1]).hidden[0, len(row) - 1]
        torch.testing.assert_close(model.heads(hidden), scores, atol=1e-5, rtol=1e-5)


def test_the_text_is_rendered_with_template_and_end_token(tiny_model):  # check 21
    model = RewardModel.create(tiny_model(), "reward", "helpful", 1, seed=1)
    text = model.backbone.tokenizer.decode(model.encode(*CONVERSATIONS[2]).ids)
    assert text == "<|system|>Be brief.<|end|><|user|>Why?<|end|><|assistant|>So.<|end|>"


def test_members_begin_small_and_different(tiny_model):
    model = RewardModel.create(tiny_model(), "reward", "helpful", 3, seed=1)
    assert model.heads.weight.std() < 1 / 20 and not model.heads.bias.any()
    assert len({tuple(row) for row in model.heads.weight.tolist()}) == 3


def test_files_bring_the_model_back(model, tmp_path):  # check 21
    model.save(tmp_path)
    before = model.score(CONVERSATIONS)
    loaded = RewardModel.load(model.backbone, "again", tmp_path)
    assert torch.equal(loaded.score(CONVERSATIONS), before)
    assert (loaded.objective, loaded.members) == ("helpful", 3)


def test_a_folder_without_heads_is_refused_and_leaves_no_adapter(tiny_model, tmp_path):
    backbone = tiny_model()
    with pytest.raises(InvalidInput, match="no reward model for this base"):
        RewardModel.load(backbone, "reward", tmp_path)
    assert backbone.adapters == ()


def test_a_conversation_longer_than_the_context_is_refused(tiny_model):
    model = RewardModel.create(tiny_model(), "reward", "helpful", 1, seed=1)
    with pytest.raises(InvalidInput, match="the context of"):
        model.score([(Prompt.of("x" * 100), "y" * 100)])
