"""Asks a server for its health again and again from a process of its own, so that no other client is in its way."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

PAUSE_SECONDS = 0.02


class Probe:
    """Begins at once; `stop` gives the milliseconds of each answer."""

    def __init__(self, address: str):
        command = [sys.executable, "-m", "tests.benchmarks.probe", address]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def stop(self) -> list[float]:
        answer, _ = self._process.communicate("stop\n", timeout=30)
        return json.loads(answer)


def _probe(address: str) -> None:
    stopped = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), stopped.set()), daemon=True).start()
    times: list[float] = []
    with grpc.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        request = health_pb2.HealthCheckRequest()
        check(request, wait_for_ready=True, timeout=30)
        print("ready", flush=True)
        while not stopped.wait(PAUSE_SECONDS):
            started = time.perf_counter()
            check(request, timeout=30)
            times.append(1000 * (time.perf_counter() - started))
    print(json.dumps(times))


if __name__ == "__main__":
    _probe(sys.argv[1])
