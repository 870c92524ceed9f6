"""`charter store`: where a folder's store is, and how it moves."""

from __future__ import annotations

import json
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated

import typer

from services.cli import options

From = Annotated[str, typer.Argument(metavar="FROM", help="A data folder, or a database: postgresql://HOST/NAME.")]
To = Annotated[str, typer.Argument(metavar="TO", help="The same, and without a store yet.")]


def use(
    database: Annotated[str, typer.Argument(metavar="[URL]", help="postgresql://HOST/NAME; none: the folder.")] = "",
    artifacts: Annotated[str, typer.Option("--artifacts", metavar="URL", help="s3://BUCKET/PATH.")] = "",
    data: options.Data = options.DATA,
) -> None:
    """Say where a data folder's store is.

    \b
    Examples:
      charter store use postgresql://db.example/charter
      charter store use postgresql://db.example/charter --artifacts s3://bucket/charter --data /mnt/charter

    Every verb with this --data then works there. What is not named stays where it is; with neither, rows and
    artifacts are in the folder again. Nothing is copied: `charter store copy` does that first.
    A password may be left out of the URL and given by PGPASSFILE or PGPASSWORD.
    """
    from rlhf_core.errors import Conflict
    from rlhf_core.store.databases.place import DATABASE, HERE, Place, check, place_of
    from rlhf_core.store.databases.place import use as settle_there
    from rlhf_core.store.databases.urls import told

    if not database and not artifacts and not (data / DATABASE).is_file():
        raise Conflict(f"'{data}' holds no {DATABASE}; name the place of its store, or begin one: charter demo")
    known = place_of(data) if database or artifacts else HERE
    place = Place(database=database or known.database, artifacts=artifacts or known.artifacts)
    check(place)
    if place.database and not place_of(data).database and (data / DATABASE).is_file():
        _leave(data)
    settle_there(data, place)
    rows, files = (told(url) or "it" for url in (place.database, place.artifacts))
    typer.echo(f"the store of {data}: rows in {rows}, artifacts in {files}")


def _leave(data: Path) -> None:
    """Take the mark of the folder's own rows off its artifacts: from now on others name them."""
    from rlhf_core.errors import CharterError
    from rlhf_core.store.store import Store

    # Artifacts that cannot be reached keep it, which only holds garbage back.
    with suppress(CharterError), closing(Store.open(data)) as store:
        store.garbage.leave()


def copy(source: From, target: To, as_json: options.Json = False) -> None:
    """Copy a whole store, between SQLite and PostgreSQL or within one of them.

    \b
    Examples:
      charter store copy charter-data postgresql://db.example/charter
      charter store use postgresql://db.example/charter          # charter-data is on PostgreSQL from now on
      charter store copy charter-data back                       # and back into a folder with SQLite

    Rows are copied in one transaction, and each table is counted and compared before it is committed: all of it is
    there in the end, or nothing. Artifacts are copied where both sides are folders that keep them apart. Stop what
    works on FROM: whoever writes to it meanwhile waits, or is refused.
    """
    from rlhf_core.store.databases.copying import copy_artifacts, copy_rows, existing, opened

    with closing(opened(existing(source))) as old, closing(opened(target, but=source)) as new:
        copy_artifacts(old, new)
        rows = copy_rows(old.connections, new.connections)
        # Once more, for what came between: no row may name an artifact that is not there.
        files = copy_artifacts(old, new)
    if as_json:
        typer.echo(json.dumps({"rows": rows, "artifacts": files}))
        return
    counted = "no artifacts" if files is None else f"{files:,} artifacts"
    typer.echo(f"{sum(rows.values()):,} rows of {len(rows)} tables and {counted} copied and compared")
