"""A real PostgreSQL server of the tests' own, where its programs are installed."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString, cast
from urllib.parse import quote

import psycopg

USER = "charter"
_NUMBERS = itertools.count()


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`, of the newest version that is installed; None where there is none."""
    found = [Path(path).parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    return next((folder for folder in found if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


def why_not() -> str:
    """Why no server can be started here; empty where one can."""
    if os.getuid() == 0 and not shutil.which("setpriv"):
        return "root cannot run PostgreSQL, and setpriv is not installed"
    return "" if programs() else "no PostgreSQL server is installed (Debian: apt install postgresql)"


class Server:
    """A server on a socket in a folder of its own. Its data outlive `kill`, and `start` goes on with them."""

    def __init__(self, folder: Path, *settings: str):
        self._folder, self._settings = folder, settings
        self._as: list[str] = []
        if os.getuid() == 0:
            # It refuses to run as root. Not `Popen(user=...)`, which forks where gRPC may not.
            user = _other_user()
            os.chown(folder, user, -1)
            self._as = ["setpriv", f"--reuid={user}", "--clear-groups", "--"]
        create = ["--pgdata", str(folder / "data"), "--username", USER, "--auth", "trust", "--encoding", "UTF8"]
        self._run("initdb", *create, "--locale", "C.UTF-8", "--no-sync")
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, and return once it answers."""
        command = [
            *self._as,
            self._program("postgres"),
            "-D",
            str(self._folder / "data"),
            "-k",
            str(self._folder),
            "-h",
            "",
        ]
        for setting in self._settings:
            command += ["-c", setting]
        deadline = time.monotonic() + 60
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, cwd="/")
            while True:
                try:
                    psycopg.connect(self.url("postgres")).close()
                    return self.process
                except psycopg.OperationalError:
                    assert time.monotonic() < deadline, self.log()
                    time.sleep(0.02)
                if self.process.poll() is not None:
                    # What a server that was killed has left at work holds its memory until it notices.
                    self.process = subprocess.Popen(command, stderr=log, cwd="/")

    def kill(self) -> None:
        """Without warning: the server's parent process, upon which the others leave."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)

    def url(self, database: str, schema: str = "") -> str:
        options = f"&options={quote(f'-csearch_path={schema}')}" if schema else ""
        return f"postgresql://{USER}@/{database}?host={quote(str(self._folder))}{options}"

    def empty(self) -> str:
        """The URL of a new place for a store."""
        schema = f"store_{os.getpid()}_{next(_NUMBERS)}"
        self.do(f"CREATE SCHEMA {schema}")
        return self.url("postgres", schema)

    def database(self, options: str) -> str:
        """The URL of a new database, made with these options."""
        name = f"database_{os.getpid()}_{next(_NUMBERS)}"
        self.do(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
        return self.url(name)

    def do(self, sql: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as session:
            session.execute(cast(LiteralString, sql))

    def log(self) -> str:
        return (self._folder / "log").read_text()[-4000:]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run([*self._as, self._program(program), *arguments], capture_output=True, cwd="/")
        assert done.returncode == 0, done.stderr.decode()

    def _program(self, name: str) -> str:
        folder = programs()
        assert folder is not None
        return str(folder / name)


@contextlib.contextmanager
def server(*settings: str) -> Iterator[Server]:
    """A server while the block lasts, with settings such as `fsync=off`."""
    # Not below pytest's folder, which only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="charter-pg-"))
    running = None
    try:
        running = Server(folder, *settings)
        yield running
    finally:
        if running is not None:
            running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _other_user() -> int:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
    raise AssertionError("no other user on this machine")
