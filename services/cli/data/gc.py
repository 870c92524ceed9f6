"""`charter gc`: artifacts that nothing refers to any more."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options

if TYPE_CHECKING:
    from rlhf_core.store.store import Store

MIB = 2**20


def _left_reports(store: Store, data: Path) -> list[Path]:
    """Folders of reports whose run is not in the store: its deletion was cut off between the two."""
    # The folders first: one that is made while the runs are read has its run in the store already.
    folders, known, token = sorted((data / "runs").glob("run-*")), set[str](), ""
    while True:
        runs, token = store.runs.page(1000, token)
        known |= {run.id for run in runs}
        if not token:
            break
    return [folder for folder in folders if folder.is_dir() and folder.name not in known]


def gc(
    data: options.Data = options.DATA,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    idle: Annotated[
        float, typer.Option("--idle-hours", min=0, help="Leave what was written or written again since.")
    ] = 1.0,
    forget: Annotated[
        str, typer.Option("--forget-store", metavar="ID", help="Of stores that share the artifacts: one that is gone.")
    ] = "",
    as_json: options.Json = False,
) -> None:
    """Remove artifacts that no row of the store names.

    \b
    Examples:
      charter gc --dry-run
      charter gc
      charter gc --data /mnt/big/charter --idle-hours 24
      charter gc --forget-store 9f2c4e1b7a3d5e60

    `charter runs delete` leaves them, and so does a process that dies between writing an adapter and storing its row.
    Folders of reports whose run is gone go too. Safe while servers run: what was touched within the last hour stays.
    Nothing goes where another store has marked the artifacts too; `--forget-store` takes away the mark of a lost one.
    """
    from rlhf_core.store.store import Store
    from services.cli.session import must_exist

    must_exist(data)
    with closing(Store.open(data)) as store:
        if forget and not dry_run:
            store.garbage.disown(forget)
        orphans = store.garbage.orphans() if dry_run else store.garbage.collect(idle * 3600)
        kept = len(store.artifacts.stored())
        reports = _left_reports(store, data)
    for folder in () if dry_run else reports:
        shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        told = {"removed": not dry_run, "artifacts": orphans.digests, "bytes": orphans.size, "kept": kept}
        typer.echo(json.dumps(told))
        return
    for name in (*orphans.digests, *(folder.name for folder in reports)):
        typer.echo(name)
    done = "would go" if dry_run else "removed"
    typer.echo(f"{len(orphans.digests)} artifacts {done} ({orphans.size / MIB:.1f} MiB); {kept} in the store")
