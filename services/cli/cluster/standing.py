"""`charter cluster status` and `down`: what of Charter is on a Ray cluster, and its end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from services.cli import options
from services.cli.cluster.up import Ray, Wait, given

if TYPE_CHECKING:
    from services.cluster.installation import Standing

NOTHING = "nothing of Charter's runs on this cluster"


def status(ray: Ray = "", as_json: options.Json = False) -> None:
    """Say which processes there are on the cluster, where, and how they are.

    \b
    Examples:
      charter cluster status --ray http://head:8265
    """
    from services.cluster import installation
    from services.cluster.dashboard import RayDashboard

    standing = installation.status(RayDashboard(given(ray)))
    if as_json:
        shown = None if standing is None else standing.application.model_dump(exclude={"deployed_app_config"})
        typer.echo(json.dumps({"address": standing.address if standing else None, "application": shown}))
        return
    typer.echo(_text(standing) if standing else NOTHING)


def down(ray: Ray = "", wait: Wait = 300.0) -> None:
    """End all processes; a run at work goes back into the queue at its next step. Rows and artifacts stay.

    \b
    Examples:
      charter cluster down --ray http://head:8265
    """
    from services.cluster import installation
    from services.cluster.dashboard import RayDashboard

    gone = installation.down(RayDashboard(given(ray)), wait)
    typer.echo("all processes have ended" if gone else NOTHING)


def _text(standing: Standing) -> str:
    from services.cluster.installation import in_short

    lines = [f"{standing.application.status.lower()} on {standing.address}"]
    for one in standing.application.deployments.values():
        lines.append(f"{one.name}: {one.status.lower()}" + (f": {in_short(one.message)}" if one.message else ""))
        lines += [f"  {each.state.lower()} on {each.node_ip}, pid {each.pid}" for each in one.replicas]
    return "\n".join(lines)
