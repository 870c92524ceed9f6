"""Training of a reward model on soft labels."""

import pytest
import torch

from rlhf_core.config.run import RewardConfig
from rlhf_core.data.reward_examples import GradedLines, LabelledPair, Ranking, Rating, StepLabels
from rlhf_core.errors import InvalidInput, TrainingFailed
from rlhf_core.records.samples import Prompt
from rlhf_core.reward_models.ensemble import Scoring
from rlhf_core.reward_models.reward_model import RewardModel, new_models, score_all
from rlhf_core.training.reward.batch_loss import Goal, Lesson, Scored, batch_loss
from rlhf_core.training.reward.losses import preference_accuracy
from rlhf_core.training.reward.trainer import by_replies, train_reward_models

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
    a, b = (model.score([(pair.prompt, pair.replies[index]) for pair in unseen]).mean(1) for index in (0, 1))
    share, n = preference_accuracy(a, b, torch.tensor([pair.probability for pair in unseen]))
    assert n == len(unseen)
    return share


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_model_learns_and_generalises_to_pairs_it_has_not_seen(tiny_model, kind):
    model = new_model(tiny_model(kind))
    steps = list(train_reward_models([model], [pairs(0, 40)], CONFIG, 0))
    assert steps[-1].values["loss"] < steps[0].values["loss"] and steps[-1].step == steps[-1].steps == 50
    assert accuracy(model, pairs(100, 130)) > 0.9


@pytest.mark.parametrize("layers", [None, 1])
def test_all_weights_learn_it_too_and_the_base_stays_as_it_was(tiny_model, tmp_path, layers):
    backbone = tiny_model()
    before = {name: tensor.clone() for name, tensor in backbone.model.named_parameters()}
    config = CONFIG.model_copy(update={"tune": "full", "learning_rate": 1e-3, "layers": layers})
    (model,) = new_models(backbone, "reward", ["stars"], config, 0, seed=0)
    list(train_reward_models([model], [pairs(0, 40)], config, 0))
    assert accuracy(model, pairs(100, 130)) > 0.9
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.model.named_parameters())
    model.save(tmp_path)
    again = RewardModel.load(backbone, "again", tmp_path)
    asked = [(pair.prompt, pair.replies[0]) for pair in pairs(100, 104)]
    assert backbone.adapters.is_dense("again") and torch.equal(again.score(asked), model.score(asked))


def test_members_become_different(tiny_model):
    model = new_model(tiny_model())
    list(train_reward_models([model], [pairs(0, 16)], CONFIG, 0))
    scores = model.score([(pair.prompt, pair.a) for pair in pairs(100, 104)])
    assert (scores.std(1) > 0).all()


def test_centred_scores_stay_near_0(tiny_model):
    model = new_model(tiny_model())
    list(train_reward_models([model], [pairs(0, 40)], CONFIG.model_copy(update={"center_coef": 0.1}), 0))
    scores = model.score([(pair.prompt, text) for pair in pairs(0, 40) for text in (pair.a, pair.b)])
    assert scores.mean().abs() < 0.3


def test_base_and_other_adapters_stay_as_they_are(tiny_model):
    model = new_model(tiny_model())
    model.backbone.adapters.add("other", 1)
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


STARS = ("*" * 5, "*" * 3 + "--", "-" * 5)
"""Replies from the best to the worst."""


def unseen() -> list[LabelledPair]:
    return pairs(100, 120)


def learn(model: RewardModel, labels: list, config: RewardConfig = CONFIG, **settings) -> None:
    list(train_reward_models([model], [labels], config.model_copy(update=settings), 0))


def test_rankings_teach_the_same_order(tiny_model):
    model = new_model(tiny_model())
    learn(model, [Ranking(Prompt.of(f"say {i}"), tuple(f"{s} {i}" for s in STARS), (1, 2, 3)) for i in range(24)])
    assert accuracy(model, unseen()) > 0.9


def test_ratings_teach_scores_in_their_own_unit(tiny_model):
    model = new_model(tiny_model())
    rated = [
        Rating(Prompt.of(f"say {i}"), f"{text} {i}", 50 - 20 * index)
        for i in range(24)
        for index, text in enumerate(STARS)
    ]
    learn(model, rated, epochs=20)
    scores = model.score([(one.prompt, one.reply) for one in rated]).mean(1)
    z = torch.tensor([one.rating - 30 for one in rated]) / (800 / 3) ** 0.5
    assert (scores - z).square().mean() < 0.5 * z.square().mean()


