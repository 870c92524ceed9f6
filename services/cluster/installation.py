"""An installation on a Ray cluster: whether it fits, its start with what Serve says meanwhile, and its end."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from rlhf_core.errors import CharterError, Conflict, InvalidInput, Unavailable
from rlhf_core.store.databases.place import Place, check
from services.cluster.config import APPLICATION, Cluster, serve_config
from services.cluster.dashboard import Application, Node, RayDashboard, Serving

LOOK_SECONDS = 1.0
ROOM = re.compile(r"Resources required for each replica: (\{.*?\}), total resources available: (\{.*?\})")
ERROR = re.compile(r"^(\w+\.)*[A-Z]\w+: ", re.MULTILINE)
"""Where a line of a traceback begins that says what was raised."""


class StartFailed(CharterError):
    """Ray Serve could not start a process."""


class Standing(NamedTuple):
    """What is to be seen of an installation."""

    application: Application
    address: str
    """HOST:PORT of a node, where clients call."""


def check_fits(cluster: Cluster, nodes: Sequence[Node]) -> None:
    """Refuse, by an InvalidInput, more than the nodes have together, and what no single one of them has room for."""
    hint = (
        "--workers, --learners and --replicas say how many processes there are, --cpus what each reserves; --elastic "
        "leaves it to a cluster that grows"
    )
    wanted: dict[str, float] = {}
    for reserved, count in cluster.together.items():
        asked = reserved.resources
        for name, amount in asked.items():
            wanted[name] = wanted.get(name, 0) + count * amount
        if not any(all(node.resources.get(name, 0) >= amount for name, amount in asked.items()) for node in nodes):
            there = "; ".join(f"{node.name} has {_amounts(_of(node, asked))}" for node in nodes)
            text = f"--ray: a process, or a worker with its learners, asks for {_amounts(asked)}, and {there}"
            raise InvalidInput(text, "ray", hint=hint)
    there = {name: sum(node.resources.get(name, 0) for node in nodes) for name in wanted}
    if any(there[name] < amount for name, amount in wanted.items()):
        text = f"--ray: all processes together ask for {_amounts(wanted)}, and the cluster has {_amounts(there)}"
        raise InvalidInput(text, "ray", hint=hint)


def check_server(cluster: Cluster, nodes: Sequence[Node]) -> None:
    """Refuse, by an InvalidInput, what several processes of a node cannot all have, and places out of their reach."""
    server = cluster.server
    addresses = {"http.address": server.http.address, "console.address": server.console.address}
    for field, value in (addresses | {"metrics": server.metrics, "tls.cert": server.tls.cert}).items():
        if value is not None:
            raise InvalidInput(
                f"{field}: {value} is for one process, behind an address of its own; allowed with --ray: null", field
            )
    check(Place(database=server.store, artifacts=server.artifacts))
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
    check_proxies(config["grpc_options"], now)
    config["applications"] += others(now)
    ray.deploy(config)
    deadline, said = time.monotonic() + wait_seconds, dict[str, str]()
    while (standing := status(ray)) is None or standing.application.status != "RUNNING":
        if standing is not None:
            late = waiting(standing.application)
            if standing.application.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise StartFailed(
                    "\n".join(f"{role}: {text}" for role, text in late.items()),
                    hint="charter cluster down takes away what is left",
                )
            for role, text in late.items():
                if said.get(role) != text:
                    tell(f"{role}: {text}")
            said |= late
        if time.monotonic() > deadline:
            raise Unavailable(
                f"not all processes serve after {wait_seconds:g} s: "
                + "; ".join(f"{role}: {text}" for role, text in said.items()),
                hint="they may yet come: charter cluster status; or charter cluster down",
            )
        time.sleep(LOOK_SECONDS)
    return standing


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
        ray.deploy({"applications": others(now)})
    deadline = time.monotonic() + wait_seconds
    while APPLICATION in ray.serving().applications:
        if time.monotonic() > deadline:
            raise Unavailable(
                f"the installation is still there after {wait_seconds:g} s", hint="charter cluster status"
            )
        time.sleep(LOOK_SECONDS)
    return True


def waiting(application: Application) -> dict[str, str]:
    """Say of each role whose processes do not all serve why, in Serve's words where it has some."""
    late = {
        one.name: in_short(one.message) or "starting"
        for one in application.deployments.values()
        if one.status != "HEALTHY"
    }
    return late or {APPLICATION: in_short(application.message) or "starting"}


def in_short(message: str) -> str:
    """Return what a message of Serve's says: what is asked for and free, or the error that a traceback ends with."""
    if room := re.search(
        r"Resources required for each replica: (\{.*?\}), total resources available: (\{.*?\})", message
    ):
        return f"waits for room; each asks for {_read(room[1])}, free is {_read(room[2])}"
    errors = list(ERROR.finditer(message))
    return " ".join(message[errors[-1].start() if errors else 0 :].split())


def _read(resources: str) -> str:
    return _amounts(json.loads(resources)) or "nothing"


def others(now: Serving) -> list[dict[str, object]]:
    """What else came by configuration: Serve takes away what a new one does not name."""
    return [
        one.deployed_app_config
        for name, one in now.applications.items()
        if name != APPLICATION and one.deployed_app_config is not None
    ]


def check_proxies(asked: dict[str, object], now: Serving) -> None:
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


def _of(node: Node, names: Iterable[str]) -> dict[str, float]:
    return {name: node.resources.get(name, 0) for name in names}


def _amounts(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items())
