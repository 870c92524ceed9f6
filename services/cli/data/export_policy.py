"""`charter export policy`: a trained policy as a folder for transformers, PEFT and vLLM, with a card of its story."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from services.cli import options

RUNS = "runs"
"""Of a data folder, where the reports are."""


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
    token: options.Token = "",
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
    from services.client.client import CharterClient

    version, folder = _version_and_folder(names)
    if folder.exists():
        raise InvalidInput(f"DIR: '{folder}' is there already; name a folder that is not", "folder")
    if address:
        with CharterClient.connect(address, token) as client:
            found = _whole(folder, lambda passing: client.policy.export_policy(passing, version, merge=merge))
    else:
        found = _whole(folder, lambda passing: _write(data, version, passing, merge))
    typer.echo(f"policy {found} in {folder}")


def _version_and_folder(names: list[str]) -> tuple[str, Path]:
    from rlhf_core.errors import InvalidInput

    if len(names) > 2:
        raise InvalidInput(f"{len(names)} names are given; allowed: [VERSION] DIR", "folder")
    return "" if len(names) == 1 else names[0], Path(names[-1])


def _whole(folder: Path, fill: Callable[[Path], str]) -> str:
    """Make the folder whole or not at all; returns what `fill` does."""
    from rlhf_core.errors import CharterError, InvalidInput

    passing = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(passing, ignore_errors=True)  # what an export that was killed has left
    try:
        passing.mkdir(parents=True)
        found = fill(passing)
        os.replace(passing, folder)
    except CharterError:
        raise
    except OSError as error:
        raise InvalidInput(f"DIR: '{folder}' cannot be written: {error.strerror}", "folder") from None
    finally:
        shutil.rmtree(passing, ignore_errors=True)
    return found


def _write(data: Path, version: str, folder: Path, merge: bool) -> str:
    """Fill a folder from a data folder of this machine; returns the version's id."""
    from rlhf_core.exports.policy_folder import exported_version, model_of, write_policy
    from rlhf_core.store.store import Store
    from services.cli.session import must_exist

    must_exist(data)
    with closing(Store.open(data)) as store:
        found = exported_version(store, version)
        # Here, as it brings torch along.
        from services.run_toolbox import base_folder

        write_policy(store, data / RUNS, found, base_folder(model_of(store, found)), folder, merge)
    return found.id
