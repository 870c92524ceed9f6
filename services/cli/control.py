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

    A run at work ends at its next step; one that waits or is paused ends at once. What it stored stays. To stop it
    for a while only, use `charter pause`.
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

    A run at work stops at its next step, and goes on from there after `charter resume`.
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
    from services.cli.session import find_run, open_client

    with open_client(address, token, data) as client:
        found = find_run(client, run_id)
        changed = getattr(client.trainer, f"{verb}_run")(found.id)
    if as_json:
        typer.echo(json.dumps({"run": changed.model_dump()}, indent=2))
    else:
        typer.echo(standing(changed, f" --address {address}" if address else ""))


def standing(run: Run, where: str = "") -> str:
    """How a run stands after it was told to stop or to go on, and what to do next; `where` says how to reach it."""
    if run.requested == "CANCELLED":
        return f"run {run.id}: will end at its next step"
    if run.requested == "PAUSED":
        return f"run {run.id}: will pause at its next step; to go on: charter resume {run.id}{where}"
    if run.state == "PAUSED":
        return f"run {run.id}: paused; to go on: charter resume {run.id}{where}"
    if run.state in ("QUEUED", "RUNNING"):
        return f"run {run.id}: {run.state.lower()}; to look on: charter watch {run.id}{where}"
    return f"run {run.id}: {run.state.lower()}"
