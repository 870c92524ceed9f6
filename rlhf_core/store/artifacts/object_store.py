"""Artifacts in an object store, such as S3: an object for each folder, and a copy on this host of what is used here."""

from __future__ import annotations

import contextlib
import secrets
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from rlhf_core.errors import CharterError, InvalidInput, NotFound, Unavailable
from rlhf_core.store.artifacts.folders import DIGEST, ArtifactFolders, Artifacts
from rlhf_core.store.databases.urls import told

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

REMOVAL_SECONDS = 60.0
"""Whoever takes longer to remove an artifact has died."""
LOOK_SECONDS = 0.02


def artifacts_at(url: str, folder: Path) -> ArtifactFolders:
    """Return the artifacts at a URL of fsspec, or in the folder where the URL is empty.

    With a URL the folder keeps the copies.

    Raises:
        InvalidInput: the URL is of a kind that is not known, or whose package is not installed.
    """
    if not url:
        return Artifacts(folder)
    if urlsplit(url).scheme == "file":
        return Artifacts(Path(unquote(urlsplit(url).path)))
    import fsspec

    try:
        # What others have written is looked for each time.
        files, root = fsspec.url_to_fs(url, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        allowed = "a URL that fsspec knows and whose package is installed, such as s3://BUCKET/PATH"
        raise InvalidInput(f"artifacts: '{told(url)}': {error}; allowed: {allowed}", "artifacts") from None
    return RemoteArtifacts(files, root.rstrip("/"), url, Artifacts(folder))


class RemoteArtifacts:
    """As `Artifacts`, with `sha256/ab/<digest>.tar` as objects: each appears whole or not at all.

    While one is removed `removing/<digest>/` holds a mark, so that whoever puts the same files then puts them again.
    """

    def __init__(self, files: AbstractFileSystem, root: str, url: str, copies: Artifacts):
        self._files, self._root, self._url, self._copies = files, root, url, copies

    def put_folder(self, path: Path) -> str:
        """Copy a folder's files in, and return their digest once the object store has them.

        Raises:
            InvalidInput: not a folder, an empty one, or one with links or devices in it.
            Unavailable: the object store refuses or cannot be reached, or this host's disk is full.
        """
        digest = self._copies.put_folder(path)
        with self._named_errors(), tempfile.TemporaryDirectory(prefix="charter-") as scratch:
            packed = _packed(self._copies.get_folder(digest), Path(scratch))
            self._upload(packed, digest)
            self._wait_for_removal(digest)
            if not self._files.exists(self._object(digest)):
                self._upload(packed, digest)
        return digest

    def get_folder(self, digest: str) -> Path:
        """Return where this host's copy of the files with this digest lies, to be read only.

        Raises:
            NotFound: there is no such artifact.
            Unavailable: its object is damaged, or the object store cannot be reached.
        """
        if not DIGEST.fullmatch(digest):
            raise NotFound(f"no artifact '{digest}': a digest is 64 hexadecimal digits")
        # A copy that is damaged is mended by another.
        with contextlib.suppress(NotFound, Unavailable):
            return self._copies.get_folder(digest)
        with self._named_errors(), tempfile.TemporaryDirectory(prefix="charter-") as scratch:
            packed, folder = Path(scratch) / "packed", Path(scratch) / "folder"
            try:
                self._files.get_file(self._object(digest), str(packed))
            except FileNotFoundError:
                raise NotFound(f"no artifact '{digest}' in '{told(self._url)}'") from None
            try:
                with tarfile.open(packed) as archive:
                    archive.extractall(folder, filter="data")
                found = self._copies.put_folder(folder)
            except (tarfile.TarError, InvalidInput):
                found = ""
        if found != digest:
            raise Unavailable(f"artifact '{digest}' is damaged: its object has changed since it was written")
        return self._copies.get_folder(digest)

    def stored(self) -> dict[str, int]:
        """Return the bytes of each artifact's object, by digest."""
        with self._named_errors():
            try:
                found = cast(dict[str, Any], self._files.find(f"{self._root}/sha256", detail=True))
            except FileNotFoundError:
                return {}
        return {Path(name).stem: entry["size"] for name, entry in found.items() if name.endswith(".tar")}

    def remove(self, digest: str, idle_seconds: float) -> bool:
        """Delete an artifact that nothing refers to; False when it was put, or put again, in the last `idle_seconds`.

        Whoever puts the same files meanwhile finds the mark, and stores them anew.
        """
        place, mark = self._object(digest), f"{self._marks(digest)}/{secrets.token_hex(6)}"
        with self._named_errors():
            self._write(mark, lambda: self._files.pipe_file(mark, b""))
            try:
                # Both times are the object store's own.
                idle = self._files.modified(mark) - self._files.modified(place)
                if idle.total_seconds() < idle_seconds:
                    return False
                self._files.rm_file(place)
            except FileNotFoundError:
                return False
            finally:
                self._files.rm_file(mark)
        self._copies.remove(digest, idle_seconds)
        return True

    def drop_drafts(self, idle_seconds: float) -> None:
        """Remove what this host began to copy so long ago and never ended."""
        self._copies.drop_drafts(idle_seconds)

    def claim(self, owner: str) -> None:
        """Mark the place as one whose artifacts the rows of this store name."""
        mark = f"{self._root}/owners/{owner}"
        with self._named_errors():
            self._write(mark, lambda: self._files.pipe_file(mark, b""))

    def owners(self) -> set[str]:
        """Return the stores that have claimed the place."""
        with self._named_errors():
            try:
                return {Path(mark).name for mark in self._files.find(f"{self._root}/owners")}
            except FileNotFoundError:
                return set()

    def disown(self, owner: str) -> None:
        """Take a store's mark away."""
        with self._named_errors(), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(f"{self._root}/owners/{owner}")

    def _upload(self, packed: Path, digest: str) -> None:
        place = self._object(digest)
        self._write(place, lambda: self._files.put_file(str(packed), place))

    def _write(self, place: str, write: Callable[[], object]) -> None:
        """Make the folder first where there are folders: a bucket has none, and is not made by the way."""
        try:
            write()
        except FileNotFoundError:
            if not self._root.startswith("/"):
                raise
            self._files.makedirs(place.rpartition("/")[0], exist_ok=True)
            write()

    def _wait_for_removal(self, digest: str) -> None:
        deadline = time.monotonic() + REMOVAL_SECONDS
        while self._is_being_removed(digest) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)

    def _is_being_removed(self, digest: str) -> bool:
        try:
            put = self._files.modified(self._object(digest))
            marks = [self._files.modified(mark) for mark in self._files.find(self._marks(digest))]
        except FileNotFoundError:
            return False
        return any((put - marked).total_seconds() < REMOVAL_SECONDS for marked in marks)

    def _object(self, digest: str) -> str:
        return f"{self._root}/sha256/{digest[:2]}/{digest}.tar"

    def _marks(self, digest: str) -> str:
        return f"{self._root}/removing/{digest}"

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except CharterError:
            raise
        # Each kind of object store has exceptions of its own package.
        except Exception as error:
            raise Unavailable(f"cannot use '{told(self._url)}' now: {type(error).__name__}: {error}") from error


def _packed(folder: Path, scratch: Path) -> Path:
    """The folder's files in one, without times, owners and modes."""
    with tarfile.open(scratch / "packed.tar", "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(entry, file)
    return scratch / "packed.tar"
