"""Where models meet the wire: loads the base model and equips the worker's runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from transformers.utils.logging import disable_progress_bar

from rlhf_core.config.feedback import FeedbackConfig
from rlhf_core.config.model_defaults import SANDBOX
from rlhf_core.config.run import ModelConfig, RunConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.interfaces import World
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.gguf import model_folder
from rlhf_core.models.kernels.malloc import keep_buffers
from rlhf_core.pipeline import run_pipeline
from rlhf_core.records.runs import Run
from rlhf_core.sandbox.sandbox import MODEL_FOLDER, Sandbox
from rlhf_core.stages.context import Toolbox
from rlhf_core.store.store import Store
from rlhf_core.training.learners.launch import Learning, learners
from services.client.client import CharterClient
from services.serving.executor import Executor
from services.serving.loaded_models import ModelLibrary
from services.worker import Pipeline


def load_library(
    model: ModelConfig, store: Store, feedback: FeedbackConfig, give_way: Callable[[], None] = lambda: None
) -> ModelLibrary:
    """Load the base model, the critic and the judge, ready to be asked; each of their passes begins with `give_way`.

    Call it on the thread that will own the models: torch counts threads per thread.
    """
    torch.set_num_threads(model.threads)
    keep_buffers()
    disable_progress_bar()
    path = base_folder(model)
    library = ModelLibrary(Backbone.load(path, model), model, path, store, feedback)
    for backbone in library.backbones:
        let_others_in(backbone, give_way)
    return library


def base_folder(model: ModelConfig) -> str:
    """Find where the base model of these settings lies. Raises InvalidInput where it cannot be found."""
    return str(MODEL_FOLDER) if model.base_model == SANDBOX else model_folder(model.base_model)


def let_others_in(backbone: Backbone, give_way: Callable[[], None]) -> None:
    """Begin each pass with `give_way`, where other units may run in the middle of a longer one."""

    def before_pass() -> None:
        # They find torch as it is outside of any unit: an adapter that they load must not be made for inference only.
        with torch.inference_mode(False), torch.enable_grad():
            give_way()

    backbone.before_pass = before_pass


def built_in_world(model: ModelConfig) -> World | None:
    """Return the world that the base model was made for."""
    return Sandbox() if model.base_model == SANDBOX else None


class Asked(NamedTuple):
    """The servers that a run asks, which may all be one."""

    policy: CharterClient
    critique: CharterClient
    reward: CharterClient


class Equipment:
    """The toolbox of each run: models through the services that are `asked`, training on the model's own thread."""

    def __init__(
        self, library: ModelLibrary, executor: Executor, asked: Asked, runs_folder: Path, learning: Learning = learners
    ):
        self._learning = learning
        self._library = library
        self._executor = executor
        self._asked = asked
        self._runs_folder = runs_folder
        self._world = Sandbox()

    def tools(self, run: Run, should_stop: Callable[[], bool]) -> Toolbox:
        """Make the tools of a run; feedback ends at once when the run `should_stop`; all else ends with its unit.

        Raises InvalidInput when the policy service has another base model than this process, which trains.
        """
        policy, critique, reward = (client.until(should_stop, run.id) for client in self._asked)
        theirs, ours = policy.policy.get_server_info().base_model, self._library.backbone.name
        if theirs != ours:
            raise InvalidInput(
                f"endpoints.policy: {policy.address} serves base model '{theirs}', here '{ours}' is trained; "
                "start both with the same model section",
                "endpoints.policy",
            )
        own_prompts = RunConfig.stored(run.config).data.prompts
        return Toolbox(
            sampler=policy.policy,
            feedback=lambda constitution: critique.critique.feedback(constitution.hash, should_stop),
            scorer=reward.reward,
            backbone=self._library.backbone,
            base_of=self._library.bases.of,
            on_device=self._executor.call,
            world=self._world if own_prompts is None else None,
            runs_folder=self._runs_folder,
            panel=lambda constitution: critique.critique.feedback(constitution.hash, should_stop).panel,
            learning=self._learning,
        )

    def clean_up(self) -> None:
        self._executor.call(self._library.drop_training)


def core_pipeline() -> Pipeline:
    return run_pipeline
