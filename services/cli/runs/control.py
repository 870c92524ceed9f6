"""`charter cancel`, `pause` and `resume`: a run under way, or one that waits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from services.cli import options

if TYPE_CHECKING:
    from rlhf_core.records.runs import Run


def cancel(
    run_id: options.RunId,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """End a run for good.

    \b
    Examples:
      charter cancel run-1f0c
      charter cancel last --address localhost:50051

    Answers at once. A run at work ends when the step at work is done, and is `cancelling` until then; one that waits,
    is paused or is lost ends at once. What it stored stays. To stop it for a while only, use `charter pause`.
    """
    _change("cancel", run_id, address, token, data, as_json)


def pause(
    run_id: options.RunId,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Stop a run until it is resumed.

    \b
    Examples:
      charter pause run-1f0c
      charter pause last --json | jq -r '.run.state'

    Answers at once. A run at work stops when the step at work is done, and is `pausing` until then; it goes on from
    there after `charter resume`.
    """
    _change("pause", run_id, address, token, data, as_json)


def resume(
    run_id: options.RunId,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Go on with a run that is paused or has failed.

    \b
    Examples:
      charter resume run-1f0c
      charter resume last && charter watch

    Puts the run back in the queue: a server takes it from there, or `charter watch` where no server runs. It goes on
    from its last checkpoint. Takes back a pause that has not happened yet.
    """
    _change("resume", run_id, address, token, data, as_json)


def _change(verb: str, run_id: str, address: str, token: str, data: Path, as_json: bool) -> None:
    from services.cli.runs.listing import as_told
    from services.cli.session import find_run, open_client

    with open_client(address, token, data) as client:
        found = find_run(client, run_id)
        changed = getattr(client.trainer, f"{verb}_run")(found.id)
    if as_json:
        typer.echo(json.dumps({"run": as_told(changed)}, indent=2))
    else:
        typer.echo(standing(changed, f" --address {address}" if address else ""))


def standing(run: Run, where: str = "") -> str:
    """Say how a run stands after it was told to stop or to go on, and what to do next; `where` says how to reach it."""
    on = f"charter watch {run.id}{where}"
    words = {
        "CANCELLING": f"cancelling: ends for good {when(run)}; what it stored stays",
        "PAUSING": f"pausing: stops {when(run)}; to go on then: charter resume {run.id}{where}",
        "PAUSED": f"paused; to go on: charter resume {run.id}{where}",
        "CANCELLED": "cancelled; what it stored stays",
        "LOST": f"lost: its process is gone; a server takes it up from its last checkpoint, or {on}",
        "QUEUED": f"queued; to look on: {on}",
        "RUNNING": f"running; to look on: {on}",
    }
    return f"run {run.id}: {words.get(run.status, run.status.lower())}"


def when(run: Run) -> str:
    """Say when a run at work stops: with the step at work, and how long that may take where it is known."""
    step = f"{run.stage} {run.step}/{run.steps}" if run.steps else run.stage
    at = f" ({step})" if step else ""
    pace = f", within about {run.step_seconds:.0f} s" if run.step_seconds >= 1 else ""
    return f"when the step at work is done{at}{pace or (', within a second' if run.step_seconds else '')}"
