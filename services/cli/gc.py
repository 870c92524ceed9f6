"""`charter gc`: artifacts that nothing refers to any more."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Annotated

import typer

from services.cli import options

MIB = 2**20


def gc(
    data: options.Data = options.DATA,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    idle: Annotated[
        float, typer.Option("--idle-hours", min=0, help="Leave what was written or written again since.")
    ] = 1.0,
    as_json: options.Json = False,
) -> None:
    """Remove artifacts that no row of the store names.

    \b
    Examples:
      charter gc --dry-run
      charter gc
      charter gc --data /mnt/big/charter --idle-hours 24

    A process that dies between writing an adapter and storing its row leaves one behind. Safe while servers run:
    what was touched within the last hour stays.
    """
    from rlhf_core.store.store import Store
    from services.cli.session import must_exist

    must_exist(data)
    with closing(Store.open(data)) as store:
        orphans = store.garbage.orphans() if dry_run else store.garbage.collect(idle * 3600)
        kept = len(store.artifacts.stored())
    if as_json:
        typer.echo(
            json.dumps({"removed": not dry_run, "artifacts": orphans.digests, "bytes": orphans.size, "kept": kept})
        )
        return
    for digest in orphans.digests:
        typer.echo(digest)
    done = "would go" if dry_run else "removed"
    typer.echo(f"{len(orphans.digests)} artifacts {done} ({orphans.size / MIB:.1f} MiB); {kept} in the store")
