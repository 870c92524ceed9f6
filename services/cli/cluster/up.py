"""`charter cluster up`: the services, workers and learners on a Ray cluster that is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import options

if TYPE_CHECKING:
    from services.cluster.config import Cluster

Ray = Annotated[
    str,
    typer.Option(
        "--ray", envvar="RAY_DASHBOARD_ADDRESS", metavar="http://HOST:8265", help="The dashboard of the Ray cluster."
    ),
]
Wait = Annotated[float, typer.Option("--wait", min=0, metavar="SECONDS", help="How long it may take.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes that carry out runs.")]
Learners = Annotated[
    int | None,
    typer.Option("--learners", min=1, help="Processes in which each run trains.  [default: as the run says]"),
]
Replicas = Annotated[int, typer.Option("--replicas", min=1, help="Processes of policy, critique and reward each.")]
Cpus = Annotated[
    float | None, typer.Option("--cpus", min=0, help="What a process reserves.  [default: its model's threads]")
]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Of gRPC, on every node.")]
Elastic = Annotated[bool, typer.Option("--elastic", help="The cluster grows: do not ask what it has now.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what Serve would be given, without secrets, and start nothing.")
]
Process = Annotated[str, typer.Option("--server", metavar="FILE", help="Every process's YAML (deploy/server.yaml).")]
Insecure = Annotated[bool, typer.Option("--insecure", help="Ask for no token: who reaches a node may do everything.")]
Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder on each node, for what a process keeps.")]
DATA = Path("/data")


def up(
    ray: Ray = "",
    workers: Workers = 1,
    learners: Learners = None,
    replicas: Replicas = 1,
    cpus: Cpus = None,
    port: Port = 9000,
    elastic: Elastic = False,
    dry_run: DryRun = False,
    server: Process = "",
    file: options.ConfigFile = "",
    overrides: options.Overrides = None,
    token: options.Token = "",
    insecure: Insecure = False,
    data: Data = DATA,
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
    sizes = {"workers": workers, "learners": learners, "replicas": replicas, "cpus": cpus, "port": port}
    chosen: dict[str, Any] = {"store": store, "artifacts": artifacts, "data": data, "insecure": insecure}
    cluster = _cluster(server, file, overrides or [], chosen).model_copy(update={"token": token, **sizes})
    if dry_run:
        _print(cluster)
    else:
        _start(cluster, ray, elastic, wait)


def given(ray: str) -> str:
    """Return the address of the dashboard. Raises InvalidInput where there is none."""
    from rlhf_core.errors import InvalidInput

    if not ray:
        raise InvalidInput("--ray: give the address of the cluster's dashboard, as http://HOST:8265", "ray")
    return ray


def _cluster(server: str, file: str, overrides: list[str], chosen: dict[str, Any]) -> Cluster:
    """What every process is, from the two YAML files and over them what was chosen."""
    from services.cli.run_config import load_config, load_server_config
    from services.cluster.config import Cluster

    config, process = load_config(file or None, overrides), load_server_config(server or None)
    over = {name: value for name, value in chosen.items() if value and not (server and value == DATA)}
    parts = {"model": config.model, "feedback": config.feedback, "constitution": config.constitution or ""}
    return Cluster(server=process.model_copy(update=over), **parts)


def _print(cluster: Cluster) -> None:
    import yaml

    from services.cluster.config import serve_config

    typer.echo(yaml.safe_dump(serve_config(cluster, secrets=False), sort_keys=False), nl=False)


def _start(cluster: Cluster, ray: str, elastic: bool, wait: float) -> None:
    from services.cluster import installation
    from services.cluster.config import check_open
    from services.cluster.dashboard import RayDashboard

    address = given(ray)
    check_open(cluster)
    dashboard = RayDashboard(address)
    nodes = dashboard.nodes()
    installation.check_server(cluster, nodes)
    if not elastic:
        installation.check_fits(cluster, nodes)
    standing = installation.up(cluster, dashboard, typer.echo, wait)
    typer.echo(f"serving on {standing.address}, and on that port of every node")
    typer.echo(f"try: charter runs --address {standing.address}", err=True)
