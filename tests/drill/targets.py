"""What the fault drill kills: services, a second worker, a sampler elsewhere, a client, and the database."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tests.processes import HERE, ROLES, ROOT, Processes, free_ports
from tests.store.postgres_server import Server

DATABASE, SAMPLER, WRITER, SECOND = "database", "sampler", "writer", "second trainer"
SERVED = (*ROLES, SECOND)
WORKERS = ("trainer", SECOND)
AT_ONCE = (1, 1, 1, 1, 2, 2, 3)
"""How many are killed at the same moment."""
WHILE_STARTING = 0.05
"""How often one that does not serve yet may be killed."""
START_SECONDS = 600.0


class Target(NamedTuple):
    """Something that can be killed, and started again."""

    name: str
    kill: Callable[[], None]
    start: Callable[[], None]
    serves: Callable[[], bool]
    """Whether it is at work; raises AssertionError where it has ended by itself."""


def services(processes: Processes) -> list[Target]:
    return [
        Target(role, *(partial(do, role) for do in (processes.kill, processes.start, processes.comes_back)))
        for role in SERVED
    ]


def database(server: Server) -> Target:
    def start() -> None:
        server.start()

    return Target(DATABASE, server.kill, start, lambda: True)


def strike(targets: Sequence[Target], chance: random.Random, most: int) -> list[str]:
    """Kill one target, or a few at once, and start them again; returns their names.

    It does not wait for them, so that several may be away at a time; now and then one is killed that only starts.
    Raises AssertionError for one that ended by itself.
    """
    wanted, order = min(chance.choice(AT_ONCE), most), chance.sample(targets, len(targets))
    may_die = (target for target in order if chance.random() < WHILE_STARTING or target.serves())
    struck = list(islice(may_die, wanted))
    for target in struck:
        target.kill()
    # The database first, since the others look for it.
    for target in sorted(struck, key=lambda target: target.name != DATABASE):
        target.start()
    return [target.name for target in struck]


def all_back(targets: Sequence[Target]) -> None:
    """Wait until all serve. Raises AssertionError for those that do not."""
    deadline = time.monotonic() + START_SECONDS
    while away := [target.name for target in targets if not target.serves()]:
        assert time.monotonic() < deadline, f"away for {START_SECONDS:g} s: {', '.join(away)}"
        time.sleep(0.1)


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

    def runs(self) -> bool:
        """Return True. Raises AssertionError where it has ended by itself."""
        code = self.process.poll()
        assert code is None, f"{self._command[2]} ended with {code}:\n{self._log.read_text()[-2000:]}"
        return True


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
        target = Target(SAMPLER, running.kill, running.start, lambda: running.runs() and _answers(address))
        all_back([target])
        yield address, target


@contextlib.contextmanager
def writer(data: Path, journal: Path, address: str, log: Path) -> Iterator[Target]:
    """A client that is killed itself. It is at work at once, whoever answers it."""
    with program(WRITER, [str(data), str(journal), address], log) as running:
        yield Target(WRITER, running.kill, running.start, running.runs)
        running.runs()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/v1/models", timeout=5) as answer:
            return bool(json.load(answer)["data"])
    except OSError:
        return False
