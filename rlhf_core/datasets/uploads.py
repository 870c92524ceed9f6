"""Uploads that are not finished: files that grow, each under the sha256 that it will have.

So an upload needs no session: whoever sends the same bytes goes on where they ended, after a crash on either side.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rlhf_core.errors import Unavailable

IDLE_SECONDS = 7 * 24 * 3600.0
"""An upload that nobody has gone on with for so long is given up."""
CONTENT = "content"
"""The name of a dataset's file, here and as an artifact."""


class Uploads:
    """The unfinished uploads of one store, as files in a folder of their own."""

    def __init__(self, folder: Path):
        self._folder = folder

    def received(self, content_hash: str) -> int:
        """Return how many bytes of that content are here."""
        try:
            return self.file(content_hash).stat().st_size
        except FileNotFoundError:
            return 0

    def write(self, content_hash: str, offset: int, data: bytes) -> int:
        """Put bytes where they belong, over what was there, and return how many there are now.

        `offset` must not lie beyond what is here. Raises Unavailable where the disk is full or cannot be written.
        """
        path = self.file(content_hash)
        with _named_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                _write_all(handle, data, offset)
                return os.fstat(handle).st_size
            finally:
                os.close(handle)

    def sha256(self, content_hash: str) -> str:
        """Return the sha256 of the bytes that are here."""
        path = self.file(content_hash)
        with _named_errors(path), path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def file(self, content_hash: str) -> Path:
        """Return where the bytes lie, alone in a folder."""
        return self._folder / content_hash / CONTENT

    def discard(self, content_hash: str) -> None:
        shutil.rmtree(self.file(content_hash).parent, ignore_errors=True)

    def idle(self, seconds: float = IDLE_SECONDS) -> list[Abandoned]:
        """Return the uploads that have not grown for so long."""
        limit = time.time() - seconds
        found = []
        for path in sorted(self._folder.glob(f"*/{CONTENT}")):
            with contextlib.suppress(FileNotFoundError):
                told = path.stat()
                if told.st_mtime < limit:
                    found.append(Abandoned(path.parent.name, told.st_size))
        return found


class Abandoned(NamedTuple):
    """An upload that nobody goes on with."""

    hash: str
    size: int
    """Bytes that came."""


def _write_all(handle: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise Unavailable("the upload has just been finished or given up by another call", hint="try again") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Unavailable(f"no space left for '{path.parent}'; what was there before stays") from None
        raise Unavailable(f"cannot use '{path}': {error.strerror}") from None
