"""The base model of this process with every adapter that the store knows, loaded when it is first asked for.

All methods run on the thread that owns the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from rlhf_core.backends import FeedbackConfig
from rlhf_core.config import ModelConfig
from rlhf_core.constitution.schema import Constitution
from rlhf_core.errors import CharterError, InvalidInput
from rlhf_core.feedback.local import LocalFeedback, Notes, feedback_of
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.generation import Generated, generate
from rlhf_core.models.reward_model import RewardModel
from rlhf_core.models.stepwise import write_stepwise
from rlhf_core.records import BASE_POLICY, Prompt, Sample, content_id
from rlhf_core.run_records import Score
from rlhf_core.store.store import Store
from services.backends import LocalModel, load_backends
from services.model_queue import Draw

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
        self._reward_models: dict[str, RewardModel] = {}
        self._notes: Notes = {}

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """All models of this process: the base, and where they are others those that criticise and judge."""
        asked = (self.backends.critic, self.backends.judge)
        return tuple(
            dict.fromkeys([self.backbone, *(model.backbone for model in asked if isinstance(model, LocalModel))])
        )

    def generate(self, prompts: Sequence[Prompt], draw: Draw, should_stop: Callable[[], bool]) -> list[Sample]:
        """n samples per prompt, grouped by prompt; a sample's id does not depend on what it is drawn with."""
        with self.backbone.using(self._policy(draw.policy_version)):
            written = generate(
                self.backbone,
                [self.backbone.render(prompt.messages) for prompt in prompts],
                n=draw.n,
                temperature=draw.temperature,
                max_tokens=draw.max_tokens,
                seed=draw.seed,
                should_stop=should_stop,
            )
        seen: Counter[str] = Counter()
        samples: list[Sample] = []
        for prompt, response in zip((p for p in prompts for _ in range(draw.n)), written, strict=True):
            samples.append(self._sample(prompt, draw, seen[prompt.id], response))
            seen[prompt.id] += 1
        return samples

    def stepwise(self, prompt: Prompt, draw: Draw) -> Iterator[Sample]:
        """The sample after each of its tokens."""
        steps = write_stepwise(
            self.backbone,
            lambda: self._policy(draw.policy_version),
            self.backbone.render(prompt.messages),
            temperature=draw.temperature,
            max_tokens=draw.max_tokens,
            seed=draw.seed,
        )
        return (self._sample(prompt, draw, 0, written) for written in steps)

    def feedback(
        self, constitution: Constitution, gone: Callable[[], bool] = lambda: False, fresh: bool = False
    ) -> LocalFeedback:
        """The critic and the judge, whatever the policy has become; a `fresh` judge does not rely on earlier notes.

        A model of this process would write the same notes again, so it may.
        """
        critic, judge, protocol = self.backends
        notes = {} if fresh and not isinstance(judge, LocalModel) else self._notes
        return feedback_of(critic, judge, constitution, protocol, self._config.feedback_tokens, gone, notes)

    def score(self, samples: Sequence[Sample], reward_model: str) -> list[Score]:
        """One reward model's scores: the ensemble's mean, and its standard deviation as spread."""
        model = self._reward_model(reward_model)
        members = model.score([(sample.prompt, sample.response) for sample in samples])  # (B, M)
        if not bool(members.isfinite().all()):
            raise CharterError(f"reward model '{reward_model}' gives a score that is not finite; train it again")
        return [
            Score(
                sample_id=sample.id,
                objective=model.objective,
                reward_model=reward_model,
                score=float(row.mean()),
                spread=float(row.std(correction=0)),
            )
            for sample, row in zip(samples, members, strict=True)
        ]

    def drop_training(self) -> None:
        """Forget what an interrupted run left behind, so that it can begin again from its checkpoint."""
        for name in self.backbone.adapters:
            if not name.startswith(PREFIX):
                self.backbone.delete_adapter(name)

    def _policy(self, version_id: str) -> str | None:
        """The adapter of a version, loaded; None is the base."""
        if version_id == BASE_POLICY:
            return None
        name = f"{PREFIX}{version_id}"
        if name in self._policies:
            self._policies[name] = self._policies.pop(name)
            return name
        version = self._store.policy_version(version_id)
        self._must_fit(version_id, version.base_model)
        self.backbone.load_adapter(name, self._store.artifacts.get_folder(version.artifact))
        self._policies[name] = None
        self._make_room(self._policies, POLICIES)
        return name

    def _reward_model(self, version_id: str) -> RewardModel:
        name = f"{PREFIX}{version_id}"
        if name in self._reward_models:
            self._reward_models[name] = self._reward_models.pop(name)
            return self._reward_models[name]
        version = self._store.reward_model(version_id)
        self._must_fit(version_id, version.base_model)
        folder = self._store.artifacts.get_folder(version.artifact)
        model = self._reward_models[name] = RewardModel.load(self.backbone, name, folder)
        self._make_room(self._reward_models, REWARD_MODELS)
        return model

    def _make_room(self, loaded: dict, most: int) -> None:
        while len(loaded) > most:
            oldest = next(iter(loaded))
            del loaded[oldest]
            self.backbone.delete_adapter(oldest)

    def _must_fit(self, version_id: str, base_model: str) -> None:
        if base_model != self.backbone.name:
            raise InvalidInput(f"'{version_id}' belongs to base model '{base_model}'; here is '{self.backbone.name}'")

    def _sample(self, prompt: Prompt, draw: Draw, index: int, written: Generated) -> Sample:
        return Sample(
            id=content_id(
                "sample", prompt.id, draw.policy_version, draw.seed, index, draw.temperature, draw.max_tokens
            ),
            prompt=prompt,
            response=self.backbone.decode(written.tokens),
            policy_version=draw.policy_version,
            finished=written.finished,
            tokens=len(written.tokens),
            logprob=sum(written.logprobs),
            seed=draw.seed,
        )
