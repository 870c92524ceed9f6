"""`charter cluster`: the services, workers and learners on a Ray cluster that is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options

if TYPE_CHECKING:
    from services.cluster.config import Cluster
    from services.cluster.installation import Standing

Ray = Annotated[
    str,
    typer.Option(
        "--ray",
        envvar="RAY_DASHBOARD_ADDRESS",
        metavar="http://HOST:8265",
        help="The dashboard of the Ray cluster.",
    ),
]
Wait = Annotated[float, typer.Option("--wait", min=0, metavar="SECONDS", help="How long it may take.")]
DATA = Path("/data")


def up(
    ray: Ray = "",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that carry out runs.")] = 1,
    learners: Annotated[
        int | None,
        typer.Option("--learners", min=1, help="Processes in which each run trains.  [default: as the run says]"),
    ] = None,
    replicas: Annotated[int, typer.Option("--replicas", min=1, help="Of policy, critique and reward each.")] = 1,
    cpus: Annotated[
        float | None, typer.Option("--cpus", min=0, help="What a process reserves.  [default: its model's threads]")
    ] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Of gRPC, on every node.")] = 9000,
    elastic: Annotated[bool, typer.Option("--elastic", help="The cluster grows: do not ask what it has now.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what Serve would be given, without secrets, and start nothing.")
    ] = False,
    server: Annotated[
        str, typer.Option("--server", metavar="FILE", help="Every process's own YAML (deploy/server.yaml).")
    ] = "",
    file: options.ConfigFile = "",
    overrides: options.Overrides = None,
    token: options.Token = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Ask for no token: who reaches a node does all.")
    ] = False,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="On the nodes: one disk, where learners are on several.")
    ] = DATA,
    store: options.Database = "",
    artifacts: options.Artifacts = "",
    wait: Wait = 1800.0,
) -> None:
    """Start the services, workers and learners on a Ray cluster, or change those that are there.

    \b
    Examples:
      charter cluster up --ray http://head:8265 --store postgresql://db/charter --artifacts s3://bucket/charter
      charter cluster up --ray http://head:8265 --workers 4 --learners 8 -c run.yaml -s model.device=cuda
      charter cluster up --dry-run > serve.yaml

    Every node has the same Charter with the extra `ray`. Clients call HOST:9000 of any node. Ray Serve starts each
    process, and starts it again when it dies; learners are Ray Train jobs of the worker that carries out the run.
    """
    cluster = _cluster(
        server, file, overrides or [], token=token, insecure=insecure, data=data, store=store, artifacts=artifacts
    ).model_copy(update={"workers": workers, "learners": learners, "replicas": replicas, "cpus": cpus, "port": port})
    if dry_run:
        import yaml

        from services.cluster.config import serve_config

        typer.echo(yaml.safe_dump(serve_config(cluster, secrets=False), sort_keys=False), nl=False)
        return
    from services.cluster import installation
    from services.cluster.dashboard import RayDashboard

    _check_open(cluster)
    cluster_of_ray = RayDashboard(_given(ray))
    nodes = cluster_of_ray.nodes()
    installation.check_places(cluster, nodes)
    if not elastic:
        installation.check_fits(cluster, nodes)
    standing = installation.up(cluster, cluster_of_ray, typer.echo, wait)
    typer.echo(f"serving on {standing.address}, and on that port of every node")
    typer.echo(f"try: charter runs --address {standing.address}", err=True)


def status(ray: Ray = "", as_json: options.Json = False) -> None:
    """Say which processes there are on the cluster, where, and how they are.

    \b
    Examples:
      charter cluster status --ray http://head:8265
    """
    from services.cluster import installation
    from services.cluster.dashboard import RayDashboard

    standing = installation.status(RayDashboard(_given(ray)))
    if as_json:
        shown = None if standing is None else standing.application.model_dump(exclude={"deployed_app_config"})
        typer.echo(json.dumps({"address": standing.address if standing else None, "application": shown}))
        return
    typer.echo(_text(standing) if standing else "nothing of Charter's runs on this cluster")


def down(ray: Ray = "", wait: Wait = 300.0) -> None:
    """End all processes; a run at work goes back into the queue at its next step. Rows and artifacts stay.

    \b
    Examples:
      charter cluster down --ray http://head:8265
    """
    from services.cluster import installation
    from services.cluster.dashboard import RayDashboard

    gone = installation.down(RayDashboard(_given(ray)), wait)
    typer.echo("all processes have ended" if gone else "nothing of Charter's runs on this cluster")


def _given(ray: str) -> str:
    from rlhf_core.errors import InvalidInput

    if not ray:
        raise InvalidInput("--ray: give the address of the cluster's dashboard, as http://HOST:8265", "ray")
    return ray


def _cluster(
    server: str,
    file: str,
    overrides: list[str],
    *,
    token: str,
    insecure: bool,
    data: Path,
    store: str,
    artifacts: str,
) -> Cluster:
    """What every process is, from the two YAML files and over them the options."""
    from services.cli.run_config import load_config, load_server_config
    from services.cluster.config import Cluster

    config, process = load_config(file or None, overrides), load_server_config(server or None)
    chosen: dict[str, object] = {name: url for name, url in (("store", store), ("artifacts", artifacts)) if url}
    chosen |= {"insecure": True} if insecure else {}
    chosen |= {"data": data} if data != DATA or not server else {}
    parts = {"model": config.model, "feedback": config.feedback, "constitution": config.constitution or ""}
    return Cluster(server=process.model_copy(update=chosen), token=token, **parts)


def _check_open(cluster: Cluster) -> None:
    """Serve's proxy listens on all addresses of a node, without encryption."""
    from rlhf_core.errors import InvalidInput

    if not (cluster.token or cluster.server.tokens or cluster.server.insecure):
        raise InvalidInput(
            "token: every node answers whoever reaches its port; give --token, or --insecure to ask for none", "token"
        )


def _text(standing: Standing) -> str:
    from services.cluster.installation import in_short

    lines = [f"{standing.application.status.lower()} on {standing.address}"]
    for one in standing.application.deployments.values():
        lines.append(f"{one.name}: {one.status.lower()}" + (f": {in_short(one.message)}" if one.message else ""))
        lines += [f"  {each.state.lower()} on {each.node_ip}, pid {each.pid}" for each in one.replicas]
    return "\n".join(lines)
