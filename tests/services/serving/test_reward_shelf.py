"""Reward models of the store, loaded as they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.errors import CharterError, NotFound
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.base_models import Bases
from rlhf_core.models.encoder import Encoder
from rlhf_core.records.models import RewardModelVersion
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.reward_models.ensemble import Scoring
from rlhf_core.reward_models.reward_model import RewardModel, save_models
from rlhf_core.store.store import Store
from services.serving.reward_model_cache import RewardShelf
from tests.encoders import save_encoder

SAMPLES = [Sample(id=f"s{n}", prompt=Prompt.of("Q?"), response="one\n" * n, policy_version="base") for n in range(3)]


class Shop:
    """A store with a shelf in front of it."""

    def __init__(self, backbone: Backbone, store: Store, folder: Path, most: int):
        self.backbone, self.store, self._folder = backbone, store, folder
        lora = LoraConfig(rank=4, alpha=8)
        self.bases = Bases(backbone, ModelConfig(base_model=backbone.name, lora=lora))
        self.shelf = RewardShelf(self.bases, store, "serving-", most)

    def add(self, *objectives: str, base: Backbone | Encoder | None = None, scoring: Scoring | None = None) -> None:
        """Models of one new trunk, stored under their objectives' names."""
        trunk = base or self.backbone
        trunk.adapters.add("new", seed=len(objectives[0]))
        models = [RewardModel(trunk, "new", name, 3, seed, scoring) for seed, name in enumerate(objectives)]
        folder = self._folder / objectives[0]
        save_models(models, folder)
        trunk.adapters.delete("new")
        numbers = {"pairs": 1, "human_pairs": 0, "accuracy": 0.5, "accuracy_n": 0}
        made = {"run_id": "r", "base_model": trunk.name, "artifact": self.store.artifacts.put_folder(folder)}
        for name in objectives:
            version = RewardModelVersion(id=name, objective=name, constitution_hash="", **numbers, **made)
            self.store.reward_models.add(version)


@pytest.fixture
def shop(tiny_model: Callable[[str], Backbone], tmp_path: Path) -> Iterator[Callable[[int], Shop]]:
    store = Store.open(tmp_path / "store")
    yield lambda most=16: Shop(tiny_model("llama"), store, tmp_path, most)
    store.close()


def test_scores_come_by_model_with_the_spread_of_the_members_and_a_trunk_is_loaded_once(shop):
    desk = shop()
    desk.add("helpful", "harmless")
    desk.add("honest")
    scores = desk.shelf.score(SAMPLES, ["honest", "harmless", "helpful"])
    assert [(score.reward_model, score.sample_id) for score in scores] == [
        (name, sample.id) for name in ("honest", "harmless", "helpful") for sample in SAMPLES
    ]
    assert all(score.spread > 0 and score.steps == () for score in scores)
    assert len(desk.backbone.adapters.names) == 2
    alone = desk.shelf.score(SAMPLES, ["harmless"])
    assert [score.score for score in alone] == pytest.approx([score.score for score in scores[3:6]], abs=1e-6)


def test_a_model_of_lines_gives_the_scores_of_the_lines(shop):
    desk = shop()
    desk.add("correct", scoring=Scoring(process=True))
    scores = desk.shelf.score(SAMPLES, ["correct"])
    assert [len(score.steps) for score in scores] == [1, 1, 2]
    assert scores[0].score == pytest.approx(scores[0].steps[0], abs=1e-6)


def test_a_model_with_a_base_of_its_own_reads_with_that(shop, tmp_path):
    desk = shop()
    encoder = desk.bases.of(str(save_encoder(tmp_path / "encoder")))
    desk.add("helpful", base=encoder)
    (score, *_) = desk.shelf.score(SAMPLES, ["helpful"])
    assert score.objective == "helpful" and desk.backbone.adapters.names == () and len(encoder.adapters.names) == 1


def test_the_model_unused_for_longest_leaves_but_not_a_trunk_that_another_one_uses(shop):
    desk = shop(2)
    desk.add("helpful", "harmless")
    desk.add("honest")
    for name in ("helpful", "harmless", "honest"):
        desk.shelf.score(SAMPLES, [name])
    assert len(desk.backbone.adapters.names) == 2, "harmless still uses the trunk"
    desk.add("brief")
    desk.shelf.score(SAMPLES, ["brief"])
    assert len(desk.backbone.adapters.names) == 2, "the trunk has left with its last model"


def test_unknown_models_and_scores_that_are_not_finite_are_errors(shop):
    desk = shop()
    with pytest.raises(NotFound, match="reward model 'nothing'"):
        desk.shelf.score(SAMPLES, ["nothing"])
    desk.add("helpful")
    desk.shelf.score(SAMPLES, ["helpful"])
    adapter = desk.backbone.adapters.names[0]
    with torch.no_grad():
        desk.backbone.adapters.parameters(adapter)[0].fill_(float("nan"))
    with pytest.raises(CharterError, match="not finite"):
        desk.shelf.score(SAMPLES, ["helpful"])
