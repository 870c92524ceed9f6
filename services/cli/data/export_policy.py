"""`charter export policy`: a trained policy as a folder for transformers, PEFT and vLLM, with a card of its story."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options

if TYPE_CHECKING:
    from rlhf_core.config.run import ModelConfig
    from rlhf_core.records.models import PolicyVersion
    from rlhf_core.store.store import Store

CARD = "README.md"


def policy(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[VERSION] DIR",
            help="A version, an alias, a run or latest (default: production), then the folder to make.",
        ),
    ],
    merge: Annotated[
        bool, typer.Option("--merge", help="A whole model with the adapter in its weights, not the adapter alone.")
    ] = False,
    address: options.Address = "",
    data: options.Data = options.DATA,
) -> None:
    """Export a trained policy as a folder that transformers, PEFT and vLLM load.

    \b
    Examples:
      charter export policy aligned --merge
      charter export policy policy-1f0c adapter
      charter export policy candidate adapter

    Without a version it is who holds `production`.

    With --merge the folder needs nothing else; without, it is an adapter that names its base model. The card beside the
    weights (README.md) says what it was trained on, under which constitution and weights, and what its run measured.
    """
    from rlhf_core.errors import InvalidInput
    from rlhf_core.store.store import Store
    from services.cli.session import must_exist

    if address:
        raise InvalidInput(
            f"export reads a data folder on this machine, not the server at '{address}'; run it where the server's "
            "folder is, with --data and without --address",
            "address",
        )
    version, folder = _version_and_folder(names)
    if folder.exists():
        raise InvalidInput(f"DIR: '{folder}' is there already; name a folder that is not", "folder")
    must_exist(data)
    with closing(Store.open(data)) as store:
        found = _version(store, version)
        _write(store, data, found, folder, merge)
    typer.echo(f"policy {found.id} in {folder}")


def _version_and_folder(names: list[str]) -> tuple[str, Path]:
    from rlhf_core.errors import InvalidInput

    if len(names) > 2:
        raise InvalidInput(f"{len(names)} names are given; allowed: [VERSION] DIR", "folder")
    return "" if len(names) == 1 else names[0], Path(names[-1])


def _version(store: Store, name: str) -> PolicyVersion:
    from rlhf_core.errors import NotFound
    from rlhf_core.policies.references import version_of
    from rlhf_core.records.samples import BASE_POLICY

    found = version_of(store, name)
    if found.id != BASE_POLICY:
        return found
    if name == BASE_POLICY:
        raise NotFound(f"'{name}' is the base model itself; there is nothing of its own to export")
    raise NotFound(
        "nobody holds `production`, and the base model has nothing of its own to export",
        hint="name a version (charter policies lists them), or promote one: charter policies promote VERSION",
    )


def _write(store: Store, data: Path, version: PolicyVersion, folder: Path, merge: bool) -> None:
    """Make the folder whole or not at all."""
    from transformers.utils.logging import disable_progress_bar

    from rlhf_core.errors import InvalidInput
    from rlhf_core.models.policy_export import export_adapter, export_merged, is_adapter

    disable_progress_bar()
    model = _model_of(store, version)
    files = store.artifacts.get_folder(version.artifact)
    passing = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(passing, ignore_errors=True)  # what an export that was killed has left
    try:
        passing.mkdir(parents=True)
        if is_adapter(files) and not merge:
            export_adapter(files, _folder_of(model), passing)
        else:
            export_merged(files, _folder_of(model), passing, model)
        (passing / CARD).write_text(_card(store, data, version), encoding="utf-8")
        os.replace(passing, folder)
    except OSError as error:
        raise InvalidInput(f"DIR: '{folder}' cannot be written: {error.strerror}", "folder") from None
    finally:
        shutil.rmtree(passing, ignore_errors=True)


def _model_of(store: Store, version: PolicyVersion) -> ModelConfig:
    from rlhf_core.config.run import RunConfig

    return RunConfig.model_validate_json(store.runs.get(version.run_id).config).model


def _folder_of(model: ModelConfig) -> str:
    from rlhf_core.config.model_defaults import SANDBOX
    from rlhf_core.models.gguf import model_folder
    from rlhf_core.sandbox.sandbox import MODEL_FOLDER

    return str(MODEL_FOLDER) if model.base_model == SANDBOX else model_folder(model.base_model)


def _card(store: Store, data: Path, version: PolicyVersion) -> str:
    from rlhf_core.evaluation.report.model_card import model_card
    from rlhf_core.evaluation.report.record import Report

    run = store.runs.get(version.run_id)
    file = data / "runs" / run.id / "report.json"
    report = Report.model_validate_json(file.read_text(encoding="utf-8")) if file.is_file() else None
    return model_card(version, run, report)
