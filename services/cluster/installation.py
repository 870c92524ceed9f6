"""An installation on a Ray cluster: whether it fits, its start with what Serve says meanwhile, and its end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rlhf_core.errors import CharterError, Conflict, InvalidInput, Unavailable
from services.cluster.config import APPLICATION, Cluster, serve_config
from services.cluster.dashboard import Application, Node, RayDashboard, Serving

LOOK_SECONDS = 1.0


class StartFailed(CharterError):
    """Ray Serve could not start a process."""


class Standing(NamedTuple):
    """What is to be seen of an installation."""

    application: Application
    address: str
    """HOST:PORT of a node, where clients call."""


def check_fits(cluster: Cluster, nodes: Sequence[Node]) -> None:
    """Refuse, by an InvalidInput, more than the nodes have together, and a process that no single one has room for."""
    wanted: dict[str, float] = {}
    for reserved, count in cluster.processes.items():
        for name, amount in reserved.resources.items():
            wanted[name] = wanted.get(name, 0) + count * amount
        if not any(
            all(node.resources.get(n, 0) >= amount for n, amount in reserved.resources.items()) for node in nodes
        ):
            raise InvalidInput(
                f"--ray: a process asks for {_amounts(reserved.resources)}, and no node has so much: "
                + "; ".join(f"{node.name} has {_amounts(_of(node, reserved.resources))}" for node in nodes),
                "ray",
            )
    there = {name: sum(node.resources.get(name, 0) for node in nodes) for name in wanted}
    if any(there[name] < amount for name, amount in wanted.items()):
        raise InvalidInput(
            f"--ray: {sum(cluster.processes.values())} processes ask for {_amounts(wanted)}, and the cluster has "
            f"{_amounts(there)}",
            "ray",
            hint="--workers, --learners and --replicas say how many they are, --cpus what each reserves; "
            "--elastic leaves it to a cluster that grows",
        )


def check_places(cluster: Cluster, nodes: Sequence[Node]) -> None:
    """Refuse, by an InvalidInput, several machines without a store and artifacts that all of them reach."""
    server = cluster.server
    if len(nodes) > 1 and not server.store:
        raise InvalidInput(
            f"--store: the cluster has {len(nodes)} machines, and a file of SQLite is for one; allowed: "
            "postgresql://HOST/DATABASE",
            "store",
        )
    if len(nodes) > 1 and not server.artifacts:
        raise InvalidInput(
            f"--artifacts: the cluster has {len(nodes)} machines, and a folder of one is not seen by the others; "
            "allowed: s3://BUCKET/PATH, or file:///PATH on a disk that all of them see",
            "artifacts",
        )


def up(cluster: Cluster, ray: RayDashboard, tell: Callable[[str], None], wait_seconds: float) -> Standing:
    """Start the installation, or change the one that is there, and wait until all of it serves.

    Raises: Conflict where Serve runs without our services; StartFailed with Serve's words; Unavailable with what is
    waited for when the time is over.
    """
    config, now = serve_config(cluster), ray.serving()
    _check_proxies(config["grpc_options"], now)
    config["applications"] += _others(now)
    ray.deploy(config)
    deadline, said = time.monotonic() + wait_seconds, ""
    while True:
        standing = status(ray)
        if standing is not None:
            if standing.application.status == "RUNNING":
                return standing
            if standing.application.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise StartFailed(
                    f"Ray Serve: {_trouble(standing.application)}", hint="charter cluster down takes away what is left"
                )
            text = waiting(standing.application)
            if text != said:
                tell(text)
                said = text
        if time.monotonic() > deadline:
            raise Unavailable(
                f"not all processes serve after {wait_seconds:g} s: {said}",
                hint="they may yet come: charter cluster status; or charter cluster down",
            )
        time.sleep(LOOK_SECONDS)


def status(ray: RayDashboard) -> Standing | None:
    """Tell how the installation is; None where there is none."""
    now = ray.serving()
    found = now.applications.get(APPLICATION)
    if found is None:
        return None
    ports = now.grpc_options.port if now.grpc_options else 0
    return Standing(found, f"{ray.nodes()[0].address}:{ports}")


def down(ray: RayDashboard, wait_seconds: float) -> bool:
    """End the installation, and Serve with it where it has nothing else to run; False where there was none.

    Raises Unavailable when it is still there after so long.
    """
    now = ray.serving()
    if APPLICATION not in now.applications:
        return False
    if set(now.applications) == {APPLICATION}:
        ray.shut_down()
    else:
        ray.deploy({"applications": _others(now)})
    deadline = time.monotonic() + wait_seconds
    while APPLICATION in ray.serving().applications:
        if time.monotonic() > deadline:
            raise Unavailable(
                f"the installation is still there after {wait_seconds:g} s", hint="charter cluster status"
            )
        time.sleep(LOOK_SECONDS)
    return True


def waiting(application: Application) -> str:
    """Say which processes are still to come, and why where Serve knows."""
    late = [one for one in application.deployments.values() if one.status != "HEALTHY"]
    return "; ".join(f"{one.name}: {one.message.strip() or 'starting'}" for one in late) or application.status.lower()


def _trouble(application: Application) -> str:
    told = [application.message, *(one.message for one in application.deployments.values() if one.status != "HEALTHY")]
    return "\n".join(text.strip() for text in told if text.strip())


def _others(now: Serving) -> list[dict[str, object]]:
    """What else came by configuration: Serve takes away what a new one does not name."""
    return [
        one.deployed_app_config
        for name, one in now.applications.items()
        if name != APPLICATION and one.deployed_app_config is not None
    ]


def _check_proxies(asked: dict[str, object], now: Serving) -> None:
    """Serve's proxies learn of services and ports when they start, and never again."""
    if now.grpc_options is None or now.proxy_location is None:
        return
    there = now.grpc_options
    lacks = set(json.loads(json.dumps(asked["grpc_servicer_functions"]))) - set(there.grpc_servicer_functions)
    if lacks or there.port != asked["port"]:
        raise Conflict(
            f"--ray: Serve runs on this cluster already, with gRPC on port {there.port} and "
            f"{'without our services' if lacks else 'our services'}, and takes others only when it starts",
            hint="use that port; or `serve shutdown` first, which ends all that it runs",
        )


def _of(node: Node, names: dict[str, float]) -> dict[str, float]:
    return {name: node.resources.get(name, 0) for name in names}


def _amounts(resources: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items())
