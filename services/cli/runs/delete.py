"""`charter runs delete`: a run out of the store, with what only it needs, once somebody has seen how much that is."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options

if TYPE_CHECKING:
    from services.client.trainer import DeletedRun

MIB = 2**20


def delete(
    run_id: options.RunId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Delete a run for good: its rows, its policies and reward models, its report.

    \b
    Examples:
      charter runs delete 8a0c86 --dry-run
      charter runs delete 8a0c86
      charter runs delete 8a0c86 --yes && charter gc --idle-hours 0

    What other runs count stays, and so does what people have labelled. Refused while the run waits or is carried out,
    while another run goes on from it, while a study is about to ask one of its policies, and while an alias holds one
    or would after a rollback. The artifacts that nothing names any more go with `charter gc`.
    """
    from rlhf_core.errors import InvalidInput
    from services.cli.session import find_run, open_client

    with open_client(address, token, data) as client:
        run = find_run(client, run_id)
        plan = client.trainer.delete_run(run.id, validate_only=True)
        name = f"{run.id} ({run.display_name})" if run.display_name else run.id
        if not (yes or dry_run):
            if not sys.stdin.isatty():
                raise InvalidInput(f"--yes: not given, and nobody is there to ask; {told(plan, name, 'would take')}")
            typer.confirm(f"{told(plan, name, 'takes')}. Go on?", abort=True)
        # The etag: what was shown is what goes.
        done = plan if dry_run else client.trainer.delete_run(run.id, run.etag)
    if as_json:
        typer.echo(json.dumps({"deleted": not dry_run, **done._asdict()}, indent=2))
        return
    typer.echo(told(done, name, "would take" if dry_run else "took"))
    if not dry_run and done.artifacts:
        typer.echo("free the artifacts with: charter gc")


def told(deleted: DeletedRun, name: str, verb: str) -> str:
    """Say in one sentence what a deletion takes and what it leaves."""
    most_first = sorted(deleted.rows.items(), key=lambda row: -row[1])
    rows = ", ".join(f"{count:,} {table.replace('_', ' ')}" for table, count in most_first if table != "runs")
    size = (deleted.artifact_bytes + deleted.report_bytes) / MIB
    kept = f"; {deleted.kept_labels} labels by people stay, with their pairs" if deleted.kept_labels else ""
    files = f"{deleted.artifacts} artifacts and its report ({size:.1f} MiB)"
    return f"deleting run {name} {verb} {rows or 'no other rows'}, {files}{kept}"