def test_ratings_that_are_all_the_same_are_refused(tiny_model):
    rated = [Rating(Prompt.of(f"say {i}"), "x", 3.0) for i in range(4)]
    with pytest.raises(TrainingFailed, match="all 4 ratings of 'stars' are 3"):
        learn(new_model(tiny_model()), rated)
    people = [one._replace(source="human") for one in rated]
    learn(new_model(tiny_model()), people, epochs=1)  # they have only begun


def test_step_labels_teach_which_line_is_wrong(tiny_model):
    model = new_model(tiny_model())
    model.scoring = Scoring(process=True)
    good, bad = "***", "---"
    labels = [
        StepLabels(Prompt.of(f"say {i}"), tuple(good if bit else bad for bit in bits), tuple(map(float, bits)))
        for i in range(12)
        for bits in ((1, 0), (0, 1), (1, 1))
    ]
    config = CONFIG.model_copy(update={"epochs": 20})
    losses = [step.values["loss"] for step in train_reward_models([model], [labels], config, 0)]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    (members,) = score_all([model], [(Prompt.of("say 99"), "***\n---"), (Prompt.of("say 99"), "---\n***")])
    (good, _), (bad, _) = members.steps
    assert good > bad, "of lines in one place"
    for reply, lines in zip(members.replies.mean(1), members.steps, strict=True):
        assert reply <= min(lines) + 1e-5, "a reply is as good as its worst line"


def test_a_graded_line_costs_the_square_of_its_scores_distance_in_the_grades_unit():
    label = GradedLines(Prompt.of("x"), "a\nb", (2.0, -2.0))
    lesson = Lesson(label, (), 0, torch.tensor([1.0, 0.5]))
    steps = torch.tensor([[1.0, 0.0], [2.0, -1.0]])  # two lines, two members
    # In units of 2 the grades are 1 and -1; members miss by 0 and 3, and by 1 and 0. Means of squares: 4.5 and .5.
    loss = batch_loss([Scored(lesson, steps.sum(0), steps)], [Goal(grade_scale=2.0)], CONFIG)
    assert loss.item() == pytest.approx((1 * 4.5 + 0.5 * 0.5) / 2)


def test_beyond_outliers_a_line_costs_in_proportion_to_its_miss():
    label = GradedLines(Prompt.of("x"), "a\nb", (2.0, -2.0))
    steps = torch.tensor([[1.0, 0.0], [2.0, -1.0]])  # members miss by 0 and 3, and by -1 and 0, in units of 2
    one = Scored(Lesson(label, (), 0, torch.ones(2)), steps.sum(0), steps)
    loss = batch_loss([one], [Goal(grade_scale=2.0)], CONFIG.model_copy(update={"grade_outliers": 0.5}))
    # |miss| less a half of .5: 2.75 and .75 over two lines and two members
    assert loss.item() == pytest.approx((2.75 + 0.75) / 4)


def test_graded_lines_teach_what_each_line_is_worth(tiny_model):
    model = new_model(tiny_model())
    model.scoring = Scoring(process=True, step_pool="sum")
    labels = [
        GradedLines(
            Prompt.of(f"say {i}"), "\n".join("***" if bit else "---" for bit in bits), tuple(30.0 * b for b in bits)
        )
        for i in range(12)
        for bits in ((1, -1), (-1, 1), (1, 1))
    ]
    losses = [
        step.values["loss"]
        for step in train_reward_models([model], [labels], CONFIG.model_copy(update={"epochs": 20}), 0)
    ]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert sum(losses[:5]) / 5 < 2, "in the unit of the grades, not in points"


def test_grades_that_are_all_zero_are_refused(tiny_model):
    model = new_model(tiny_model())
    model.scoring = Scoring(process=True)
    with pytest.raises(TrainingFailed, match="no pair with a preference"):
        learn(model, [GradedLines(Prompt.of("x"), "a", (0.0,))])


def test_step_labels_need_a_model_that_scores_lines(tiny_model):
    with pytest.raises(InvalidInput, match=r"labels of steps; allowed for objectives that reward\.process names"):
        learn(new_model(tiny_model()), [StepLabels(Prompt.of("x"), ("a",), (1.0,))])


def test_ties_as_an_outcome_keep_tied_replies_together(tiny_model):
    model = new_model(tiny_model())
    tied = [LabelledPair(Prompt.of(f"say {i}"), f"*** {i}", f"**** {i}", 0.5, tied=True) for i in range(20)]
    learn(model, [*pairs(0, 20), *tied], ties="davidson")
    replies = [(Prompt.of("say 200"), text) for text in ("*** 200", "**** 200", "--- 200")]
    three, four, none = model.score(replies).mean(1)
    assert abs(three - four) < min(three, four) - none


