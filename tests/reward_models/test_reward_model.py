"""Reward models: one score however a conversation is batched."""

import pytest
import torch

from rlhf_core.errors import InvalidInput
from rlhf_core.records.samples import Message, Prompt
from rlhf_core.reward_models.ensemble import Scoring
from rlhf_core.reward_models.reward_model import RewardModel, mean_scores, save_models, score_all

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


def test_a_score_is_the_same_alone_batched_and_padded_on_either_side(model):
    together = model.score(CONVERSATIONS)
    assert together.shape == (3, 3) and together.std() > 1e-3
    for conversation, scores in zip(CONVERSATIONS, together, strict=True):
        torch.testing.assert_close(model.score([conversation])[0], scores, atol=1e-5, rtol=1e-5)
        row = model.encode(*conversation).ids
        ids = torch.tensor([[*row, *[0] * 9]])
        mask = torch.tensor([[1] * len(row) + [0] * 9])
        with torch.no_grad(), model.backbone.adapters.using("reward"):
            hidden = model.backbone.forward(ids, mask, keep=ids.shape[1]).hidden[0, len(row) - 1]
        torch.testing.assert_close(model.heads(hidden), scores, atol=1e-5, rtol=1e-5)


def test_the_text_is_rendered_with_template_and_end_token(tiny_model):
    model = RewardModel.create(tiny_model(), "reward", "helpful", 1, seed=1)
    text = model.backbone.tokenizer.decode(model.encode(*CONVERSATIONS[2]).ids)
    assert text == "<|system|>Be brief.<|end|><|user|>Why?<|end|><|assistant|>So.<|end|>"


def test_members_begin_small_and_different(tiny_model):
    model = RewardModel.create(tiny_model(), "reward", "helpful", 3, seed=1)
    assert model.heads.weight.std() < 1 / 20 and not model.heads.bias.any()
    assert len({tuple(row) for row in model.heads.weight.tolist()}) == 3


def test_files_bring_the_model_back(model, tmp_path):
    model.save(tmp_path)
    before = model.score(CONVERSATIONS)
    loaded = RewardModel.load(model.backbone, "again", tmp_path)
    assert torch.equal(loaded.score(CONVERSATIONS), before)
    assert (loaded.objective, loaded.members) == ("helpful", 3)


def test_a_folder_without_heads_is_refused_and_leaves_no_adapter(tiny_model, tmp_path):
    backbone = tiny_model()
    with pytest.raises(InvalidInput, match="no reward model for this base"):
        RewardModel.load(backbone, "reward", tmp_path)
    assert backbone.adapters.names == ()


def test_a_conversation_longer_than_the_context_is_refused(tiny_model):
    model = RewardModel.create(tiny_model(), "reward", "helpful", 1, seed=1)
    with pytest.raises(InvalidInput, match="the context of"):
        model.score([(Prompt.of("x" * 100), "y" * 100)])


def moved(model: RewardModel) -> RewardModel:
    """With weights that training could have left."""
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)) * 0.05)
    return model


def test_models_of_one_trunk_read_once_and_score_as_each_would_alone(tiny_model, monkeypatch):
    backbone = tiny_model()
    first = moved(RewardModel.create(backbone, "trunk", "helpful", 3, seed=1))
    second = RewardModel(backbone, "trunk", "harmless", 2, seed=2)
    own = moved(RewardModel.create(backbone, "own", "honest", 1, seed=3))
    alone = [model.score(CONVERSATIONS) for model in (first, own, second)]
    passes: list[int] = []
    read = backbone.pooled
    monkeypatch.setattr(backbone, "pooled", lambda rows, layers: (passes.append(len(rows)), read(rows, layers))[1])
    together = score_all([first, own, second], CONVERSATIONS)
    assert passes == [3, 3], "one pass for the trunk, one for the model of its own"
    for scores, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(scores.replies, expected)


def test_files_of_a_trunk_hold_the_adapter_once_and_bring_each_objective_back(tiny_model, tmp_path):
    backbone = tiny_model()
    first = moved(RewardModel.create(backbone, "trunk", "helpful", 3, seed=1))
    second = RewardModel(backbone, "trunk", "harmless", 2, seed=2, scoring=Scoring(aggregate="wco", **SCALE))
    save_models([first, second], tmp_path)
    expected = [model.score(CONVERSATIONS) for model in (first, second)]
    loaded = [RewardModel.load(backbone, "again", tmp_path, name) for name in ("helpful", "harmless")]
    assert backbone.adapters.names == ("trunk", "again")
    for model, scores in zip(loaded, expected, strict=True):
        assert torch.equal(model.score(CONVERSATIONS), scores)
    with pytest.raises(InvalidInput, match="no heads of objective 'honest'"):
        RewardModel.load(backbone, "third", tmp_path, "honest")


SCALE = {"member_mean": (0.1, -0.1), "member_sd": (0.5, 2.0)}


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
def test_each_line_of_a_reply_is_scored_at_its_end_as_if_the_reply_ended_there(tiny_model, kind):
    backbone = tiny_model(kind)
    model = moved(RewardModel.create(backbone, "steps", "correct", 2, seed=1))
    model.scoring = Scoring(process=True, step_pool="min")
    (members,) = score_all([model], [(PROMPT, "one\ntwo\nthree"), (PROMPT, "")])
    row = model.encode(PROMPT, "one\ntwo\nthree")
    by_hand = []
    for _, end in row.spans:
        ids = torch.tensor([row.ids[:end]])
        with torch.no_grad(), backbone.adapters.using("steps"):
            hidden = backbone.forward(ids, torch.ones_like(ids), keep=1).hidden[0, -1]
        by_hand.append(model.heads(hidden).detach())
    steps = torch.stack(by_hand)
    assert members.steps[0] == pytest.approx(steps.mean(1).tolist(), abs=1e-5) and len(members.steps[1]) == 1
    torch.testing.assert_close(members.replies[0], steps.amin(0), atol=1e-5, rtol=1e-5)


PROMPT = Prompt.of("Count.")


def test_a_longer_conversation_than_allowed_is_cut_where_that_is_asked_for(tiny_model):
    model = RewardModel.create(tiny_model(), "reward", "helpful", 1, seed=1)
    model.scoring = Scoring(max_tokens=16)
    assert len(model.encode(Prompt.of("x" * 100), "y" * 100).ids) == 16
    assert model.score([(Prompt.of("x" * 100), "y" * 100)]).isfinite().all()


def test_the_same_model_is_the_same_bytes(tiny_model, tmp_path):
    model = RewardModel.create(tiny_model(), "reward", "helpful", 2, seed=1)
    model.scoring = Scoring(aggregate="uwo", **SCALE)
    for name in "ab":
        model.save(tmp_path / name)
    files = [sorted((path.name, path.read_bytes()) for path in (tmp_path / name).iterdir()) for name in "ab"]
    assert files[0] == files[1]


class Length:
    """A rule: longer is better."""

    objective = "length"

    def score(self, conversations):
        return torch.tensor([[float(len(reply))] for _, reply in conversations])


def test_rules_may_stand_among_reward_models(model):
    scores = mean_scores([Length(), model, Length()], CONVERSATIONS)
    assert scores[0].tolist() == scores[2].tolist() == [25.0, 0.0, 3.0]
    torch.testing.assert_close(scores[1], model.score(CONVERSATIONS).mean(1))
