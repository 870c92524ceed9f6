"""The services of deploy/compose.yaml as plain processes of this machine: the same commands, other addresses."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import grpc
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROOT = Path(__file__).parents[1]
MAIN = "from services.cli.main import main; main()"
HERE = {"CHARTER__MODEL__THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
"""Five processes share the cores of a small machine; one that hangs shows where."""
OWN_PORTS = range(20_000, 32_000)
"""Below those of outgoing connections, which begin at 32,768 on Linux and higher elsewhere."""
UNAVAILABLE = 4
"""Exit code of a process that cannot reach what it needs."""
ROLES = ("policy", "critique", "reward", "preference", "trainer")


def compose() -> dict[str, Any]:
    """deploy/compose.yaml with its merge keys resolved."""
    return yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())


def entrypoint() -> list[str]:
    """The command that the image begins with."""
    found = re.search(r"^ENTRYPOINT (\[.*\])$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    assert found
    return json.loads(found[1])


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens, of those that the kernel gives to no connection by itself.

    One of the others could be taken by anybody's call before the process that it is meant for is there.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(OWN_PORTS, len(OWN_PORTS)):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"fewer than {count} ports are free")


class Processes:
    """One process for each service of the compose file; `with` starts them all and at the end kills what is left."""

    def __init__(
        self,
        data: Path,
        run_yaml: Path | None = None,
        more: Mapping[str, str] = MappingProxyType({}),
        settings: Mapping[str, str] = MappingProxyType({}),
    ):
        """`more` are further processes of its services, each by a name of its own; `settings` are variables of all."""
        self._settings = dict(settings)
        self._data, self._run_yaml = data, run_yaml or ROOT / "deploy/run.yaml"
        self._services = {role: role for role in ROLES} | dict(more)
        ports = free_ports(2 * len(self._services))
        self.ports = dict(zip(self._services, ports, strict=False))
        self.pages = {
            role: f"127.0.0.1:{port}" for role, port in zip(self._services, ports[len(self.ports) :], strict=True)
        }
        """Where each process tells its metrics."""
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._logs = data.parent / f"{data.name}-logs"
        self._logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Processes:
        for role in self._services:
            self.start(role)
        for role in self._services:
            self.wait_until_serving(role)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None):
        for role in self.running:
            self.kill(role)

    def address(self, role: str) -> str:
        return f"127.0.0.1:{self.ports[role]}"

    def start(self, role: str) -> None:
        service = compose()["services"][self._services[role]]
        command = [self._here(word, role) for word in [*entrypoint(), *service["command"]]]
        assert command[0] == "charter"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHARTER")}
        given = {name: self._here(value, role) for name, value in service["environment"].items()}
        with (self._logs / f"{role}.log").open("ab") as log:
            self.running[role] = subprocess.Popen(
                [sys.executable, "-c", MAIN, *command[1:]],
                env=inherited | given | HERE | self._settings,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def kill(self, role: str) -> None:
        """Without warning, as the kernel or a power cut would."""
        self.running[role].send_signal(signal.SIGKILL)
        self.running[role].wait()

    def terminate(self, role: str, timeout_seconds: float = 60) -> int:
        """With notice, as an orchestrator does; the exit code."""
        self.running[role].send_signal(signal.SIGTERM)
        return self.running[role].wait(timeout_seconds)

    def wait_until_serving(self, role: str, timeout_seconds: float = 600) -> None:
        """Raises AssertionError with the end of its log when it ends, or takes too long: then with its stacks."""
        deadline = time.monotonic() + timeout_seconds
        while not self.is_serving(role):
            if self.running[role].poll() is None and time.monotonic() > deadline:
                self.running[role].send_signal(signal.SIGABRT)
                self.running[role].wait()
            code = self.running[role].poll()
            assert code is None, f"{role} does not serve; it ended with {code}:\n{self.log(role)[-4000:]}"
            time.sleep(0.1)

    def is_serving(self, role: str) -> bool:
        with grpc.insecure_channel(self.address(role), options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
            except grpc.RpcError:
                return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    def comes_back(self, role: str) -> bool:
        """Tell whether it serves by now; one that found its database away is started again, as compose does.

        Raises AssertionError where it has ended by itself for another reason.
        """
        code = self.running[role].poll()
        if code == UNAVAILABLE:
            self.start(role)
            return False
        assert code is None, f"{role} ended with {code}:\n{self.log(role)[-4000:]}"
        return self.is_serving(role)

    def log(self, role: str) -> str:
        return (self._logs / f"{role}.log").read_text()

    def _here(self, word: str, role: str) -> str:
        """The container's word in terms of this machine."""
        places = {
            "/etc/charter/run.yaml": str(self._run_yaml),
            "/etc/charter/server.yaml": str(ROOT / "deploy/server.yaml"),
            "0.0.0.0:50051": self.address(role),
            "0.0.0.0:9464": self.pages[role],
            "/data": str(self._data),
            **{f"{name}:50051": self.address(name) for name in ROLES},
        }
        return places.get(word, word)
