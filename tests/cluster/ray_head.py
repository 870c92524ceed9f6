"""A Ray cluster of one node of the tests' own, with little memory; nothing else that Ray runs here is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.processes import HERE, ROOT, free_ports

CPUS = 4
MEMORY, OBJECTS = 4_000_000_000, 150_000_000
START_SECONDS = 120.0


class Head(NamedTuple):
    """Where a cluster is reached: by its dashboard, and by who takes part in it."""

    dashboard: str
    address: str


@contextmanager
def head() -> Iterator[Head]:
    """Start a head with a dashboard; all of its processes end with the block."""
    gcs, dashboard, client, agent, metrics, grpc = free_ports(6)
    # Not the tests' folder: the paths of its sockets would be too long.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        ray = Path(sys.executable).parent / "ray"
        command = [str(ray), "start", "--head", "--block", "--disable-usage-stats", "--include-dashboard", "true"]
        command += ["--num-cpus", str(CPUS), "--memory", str(MEMORY), "--object-store-memory", str(OBJECTS)]
        command += ["--port", str(gcs), "--dashboard-port", str(dashboard), "--ray-client-server-port", str(client)]
        command += ["--dashboard-agent-listen-port", str(agent), "--metrics-export-port", str(metrics)]
        command += ["--dashboard-agent-grpc-port", str(grpc), "--temp-dir", folder]
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("CHARTER", "RAY_"))}
        # Others may use most of this machine's memory; no process of the tests is to be killed for that.
        settings = {"PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}", "RAY_memory_monitor_refresh_ms": "0"}
        with (Path(folder) / "head.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=inherited | HERE | settings, stdout=log, stderr=log, start_new_session=True
            )
        try:
            found = Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}")
            _wait(found.dashboard, process, Path(folder) / "head.log")
            yield found
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def learners_of_ray() -> set[int]:
    """The ids of the processes that Ray Train has started on this machine."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"RayTrainWorker" in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
    return found


def actors(address: str) -> set[str]:
    """The classes of the actors that are alive, without the one that Ray keeps for all who ever asked for nodes."""
    from ray.util.state import list_actors  # pyright: ignore[reportMissingImports]

    found = {actor.class_name for actor in list_actors(address, filters=[("state", "=", "ALIVE")], limit=1000)}
    return {name for name in found if not name.startswith("_AutoscalingCoordinator")}


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with suppress(OSError), urllib.request.urlopen(f"{address}/api/v0/nodes", timeout=5) as answer:
            if b'"ALIVE"' in answer.read():
                return
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.5)
