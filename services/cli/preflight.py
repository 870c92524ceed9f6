"""Everything about a run that can be checked before a model loads: weights, files, folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from rlhf_core.config.feedback import POLICY, BackendConfig, FeedbackConfig
from rlhf_core.config.model_defaults import SANDBOX, constitution_for
from rlhf_core.config.run import ModelConfig, RunConfig
from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.load import BUILTIN, load_with_text
from rlhf_core.constitution.weights import resolve_weights
from rlhf_core.data.loaders import check_labels, load_demonstrations, load_preferences, load_prompts
from rlhf_core.data.row_files import BUILTIN_DATA
from rlhf_core.datasets.references import is_reference
from rlhf_core.errors import InvalidInput
from rlhf_core.models.gguf import gguf_file
from rlhf_core.records.runs import Run
from services.cli.run_config import load_config, nearest
from services.client.client import CharterClient
from services.serving.endpoints import check_endpoints

Backend = TypeVar("Backend", bound=BackendConfig)


class Labels(NamedTuple):
    """What a run is to be known by."""

    display_name: str = ""
    tags: Mapping[str, str] = MappingProxyType({})

    @classmethod
    def of(cls, name: str, tags: Sequence[str]) -> Labels:
        """Read labels from options. Raises InvalidInput for a tag without a value."""
        for tag in tags:
            if "=" not in tag:
                raise InvalidInput(f"--tag: '{tag}' has no value; write it as KEY=VALUE, such as sweep=kl")
        return cls(name, dict(tag.split("=", 1) for tag in tags))


class Plan(NamedTuple):
    """A run that is ready to be asked for: every weight spelled out, every path absolute."""

    config: RunConfig
    constitution: Constitution | None
    """None where it is a dataset, which only the server can read."""
    constitution_yaml: str

    def create(self, client: CharterClient, labels: Labels) -> Run:
        """Have the server queue the run."""
        return client.trainer.create_run(
            self.config, constitution_yaml=self.constitution_yaml, display_name=labels.display_name, tags=labels.tags
        )


def plan_run(file: str, overrides: Sequence[str], weights: str, seed: int | None, *, local: bool) -> Plan:
    """Return the run that the options ask for; raises InvalidInput for whatever would stop it later.

    With `local` the run's data and model must exist here; a remote server has its own files.
    """
    seeds = [f"seed={seed}"] if seed is not None else []
    config = load_config(file or None, [*overrides, *seeds], weights)
    name = config.constitution or constitution_for(config.model.base_model)
    constitution, text = (None, "") if is_reference(name) else load_with_text(name)
    resolved = config
    if constitution is not None:
        resolved = config.model_copy(update={"weights": resolve_weights(constitution, config.weights)})
    if local:
        _check_data(resolved, constitution)
        check_other_models(config.feedback)
        check_endpoints(config.feedback)
        resolved = _with_absolute_paths(resolved)
    return Plan(resolved, constitution, text)


def _check_data(config: RunConfig, constitution: Constitution | None) -> None:
    data = config.data
    for path, load in (
        (data.prompts, load_prompts),
        (data.heldout_prompts, load_prompts),
        (data.demonstrations, load_demonstrations),
        (data.replay, load_demonstrations),
        (data.preferences, load_preferences),
    ):
        if path is not None and not is_reference(path):
            load(path)
    objective = data.preferences_objective
    if (data.preferences is None) != (objective is None):
        raise InvalidInput("data: give preferences and preferences_objective together", "data.preferences_objective")
    if constitution is not None:
        if objective is not None and objective not in constitution.objective_names:
            hint = nearest(objective, constitution.objective_names)
            raise InvalidInput(f"data.preferences_objective: unknown objective '{objective}'{hint}")
        check_labels(config, constitution.objective_names, lambda path: None if is_reference(path) else path)
    check_model(config.model)
    if config.reward.base_model is not None:
        _check_folder(config.reward.base_model, "reward.base_model")


def check_model(model: ModelConfig) -> None:
    """Check that a base model that is written as a path is a folder with a model in it."""
    _check_folder(model.base_model, "model.base_model")


def check_other_models(feedback: FeedbackConfig) -> None:
    """Check the same for the critic and the judges, where they are not behind an endpoint."""
    for place, backend in feedback.asked().items():
        if backend.model != POLICY and not backend.served_name:
            _check_folder(backend.model, f"{place}.model")


def _check_folder(name: str, field: str) -> None:
    if gguf_file(name, field) is not None:
        return
    folder = Path(name).expanduser()
    looks_like_a_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith("/")
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InvalidInput(f"{field}: folder '{name}' has no config.json, so no model", field)
    elif looks_like_a_path:
        raise InvalidInput(f"{field}: no folder '{name}'", field)


def _with_absolute_paths(config: RunConfig) -> RunConfig:
    """A run may be resumed from another working directory."""
    paths = ("prompts", "heldout_prompts", "demonstrations", "replay", "preferences")
    data: dict[str, object] = {
        name: _whole(value) for name in paths if (value := getattr(config.data, name)) is not None
    }
    data["labels"] = {name: _whole(path) for name, path in config.data.labels.items()}
    reward = {"base_model": _absolute(config.reward.base_model)} if config.reward.base_model else {}
    model = {} if config.model.base_model == SANDBOX else {"base_model": _absolute(config.model.base_model)}
    judge = config.feedback.judge
    feedback = {
        "critic": _whole_backend(config.feedback.critic),
        "judge": _whole_backend(judge.model_copy(update={"panel": tuple(map(_whole_backend, judge.panel))})),
    }
    constitution = config.constitution
    if constitution is not None and constitution not in BUILTIN and not is_reference(constitution):
        constitution = str(Path(constitution).absolute())
    return config.model_copy(
        update={
            "data": config.data.model_copy(update=data),
            "reward": config.reward.model_copy(update=reward),
            "model": config.model.model_copy(update=model),
            "feedback": config.feedback.model_copy(update=feedback),
            "constitution": constitution,
        }
    )


def _whole_backend(backend: Backend) -> Backend:
    model = backend.model if backend.served_name else _absolute(backend.model)
    return backend.model_copy(update={"model": model})


def _whole(path: str) -> str:
    """The whole path of a file; the name of what is built in, or of a dataset, stays."""
    return path if path.startswith(BUILTIN_DATA) or is_reference(path) else str(Path(path).absolute())


def _absolute(model: str) -> str:
    """The whole path of a folder or a GGUF file; the name of a model that is neither stays."""
    path = Path(model).expanduser()
    return str(path.absolute()) if model != POLICY and path.exists() else model
