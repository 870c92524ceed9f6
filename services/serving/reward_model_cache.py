"""The reward models of the store, loaded when they are first asked for; models of one trunk share it here too.

All methods run on the thread that owns the models.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.errors import CharterError
from rlhf_core.models.base_models import Bases
from rlhf_core.records.models import Score
from rlhf_core.records.samples import Sample
from rlhf_core.reward_models.reward_model import Members, RewardModel, score_all
from rlhf_core.store.store import Store


class RewardShelf:
    def __init__(self, bases: Bases, store: Store, prefix: str, most: int):
        """Adapters' names begin with the prefix; at most so many models stay, the ones unused for longest leave."""
        self._bases, self._store, self._prefix, self._most = bases, store, prefix, most
        self._models: dict[str, RewardModel] = {}

    def score(self, samples: Sequence[Sample], versions: Sequence[str]) -> list[Score]:
        """Score all samples by the first model, then by the second.

        A score has the ensemble's value, its members' spread, and the steps' values.
        """
        models = [self._model(version, versions) for version in versions]
        conversations = [(sample.prompt, sample.response) for sample in samples]
        found = zip(versions, models, score_all(models, conversations), strict=True)
        return [score for one in found for score in _scores(samples, *one)]

    def _model(self, version_id: str, in_use: Sequence[str]) -> RewardModel:
        if version_id in self._models:
            self._models[version_id] = self._models.pop(version_id)
            return self._models[version_id]
        version = self._store.reward_models.get(version_id)
        base = self._bases.of(version.base_model)
        folder = self._store.artifacts.get_folder(version.artifact)
        model = RewardModel.load(base, f"{self._prefix}{version.artifact}", folder, version.objective)
        self._models[version_id] = model
        unused = [name for name in self._models if name not in in_use]
        for oldest in unused[: max(0, len(self._models) - self._most)]:
            self._drop(oldest)
        return model

    def _drop(self, version_id: str) -> None:
        model = self._models.pop(version_id)
        trunk = model.backbone, model.adapter
        if trunk not in [(other.backbone, other.adapter) for other in self._models.values()]:
            model.backbone.adapters.delete(model.adapter)


def _scores(samples: Sequence[Sample], version_id: str, model: RewardModel, members: Members) -> list[Score]:
    if not bool(members.replies.isfinite().all()):
        raise CharterError(f"reward model '{version_id}' gives a score that is not finite; train it again")
    means, spreads = members.replies.mean(1).tolist(), members.replies.std(1, correction=0).tolist()
    return [
        Score(
            sample_id=sample.id,
            objective=model.objective,
            reward_model=version_id,
            score=mean,
            spread=spread,
            steps=steps,
        )
        for sample, mean, spread, steps in zip(samples, means, spreads, members.steps, strict=True)
    ]