def test_models_of_one_trunk_learn_their_own_objectives_together(tiny_model):
    backbone = tiny_model()
    more = new_model(backbone)
    less = RewardModel(backbone, "reward", "dashes", 2, seed=5)
    swapped = [pair._replace(probability=1 - pair.probability) for pair in pairs(0, 40)]
    steps = list(train_reward_models([more, less], [pairs(0, 40), swapped], CONFIG, 0))
    assert steps[-1].step == steps[-1].steps == 50 and steps[0].stage == "reward"
    assert {"loss", "accuracy.stars", "accuracy.dashes"} <= {name for step in steps for name in step.values}
    assert accuracy(more, unseen()) > 0.9 and accuracy(less, unseen()) < 0.1


def test_what_two_models_of_a_trunk_learn_from_the_same_replies_is_read_once(tiny_model, monkeypatch):
    backbone = tiny_model()
    models = [new_model(backbone), RewardModel(backbone, "reward", "dashes", 2, seed=5)]
    read: list[int] = []
    pooled = backbone.pooled
    monkeypatch.setattr(backbone, "pooled", lambda rows, layers: read.append(len(rows)) or pooled(rows))
    once = CONFIG.model_copy(update={"epochs": 1})
    list(train_reward_models(models, [pairs(0, 16), pairs(8, 24)], once, 0))
    assert read == [16, 16, 16]  # 24 pairs of two replies, 8 at a time
    read.clear()
    list(train_reward_models(models[:1], [[*pairs(0, 8), *pairs(0, 8)]], once, 0))
    assert len(read) == 2  # two labels of one model on one pair are two examples


def test_examples_are_grouped_by_their_replies_across_models_only():
    assert by_replies([["x", "y", "x"], ["y", "z", "y"]], [[1, 2, 3], [4, 5, 6]]) == [[1], [2, 4], [3], [5], [6]]


def test_training_stops_when_unseen_labels_are_no_longer_fitted_and_the_best_epoch_stays(tiny_model):
    against = [pair._replace(probability=1 - pair.probability) for pair in pairs(40, 60)]
    model = new_model(tiny_model())
    steps = list(train_reward_models([model], [pairs(0, 40)], CONFIG, 0, [against]))
    assert len(steps) == 10, "labels that say the opposite are fitted worse after the second epoch"
    once = new_model(tiny_model())
    first = CONFIG.model_copy(update={"epochs": 10})
    for number, _ in enumerate(train_reward_models([once], [pairs(0, 40)], first, 0), 1):
        if number == 5:
            break
    assert torch.equal(model.heads.weight, once.heads.weight)


def test_cautious_ensembles_are_fitted_on_the_replies_behind_the_labels(tiny_model):
    model = new_model(tiny_model())
    model.scoring = Scoring(aggregate="wco")
    learn(model, pairs(0, 24), correct_length=True)
    members = score_all([model], [(pair.prompt, text) for pair in pairs(0, 24) for text in pair.replies], raw=True)
    assert model.scoring.member_sd and model.scoring.length_slope != 0
    raw = members[0].replies.mean(1)
    assert not torch.allclose(model.score([(pairs(0, 1)[0].prompt, pairs(0, 1)[0].a)]).mean(), raw[0])


@pytest.mark.parametrize("killed_after", [3, 5, 6, 10])
def test_training_that_was_killed_goes_on_from_its_snapshot_and_ends_alike(tiny_model, tmp_path, killed_after):
    labels, against = [pairs(0, 40)], [[pair._replace(probability=1 - pair.probability) for pair in pairs(40, 60)]]
    straight, killed, resumed = (new_model(tiny_model()) for _ in range(3))
    whole = list(train_reward_models([straight], labels, CONFIG, 0, against))
    for step in train_reward_models([killed], labels, CONFIG, 0, against, keep=lambda state: state.save(tmp_path)):
        if step.step == killed_after:
            break
    rest = list(train_reward_models([resumed], labels, CONFIG, 0, against, tmp_path))
    assert [step.step for step in rest] == list(range(killed_after + 1, len(whole) + 1))
    assert all(torch.equal(*both) for both in zip(straight.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("rows", [1, 3])
def test_an_update_in_several_passes_is_that_of_one(tiny_model, rows):
    ranking = Ranking(Prompt.of("say"), ("***", "--", "*"), (1.0, 3.0, 2.0))
    labels = [*pairs(0, 6), ranking, Rating(Prompt.of("how"), "**", 3.0), Rating(Prompt.of("how"), "--", 1.0)]
    ends, losses = [], []
    for size in (None, rows):
        model = new_model(tiny_model())
        config = CONFIG.model_copy(update={"epochs": 2, "micro_batch_size": size})
        steps = list(train_reward_models([model], [labels], config, 0))
        losses.append([step.values["loss"] for step in steps])
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert torch.allclose(*ends, atol=1e-5)
