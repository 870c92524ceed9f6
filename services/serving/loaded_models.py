"""The base model of this process with every adapter that the store knows, loaded when it is first asked for.

All methods run on the thread that owns the model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from rlhf_core.config.feedback import FeedbackConfig
from rlhf_core.config.run import EngineName, ModelConfig
from rlhf_core.constitution.constitution import Constitution
from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.judge_cache import Notebook
from rlhf_core.feedback.model_feedback import ModelFeedback, feedback_of
from rlhf_core.models.adapters.base_identity import refuse_other_base, told_in
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.base_models import Bases
from rlhf_core.records.models import Score
from rlhf_core.records.samples import BASE_POLICY, Sample
from rlhf_core.store.store import Store
from services.serving.backends import LocalModel, PanelBackend, load_backends
from services.serving.reward_model_cache import RewardShelf

PREFIX = "serving-"
"""Of the library's adapters, so that they never meet those of a run in training."""
POLICIES, REWARD_MODELS = 4, 16
"""How many adapters of each kind stay loaded; the one unused for longest makes room."""


class ModelLibrary:
    """Local sampler and scorer over one backbone, beside the critic and the judge."""

    def __init__(self, backbone: Backbone, config: ModelConfig, folder: str, store: Store, feedback: FeedbackConfig):
        self.backbone = backbone
        self.backends = load_backends(feedback, LocalModel(backbone, folder), config)
        self._config = config
        self._store = store
        self._policies: dict[str, None] = {}
        self.bases = Bases(backbone, config)
        self._shelf = RewardShelf(self.bases, store, PREFIX, REWARD_MODELS)
        self._notebooks = {place: Notebook() for place in range(max(1, len(self.backends.panel)))}

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """All models of this process: the base, and where they are others those that criticise and judge."""
        own = [model.backbone for model in self.backends.all if isinstance(model, LocalModel)]
        return tuple(dict.fromkeys([self.backbone, *own]))

    @property
    def engine(self) -> EngineName:
        """What the policy's responses are written with."""
        return self._config.engine

    def using_policy(self, version_id: str, in_use: Collection[str] = ()) -> AbstractContextManager[None]:
        """Make the model that of a policy version for one unit of work; those `in_use` stay loaded too.

        NotFound or InvalidInput when there is no such version, or not for this base model.
        """
        return self.backbone.adapters.using(self._policy(version_id, in_use))

    def policy_folder(self, version_id: str) -> Path | None:
        """Return the files of a version's adapter, which are for this base model; None is the base."""
        if version_id == BASE_POLICY:
            return None
        version = self._store.policy_versions.get(version_id)
        folder = self._store.artifacts.get_folder(version.artifact)
        refuse_other_base(folder, self.backbone.name, self.backbone.adapters.base_hash)
        if not told_in(folder) and version.base_model != self.backbone.name:
            raise InvalidInput(
                f"'{version_id}' belongs to base model '{version.base_model}'; here is '{self.backbone.name}'"
            )
        return folder

    @property
    def panel(self) -> Sequence[PanelBackend]:
        """The judges that label together; none where one judge labels alone."""
        return self.backends.panel

    def feedback(
        self,
        constitution: Constitution,
        gone: Callable[[], bool] = lambda: False,
        fresh: bool = False,
        seat: int = 0,
    ) -> ModelFeedback:
        """Return the critic and the judge, whatever the policy has become; of a panel the judge of this `seat`.

        A `fresh` judge does not rely on earlier notes.

        A model of this process would write the same notes again, so it may.
        """
        critic, judge, protocol, method, panel = self.backends
        if panel:
            judge, protocol = panel[seat].model, panel[seat].protocol
        notebook = Notebook() if fresh and not isinstance(judge, LocalModel) else self._notebooks[seat]
        # The judges of a panel differ in how they are asked, which a constitution's wish would undo.
        tokens, as_wanted = self._config.feedback_tokens, bool(panel)
        return feedback_of(critic, judge, constitution, protocol, tokens, gone, notebook, method, as_wanted)

    def score(self, samples: Sequence[Sample], *reward_models: str) -> list[Score]:
        """Score all samples by the first model, then by the second; models of one trunk read a sample once."""
        return self._shelf.score(samples, reward_models)

    def drop_training(self) -> None:
        """Forget what an interrupted run left behind, so that it can begin again from its checkpoint."""
        for base in self.bases.all:
            for name in base.adapters.names:
                if not name.startswith(PREFIX):
                    base.adapters.delete(name)

    def _policy(self, version_id: str, in_use: Collection[str]) -> str | None:
        """The adapter of a version, loaded; None is the base."""
        if version_id == BASE_POLICY:
            return None
        name = f"{PREFIX}{version_id}"
        if name in self._policies:
            self._policies[name] = self._policies.pop(name)
            return name
        folder = self.policy_folder(version_id)
        assert folder is not None
        self.backbone.adapters.load(name, folder)
        self._policies[name] = None
        self._make_room(self._policies, POLICIES, {name, *(f"{PREFIX}{version}" for version in in_use)})
        return name

    def _make_room(self, loaded: dict, most: int, in_use: Collection[str]) -> None:
        unused = [name for name in loaded if name not in in_use]
        for oldest in unused[: max(0, len(loaded) - most)]:
            del loaded[oldest]
            self.backbone.adapters.delete(oldest)
