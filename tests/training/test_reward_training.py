"""Training of a reward model on soft labels."""

import pytest
import torch

from rlhf_core.config import RewardConfig
from rlhf_core.errors import InvalidInput, TrainingFailed
from rlhf_core.labels import LabelledPair
from rlhf_core.models.reward_model import RewardModel
from rlhf_core.records import Prompt
from rlhf_core.training.preference import preference_accuracy
from rlhf_core.training.reward_training import train_reward_models

CONFIG = RewardConfig(epochs=10, batch_size=8, learning_rate=5e-3)


def pairs(first: int, last: int) -> list[LabelledPair]:
    """Of two replies the one with more stars is better, with probability 0.9; every second pair is the other way."""
    made = []
    for i in range(first, last):
        more, less = "*" * (3 + i % 3) + f" {i}", "-" * (3 + i % 3) + f" {i}"
        a, b, probability = (more, less, 0.9) if i % 2 else (less, more, 0.1)
        made.append(LabelledPair(Prompt.of(f"say {i}"), a, b, probability))
    return made


def new_model(backbone, members: int = 3) -> RewardModel:
    return RewardModel.create(backbone, "reward", "stars", members, seed=0)


def accuracy(model: RewardModel, unseen: list[LabelledPair]) -> float:
    a, b = (model.score([(pair.prompt, pair.replies[place]) for pair in unseen]).mean(1) for place in (0, 1))
    share, n = preference_accuracy(a, b, torch.tensor([pair.probability for pair in unseen]))
    assert n == len(unseen)
    return share


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_model_learns_and_generalises_to_pairs_it_has_not_seen(tiny_model, kind):
    model = new_model(tiny_model(kind))
    steps = list(train_reward_models([model], [pairs(0, 40)], CONFIG, 0))
    assert steps[-1].values["loss"] < steps[0].values["loss"] and steps[-1].step == steps[-1].steps == 50
    assert accuracy(model, pairs(100, 130)) > 0.9


def test_members_become_different(tiny_model):
    model = new_model(tiny_model())
    list(train_reward_models([model], [pairs(0, 16)], CONFIG, 0))
    scores = model.score([(pair.prompt, pair.a) for pair in pairs(100, 104)])
    assert (scores.std(1) > 0).all()


def test_scores_stay_near_0(tiny_model):
    model = new_model(tiny_model())
    list(train_reward_models([model], [pairs(0, 40)], CONFIG.model_copy(update={"center_coef": 0.1}), 0))
    scores = model.score([(pair.prompt, text) for pair in pairs(0, 40) for text in (pair.a, pair.b)])
    assert scores.mean().abs() < 0.3


def test_base_and_other_adapters_stay_as_they_are(tiny_model):  # check 19
    model = new_model(tiny_model())
    model.backbone.add_adapter("other", 1)
    own = {id(parameter) for parameter in model.parameters()}
    before = {name: p.detach().clone() for name, p in model.backbone.model.named_parameters() if id(p) not in own}
    list(train_reward_models([model], [pairs(0, 8)], CONFIG, 0))
    for name, parameter in model.backbone.model.named_parameters():
        assert id(parameter) in own or torch.equal(parameter, before[name]), name


def test_the_same_seed_gives_the_same_model(tiny_model):
    ends = []
    for _ in range(2):
        model = new_model(tiny_model())
        list(train_reward_models([model], [pairs(0, 8)], CONFIG, 0))
        ends.append(model.heads.weight.detach().clone())
    assert torch.equal(*ends)


def test_pairs_without_a_preference_teach_nothing_and_that_is_said(tiny_model):
    model = new_model(tiny_model())
    ties = [LabelledPair(Prompt.of("x"), "a", "b", 0.5), LabelledPair(Prompt.of("y"), "a", "b", 0.9, weight=0.0)]
    with pytest.raises(TrainingFailed, match="'stars' has no pair with a preference among its 2"):
        list(train_reward_models([model], [ties], CONFIG, 0))


@pytest.mark.parametrize("bad", [{"probability": 1.2}, {"weight": -1.0}, {"probability": float("nan")}])
def test_labels_that_are_no_probabilities_are_refused(tiny_model, bad):
    pair = LabelledPair(Prompt.of("x"), "a", "b", 0.9)
    with pytest.raises(InvalidInput, match="allowed: a probability from 0 to 1"):
        list(train_reward_models([new_model(tiny_model())], [[pair, pair._replace(**bad)]], CONFIG, 0))
