"""`charter store`: where a folder's store is, and how it moves."""

from __future__ import annotations

import json
from contextlib import closing
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

    Every verb with this --data then works there. Nothing is copied: `charter store copy` does that first.
    A password may be left out of the URL and given by PGPASSFILE or PGPASSWORD.
    """
    from rlhf_core.errors import Conflict
    from rlhf_core.store.databases.place import DATABASE, Place, check, told
    from rlhf_core.store.databases.place import use as settle_there

    if not database and not artifacts and not (data / DATABASE).is_file():
        raise Conflict(f"'{data}' holds no {DATABASE}; name the place of its store, or begin one: charter demo")
    place = Place(database=database, artifacts=artifacts)
    check(place)
    settle_there(data, place)
    typer.echo(f"the store of {data}: rows in {told(database) or 'it'}, artifacts in {told(artifacts) or 'it'}")


def copy(source: From, target: To, as_json: options.Json = False) -> None:
    """Copy a whole store, between SQLite and PostgreSQL or within one of them.

    \b
    Examples:
      charter store copy charter-data postgresql://db.example/charter
      charter store use postgresql://db.example/charter          # charter-data is on PostgreSQL from now on
      charter store copy charter-data back                       # and back into a folder with SQLite

    Rows are copied in one transaction, and each table is counted and compared before it is committed: all of it is
    there in the end, or nothing. Artifacts are copied where both sides are folders that keep them apart. Stop what
    works on FROM: it is read as it was at the beginning, and what is written later is not copied.
    """
    from rlhf_core.store.databases.copying import copy_artifacts, copy_rows, existing, opened

    with closing(opened(existing(source))) as old, closing(opened(target, but=source)) as new:
        files = copy_artifacts(old, new)
        rows = copy_rows(old.connections, new.connections)
    if as_json:
        typer.echo(json.dumps({"rows": rows, "artifacts": files}))
        return
    counted = "no artifacts" if files is None else f"{files:,} artifacts"
    typer.echo(f"{sum(rows.values()):,} rows of {len(rows)} tables and {counted} copied and compared")
