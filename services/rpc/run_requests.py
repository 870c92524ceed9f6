"""What a request for a run must satisfy before it is queued, so that a mistake is told at once and stores nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from rlhf_core.config.feedback import BackendConfig, FeedbackConfig
from rlhf_core.config.run import ModelConfig, RunConfig, check_beginning
from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.load import parse_with_text
from rlhf_core.constitution.weights import resolve_weights
from rlhf_core.data.loaders import check_labels, load_demonstrations, load_preferences, load_prompts
from rlhf_core.data.row_files import BUILTIN_DATA, Source
from rlhf_core.datasets.references import is_reference, pinned, references_in, rows_at
from rlhf_core.errors import InvalidInput, NotFound, suggestion
from rlhf_core.records.runs import Run
from rlhf_core.store.store import Store
from services.rpc.constitutions import Constitutions
from services.rpc.data_roots import check_path
from services.rpc.run_weights import check_steering

OF_THE_RUN = {"max_tokens"}
"""The model settings that a run may choose; the others belong to the server's process."""
NO_PATHS = ("preferences_objective", "overlong")
"""The settings of `data` that name no file."""
LOADERS: Mapping[str, Callable[[Source], object]] = {
    "prompts": load_prompts,
    "heldout_prompts": load_prompts,
    "demonstrations": load_demonstrations,
    "replay": load_demonstrations,
    "preferences": load_preferences,
}


class Asked(NamedTuple):
    """A run that nothing speaks against, with its constitution's text and where that came from."""

    run: Run
    constitution_id: str
    text: str
    source: str
    datasets: tuple[str, ...]
    """The versions that the run names."""


class RunDesk:
    """Takes in runs for one server."""

    def __init__(
        self,
        store: Store,
        constitutions: Constitutions,
        model: ModelConfig,
        feedback: FeedbackConfig,
        roots: Sequence[Path] | None = None,
    ):
        """`roots` are the folders whose files a run may name; None means every file that this process can read."""
        self._store = store
        self._constitutions = constitutions
        self._model = model
        self._feedback = feedback
        self._roots = roots

    def check(self, config_json: str, constitution_yaml: str) -> Asked:
        """Check what a run would be. Raises InvalidInput for whatever would stop it later."""
        config = self._with_whole_id(self._with_own_model(_config(config_json or "{}")))
        config = pinned(self._store, config)
        constitution, text = self._constitution(config, constitution_yaml)
        resolved = config.model_copy(update={"weights": resolve_weights(constitution, config.weights)})
        self._check(resolved, constitution)
        body = resolved.model_dump_json()
        run = Run(id="", kind=config.kind, state="QUEUED", config=body, constitution_hash=constitution.hash)
        return Asked(run, constitution.id, text, config.constitution or "", tuple(references_in(config)))

    def queue(
        self, asked: Asked, request_id: str, tags: Mapping[str, str], display_name: str = "", note: str = ""
    ) -> Run:
        """Store the run, and the constitution that it brings. Raises RequestReused, and InvalidInput for a dataset that
        has been deleted since the run was checked.
        """
        run = asked.run
        with self._store.transaction():
            try:
                self._store.datasets.hold(asked.datasets)
            except NotFound as error:
                raise InvalidInput(f"data: {error}", "data") from None
            self._store.constitutions.add(run.constitution_hash, asked.constitution_id, asked.text, asked.source)
            return self._store.runs.create(
                run.kind, run.config, run.constitution_hash, request_id or uuid.uuid4().hex, display_name, note, tags
            )

    def _with_whole_id(self, config: RunConfig) -> RunConfig:
        """What a run stores of where it goes on from is an id, whatever the request called it."""
        if not config.from_run:
            return config
        try:
            return config.model_copy(update={"from_run": self._store.runs.find(config.from_run).id})
        except InvalidInput as error:
            raise InvalidInput(f"from_run: {error}", "from_run") from None

    def _with_own_model(self, config: RunConfig) -> RunConfig:
        """The run's models are this server's; the request may repeat their settings but not change them."""
        for name in sorted(config.model.model_fields_set - OF_THE_RUN):
            asked, own = getattr(config.model, name), getattr(self._model, name)
            if asked != own:
                raise InvalidInput(
                    f"model.{name}: the run asks for '{asked}', this server has '{own}'", f"model.{name}"
                )
        for role in sorted(config.feedback.model_fields_set):
            asked, own = getattr(config.feedback, role), getattr(self._feedback, role)
            if asked != own:
                raise InvalidInput(
                    f"feedback.{role}: the run asks for {_differing(asked, own)}; "
                    "start the server with the run's feedback section",
                    f"feedback.{role}",
                )
        chosen = {name: getattr(config.model, name) for name in config.model.model_fields_set & OF_THE_RUN}
        own = {"model": self._model.model_copy(update=chosen), "feedback": self._feedback}
        return config.model_copy(update=own)

    def _constitution(self, config: RunConfig, text: str) -> tuple[Constitution, str]:
        name = config.constitution or self._constitutions.default
        if text:
            return parse_with_text(text, name)
        try:
            return self._constitutions.find(name)
        except NotFound as error:
            raise InvalidInput(
                f"constitution: {error}; a file's text goes into constitution_yaml", "constitution"
            ) from None

    def _check(self, config: RunConfig, constitution: Constitution) -> None:
        check_beginning(config)
        check_steering(config, constitution.objective_names)
        data = config.data
        for field, path in named_paths(config):
            check_path(path, self._roots, field)
        for name, load in LOADERS.items():
            if path := getattr(data, name):
                _try(load, rows_at(self._store, path), f"data.{name}")
        objective, names = data.preferences_objective, constitution.objective_names
        if bool(data.preferences) != bool(objective):
            raise InvalidInput(
                "data: give preferences and preferences_objective together", "data.preferences_objective"
            )
        if objective and objective not in names:
            known = suggestion(objective, names)
            raise InvalidInput(f"data.preferences_objective: '{objective}'; {known}", "data.preferences_objective")
        check_labels(config, names, partial(rows_at, self._store))


def _config(text: str) -> RunConfig:
    """Complaints about a value carry its own path, those about the text the field that it came in."""
    try:
        return RunConfig.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["loc"]:
            raise
        raise InvalidInput(f"config_json: {first['msg']}", "config_json") from None


def named_paths(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Yield each path in a configuration with its dotted field."""
    for name, value in config.data:
        named = value if isinstance(value, dict) else {"": value}
        for key, path in named.items():
            if path and name not in NO_PATHS and not (path.startswith(BUILTIN_DATA) or is_reference(path)):
                yield ".".join(filter(None, ("data", name, key))), path
    base = dict(config.reward).get("base_model")
    if base and (base.startswith(("/", ".", "~")) or ".." in Path(base).parts or Path(base).exists()):
        yield "reward.base_model", base


def _try(load: Callable[[Source], object], path: Source, field: str) -> None:
    try:
        load(path)
    except InvalidInput as error:
        raise InvalidInput(str(error), field) from None


def _differing(asked: BackendConfig, own: BackendConfig) -> str:
    """The first setting in which two backends differ, with both values."""
    name, value = next((n, v) for n, v in asked if v != getattr(own, n))
    return f"{name} '{value}', this server has '{getattr(own, name)}'"
