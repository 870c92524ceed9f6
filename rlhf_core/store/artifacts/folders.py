"""Arrays and adapters as folders of files, addressed by what they hold."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rlhf_core.errors import InvalidInput, NotFound, Unavailable
from rlhf_core.store.workers import is_dead, this_process

_CHUNK = 2**20
DIGEST = re.compile(r"[0-9a-f]{64}")


class ArtifactFolders(Protocol):
    """Folders of files by their digests, wherever they are kept."""

    def put_folder(self, path: Path) -> str: ...

    def get_folder(self, digest: str) -> Path: ...

    def stored(self) -> dict[str, int]: ...

    def remove(self, digest: str, idle_seconds: float) -> bool: ...

    def drop_drafts(self, idle_seconds: float) -> None: ...

    def claim(self, owner: str) -> None: ...

    def owners(self) -> set[str]: ...

    def disown(self, owner: str) -> None: ...


class Artifacts:
    """A content-addressed folder: `sha256/ab/<digest>/`, `tmp/` for what is being written, and `owners/`.

    A folder's digest is the sha256 over its files' relative names, in order, each with the sha256 of its bytes;
    times, modes and empty folders do not count.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._verified: set[str] = set()
        with _named_errors(folder):
            (folder / "sha256").mkdir(parents=True, exist_ok=True)
            (folder / "tmp").mkdir(exist_ok=True)
            for left_over in (folder / "tmp").iterdir():
                if is_dead(left_over.name):
                    shutil.rmtree(left_over, ignore_errors=True)

    def put_folder(self, path: Path) -> str:
        """Copy a folder's files in, and return their digest once they are on the disk.

        Raises:
            InvalidInput: not a folder, an empty one, or one with links or devices in it.
            Unavailable: the disk is full or cannot be written; nothing is left behind.
        """
        names = _file_names(path)
        draft = self._folder / "tmp" / f"{this_process()}:{secrets.token_hex(6)}"
        with _named_errors(self._folder):
            try:
                draft.mkdir()
                digest = digest_of({name: _copy(path / name, draft / name) for name in names})
                for folder in [*(entry for entry in draft.rglob("*") if entry.is_dir()), draft]:
                    _fsync_folder(folder)
                self._move_in(draft, digest)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        self._verified.add(digest)
        return digest

    def get_folder(self, digest: str) -> Path:
        """Return where the files with this digest lie, to be read only; they are checked once in a process.

        Raises:
            NotFound: there is no such artifact.
            Unavailable: its files are damaged.
        """
        if not DIGEST.fullmatch(digest):
            raise NotFound(f"no artifact '{digest}': a digest is 64 hexadecimal digits")
        folder = self._place(digest)
        if not folder.is_dir():
            raise NotFound(f"no artifact '{digest}' in the store")
        if digest not in self._verified:
            with _named_errors(folder):
                sound = _holds(folder, digest)
            if not sound:
                raise Unavailable(f"artifact '{digest}' is damaged: its files have changed since they were written")
            self._verified.add(digest)
        return folder

    def stored(self) -> dict[str, int]:
        """Return the bytes of each artifact, by digest."""
        sizes: dict[str, int] = {}
        for place in (self._folder / "sha256").glob("??/*"):
            # Another process may remove it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                sizes[place.name] = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
        return sizes

    def drop_drafts(self, idle_seconds: float) -> None:
        """Remove what was begun so long ago and never ended, by whichever host."""
        for draft in (self._folder / "tmp").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - draft.stat().st_mtime >= idle_seconds:
                    shutil.rmtree(draft, ignore_errors=True)

    def claim(self, owner: str) -> None:
        """Mark the place as one whose artifacts the rows of this store name."""
        with _named_errors(self._folder):
            (self._folder / "owners").mkdir(exist_ok=True)
            (self._folder / "owners" / owner).touch()

    def owners(self) -> set[str]:
        """Return the stores that have claimed the place."""
        with _named_errors(self._folder):
            (self._folder / "owners").mkdir(exist_ok=True)
            return {mark.name for mark in (self._folder / "owners").iterdir()}

    def disown(self, owner: str) -> None:
        """Take a store's mark away."""
        with _named_errors(self._folder):
            (self._folder / "owners" / owner).unlink(missing_ok=True)

    def remove(self, digest: str, idle_seconds: float) -> bool:
        """Delete an artifact that nothing refers to; False when it was put, or put again, in the last `idle_seconds`.

        Whoever puts the same files meanwhile either finds them as they were or stores them anew.
        """
        draft = self._folder / "tmp" / f"{this_process()}:{secrets.token_hex(6)}"
        place = self._place(digest)
        with _named_errors(self._folder):
            try:
                os.rename(place, draft)
            except FileNotFoundError:
                return False
            # Looked at only now, when it can no longer be found and kept by another process.
            if time.time() - draft.stat().st_mtime < idle_seconds:
                with contextlib.suppress(OSError):
                    os.rename(draft, place)
                shutil.rmtree(draft, ignore_errors=True)
                return False
            shutil.rmtree(draft)
        self._verified.discard(digest)
        return True

    def _place(self, digest: str) -> Path:
        return self._folder / "sha256" / digest[:2] / digest

    def _move_in(self, draft: Path, digest: str) -> None:
        place = self._place(digest)
        if place.is_dir() and not _holds(place, digest):
            damaged = draft.with_name(f"{draft.name}:damaged")
            with contextlib.suppress(FileNotFoundError):
                os.rename(place, damaged)
                shutil.rmtree(damaged)
        place.parent.mkdir(exist_ok=True)
        while not _moved(draft, place):
            # A sign of use for `remove`, which may have taken it away by now.
            with contextlib.suppress(FileNotFoundError):
                os.utime(place)
                break
        _fsync_folder(place.parent)
        _fsync_folder(place.parent.parent)


def _moved(draft: Path, place: Path) -> bool:
    """False when there is something already."""
    try:
        os.rename(draft, place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _file_names(path: Path) -> list[str]:
    """Relative names of all files below a folder, in order."""
    if not path.is_dir():
        raise InvalidInput(f"'{path}' is not a folder; allowed: a folder of files")
    names = []
    for entry in sorted(path.rglob("*")):
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise InvalidInput(f"'{entry}' is a link or a device; allowed: plain files and folders")
        if entry.is_file():
            names.append(entry.relative_to(path).as_posix())
    if not names:
        raise InvalidInput(f"'{path}' is empty; allowed: a folder with at least one file")
    return names


def _copy(source: Path, target: Path) -> str:
    """Copy one file to the disk and return the sha256 of the bytes written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def digest_of(files: Mapping[str, str]) -> str:
    """Return the digest of a folder with these files, each a name and the sha256 of what it holds."""
    # A name may hold any character but NUL, so that no two folders give the same text.
    lines = "".join(f"{name}\0{files[name]}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _holds(folder: Path, digest: str) -> bool:
    """Whether the folder's files have this digest."""
    try:
        return digest_of({name: _file_digest(folder / name) for name in _file_names(folder)}) == digest
    except (InvalidInput, FileNotFoundError):
        return False


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _named_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Unavailable(f"no space left for '{folder}'; nothing was written") from error
        raise Unavailable(f"cannot use '{error.filename or folder}': {error.strerror}; nothing was written") from error
