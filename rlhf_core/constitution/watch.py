"""A constitution that follows its file: a valid edit takes over at once, an invalid one leaves the old in force."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.load import load_with_text
from rlhf_core.constitution.validation.problems import InvalidConstitution, Problem

RETRY_SECONDS = 1.0
"""How often an invalid constitution is read again though its files stand still: one that it extends may appear."""

Stamp = tuple[int, int]
"""A file's time of change in nanoseconds, and its size; the cheap sign that its bytes may be others."""


class Active(NamedTuple):
    """The constitution in force, and the text that it was read from."""

    constitution: Constitution
    text: str


class WatchStatus(NamedTuple):
    """How the file stands to the constitution in force."""

    state: Literal["VALID", "INVALID"]
    """INVALID: the file has mistakes now, and what was read before them is still in force."""
    source: str
    active_hash: str
    problems: tuple[Problem, ...]


class WatchedConstitution:
    """One file, those that it extends, and the last valid constitution that they made. Safe for many threads."""

    def __init__(self, path: str):
        """Raises InvalidConstitution when the file is wrong from the start: there is nothing to keep in force."""
        self.source = path
        self._lock = threading.Lock()
        self._problems: tuple[Problem, ...] = ()
        self._active = self._read()
        self._paths = _paths(self._active.constitution, path)
        self._stamps, self._digest = _stamps(self._paths), _digest(self._paths)
        self._looked = time.monotonic()

    def current(self) -> Active:
        """Return what is in force now, after a look at the files: their times, then their bytes, then what they say."""
        return self._look()[0]

    def status(self) -> WatchStatus:
        """Return what `current` does, and what is wrong with the file where it is not what is in force."""
        active, problems = self._look()
        return WatchStatus("INVALID" if problems else "VALID", self.source, active.constitution.hash, problems)

    def _look(self) -> tuple[Active, tuple[Problem, ...]]:
        with self._lock:
            # Before the bytes: a file that changes while it is read is looked at again.
            stamps = _stamps(self._paths)
            retry = bool(self._problems) and time.monotonic() - self._looked > RETRY_SECONDS
            if stamps != self._stamps or retry:
                digest = _digest(self._paths)
                if digest != self._digest or retry:
                    self._take()
                self._stamps, self._digest, self._looked = stamps, digest, time.monotonic()
            return self._active, self._problems

    def _take(self) -> None:
        try:
            self._active = self._read()
        except InvalidConstitution as error:
            self._problems = error.problems
            return
        self._problems = ()
        self._paths = _paths(self._active.constitution, self.source)

    def _read(self) -> Active:
        return Active(*load_with_text(self.source))


def _paths(constitution: Constitution, source: str) -> tuple[str, ...]:
    """The constitution's own file and those that it extends."""
    return tuple(dict.fromkeys((source, *(file.source for file in constitution.files))))


def _stamps(paths: Iterable[str]) -> tuple[Stamp, ...]:
    return tuple(_stamp(path) for path in paths)


def _stamp(path: str) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return (0, -1)
    return (found.st_mtime_ns, found.st_size)


def _digest(paths: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(Path(path).read_bytes())
        except OSError:
            digest.update(b"unreadable")
        digest.update(b"\0")
    return digest.hexdigest()
