"""What the fault drill kills: services, a second worker, a sampler elsewhere, a client, and the database."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.processes import HERE, ROLES, ROOT, Processes, free_ports
from tests.store.postgres_server import Server

DATABASE, SAMPLER, WRITER, SECOND = "database", "sampler", "writer", "second trainer"
SERVED = (*ROLES, SECOND)
AT_ONCE = (1, 1, 1, 1, 2, 2, 3)
"""How many are killed at the same moment."""
START_SECONDS = 600.0


class Target(NamedTuple):
    """Something that can be killed, and started again; `wait` returns once it is at work."""

    name: str
    kill: Callable[[], None]
    start: Callable[[], None]
    wait: Callable[[], None]


def services(processes: Processes) -> list[Target]:
    return [
        Target(role, *(partial(do, role) for do in (processes.kill, processes.start, processes.wait_until_serving)))
        for role in SERVED
    ]


def database(server: Server) -> Target:
    def start() -> None:
        server.start()

    return Target(DATABASE, server.kill, start, lambda: None)


def strike(targets: list[Target], chance: random.Random, most: int) -> list[str]:
    """Kill one target, or a few at once, and bring all of them back; returns their names.

    Raises: AssertionError for one that does not come back.
    """
    struck = chance.sample(targets, min(chance.choice(AT_ONCE), most))
    for target in struck:
        target.kill()
    # The database first, since the others look for it.
    for target in sorted(struck, key=lambda target: target.name != DATABASE):
        target.start()
    for target in struck:
        target.wait()
    return [target.name for target in struck]


class Program:
    """A module of the drill as a process of its own."""

    def __init__(self, name: str, arguments: list[str], log: Path):
        self._command = [sys.executable, "-m", f"tests.drill.{name}", *arguments]
        self._log = log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, env=os.environ | HERE, cwd=ROOT, stdout=log, stderr=log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def check(self) -> None:
        """Raise AssertionError where it has ended by itself."""
        code = self.process.poll()
        assert code is None, f"{self._command[2]} ended with {code}:\n{self._log.read_text()[-2000:]}"


@contextlib.contextmanager
def program(name: str, arguments: list[str], log: Path) -> Iterator[Program]:
    """A process while the block lasts."""
    running = Program(name, arguments, log)
    try:
        yield running
    finally:
        running.kill()


@contextlib.contextmanager
def sampler(log: Path) -> Iterator[tuple[str, Target]]:
    """A sampler elsewhere: its address, and how to kill it."""
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    with program(SAMPLER, [str(port)], log) as running:

        def wait() -> None:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(f"{address}/v1/models"):
                running.check()
                assert time.monotonic() < deadline, f"no sampler at {address}:\n{log.read_text()[-2000:]}"
                time.sleep(0.1)

        wait()
        yield address, Target(SAMPLER, running.kill, running.start, wait)


@contextlib.contextmanager
def writer(data: Path, journal: Path, address: str, log: Path) -> Iterator[Target]:
    """A client that is killed itself. It is at work at once, whoever answers it."""
    with program(WRITER, [str(data), str(journal), address], log) as running:
        yield Target(WRITER, running.kill, running.start, running.check)
        running.check()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(json.load(answer)["data"])
    except (urllib.error.URLError, OSError):
        return False
