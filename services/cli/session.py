"""How a verb reaches a server: the one at --address, or one of its own on the data folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rich.console import Console

from rlhf_core.config.feedback import FeedbackConfig
from rlhf_core.config.model_defaults import SANDBOX, SMOLLM2
from rlhf_core.config.run import ModelConfig, RunConfig
from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.policies.resolve import PRODUCTION, version_of
from rlhf_core.records.runs import Run
from rlhf_core.store.databases.place import DATABASE, FILE, holds_store
from rlhf_core.store.store import Store
from services.client.client import CharterClient

LAST = "last"


@contextmanager
def open_client(
    address: str,
    token: str,
    data: Path,
    model: ModelConfig | None = None,
    works: bool = False,
    feedback: FeedbackConfig | None = None,
) -> Iterator[CharterClient]:
    """Open a client of the server at `address`, or else of an embedded one on `data`.

    The embedded one writes responses only where a `model` is given, and carries out runs only if it `works`.
    Without `feedback` the model is its own critic and judge.
    """
    if address:
        with CharterClient.connect(address, token) as client:
            yield client
        return
    if model is None:
        must_exist(data)
    elif model.base_model in (SANDBOX, SMOLLM2) or Path(model.base_model).exists():
        # Bars are for downloads; nothing is downloaded here. Read when transformers is imported.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # Not at the top: a whole server's modules, which neither a refusal nor a call of another server needs.
    from services.embedded import embedded_server

    with (
        embedded_server(data, model, feedback=feedback, works=works) as own,
        CharterClient.connect(own) as client,
    ):
        yield client


def find_run(client: CharterClient, run_id: str) -> Run:
    """Find the run of that id, part of an id, or name; `last` is the newest, `production` what made its policy."""
    if run_id == PRODUCTION:
        return client.trainer.get_run(_run_in_production(client))
    if run_id != LAST:
        try:
            return client.trainer.get_run(run_id)
        except NotFound as error:
            raise NotFound(error.message, hint=f"{error.hint}; charter runs lists them") from None
    newest = client.trainer.list_runs(1).runs
    if not newest:
        raise NotFound("no runs yet; start one with: charter demo")
    return newest[0]


def _run_in_production(client: CharterClient) -> str:
    """The run of the policy that holds the alias. Raises: NotFound where nobody does, or the base."""
    try:
        run_id = client.policy.get_policy(PRODUCTION).version.run_id
    except NotFound:
        raise NotFound("nobody holds `production`; give it to a policy with: charter policies promote POLICY") from None
    if not run_id:
        raise NotFound("the base model is in production, which no run has made")
    return run_id


def model_of_folder(data: Path) -> ModelConfig:
    """Return the model of the folder's newest run; the sandbox where there is none."""
    return config_of_folder(data).model


def model_of_policy(data: Path, policy: str = "") -> ModelConfig:
    """Return the model under the policy that a reference means.

    It is that of the newest run where the policy is the base, or unknown.
    """
    if not data.is_dir():
        return ModelConfig()
    with closing(Store.open(data)) as store:
        try:
            version = version_of(store, policy)
            config = RunConfig.stored(store.runs.get(version.run_id).config) if version.run_id else None
        except NotFound:
            config = None
    return config.model if config else model_of_folder(data)


def config_of_folder(data: Path, run_id: str = LAST) -> RunConfig:
    """Return the configuration of a run of the folder; of the newest one the defaults where there is none."""
    if not data.is_dir():
        return RunConfig()
    with closing(Store.open(data)) as store:
        runs = store.runs.page(1)[0] if run_id == LAST else [store.runs.find(run_id)]
    return RunConfig.stored(runs[0].config) if runs else RunConfig()


def must_exist(data: Path) -> None:
    """Raise NotFound unless the folder holds a store: a verb that looks at one makes none."""
    if not data.is_dir():
        raise NotFound(f"no data folder '{data}'; start with `charter demo`, or name another with --data")
    if not holds_store(data):
        raise NotFound(f"no runs in folder '{data}', which holds no {DATABASE} or {FILE}; name another with --data")


def plain_console() -> Console:
    """Make a console that prints text as it is: a path or a name may hold what looks like rich's own markup."""
    return Console(markup=False, emoji=False, highlight=False)


def read_stdin() -> str:
    """Read all of standard input. Raises InvalidInput for bytes that are no text."""
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise InvalidInput("stdin: not text in UTF-8") from None
