"""`charter runs`: what was run, and where each run stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options

if TYPE_CHECKING:
    from rlhf_core.records.runs import Run

PIPE_WIDTH = 200
"""Columns where no terminal sets them: a row is a line."""


def listed(
    context: typer.Context,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000, help="At most this many.")] = 20,
    tags: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="KEY[=VALUE]", help="Only runs with this tag; may be repeated."),
    ] = None,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """List runs, newest first, or delete one.

    \b
    Examples:
      charter runs
      charter runs --tag sweep=kl
      charter runs --json | jq -r '.runs[0].id'
      charter runs delete 8a0c86

    `run` is the last part of an id; it, the id or its beginning, and the name stand for the run everywhere. pausing and
    cancelling are asked for and not yet done; a lost run's process is gone. Look on with `charter watch RUN`, which
    also goes on with a lost run; one that is paused or has failed goes on with `charter resume RUN`.
    """
    from services.cli.session import open_client

    if context.invoked_subcommand is not None:
        return
    with open_client(address, token, data) as client:
        found = client.trainer.list_runs(limit, tags=tags or ()).runs
    if as_json:
        typer.echo(json.dumps({"runs": [as_told(run) for run in found]}, indent=2))
        return
    if not found:
        typer.echo("no runs with these tags" if tags else "no runs yet; start one with: charter demo")
        return
    _print_table(found)


def _print_table(found: Sequence[Run]) -> None:
    from rich.table import Table

    from services.cli.session import plain_console

    table = Table(box=None, pad_edge=False)
    for heading in ("run", "name", "state", "at", "weights", "tags", "id"):
        table.add_column(heading, no_wrap=heading in ("run", "id"), overflow="fold")
    for run in found:
        step = f" {run.step}/{run.steps}" if run.steps else ""
        at, tagged = f"{run.stage}{step}", ",".join(f"{key}={value}" for key, value in run.tags.items())
        table.add_row(run.short_id, run.display_name, run.status.lower(), at, weights_text(run), tagged, run.id)
    console = plain_console()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)


def as_told(run: Run) -> dict[str, object]:
    """Return the run as --json shows it: as stored, with what is going on and its short id."""
    return {**run.model_dump(), "status": run.status, "short_id": run.short_id}


def weights_text(run: Run) -> str:
    """Write `helpful=3,harmless=1`, as `--weights` takes it."""
    weights = json.loads(run.config).get("weights", {}) if run.config else {}
    return ",".join(f"{name}={weight:g}" for name, weight in weights.items()) or "default"
