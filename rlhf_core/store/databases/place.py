"""Where a store is: in its folder, or in a database and an object store that `store.json` of the folder names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from rlhf_core.errors import CharterError, Conflict, InvalidInput, Unavailable
from rlhf_core.records.base import Record
from rlhf_core.store.databases.sqlite import SqliteConnections
from rlhf_core.store.databases.urls import is_database, told

if TYPE_CHECKING:
    from rlhf_core.store.connection import Connections

FILE, DATABASE, LOCK, ARTIFACTS = "store.json", "charter.db", "store.lock", "artifacts"


class Place(Record):
    """The two parts of a store; each is in the folder itself where its URL is empty."""

    database: str = ""
    """postgresql://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE"""
    artifacts: str = ""
    """What fsspec knows, such as s3://BUCKET/PATH."""


HERE = Place()


def holds_store(folder: Path) -> bool:
    """Tell whether a store was made in the folder, or one elsewhere is used from it."""
    return (folder / DATABASE).is_file() or (folder / FILE).is_file()


def place_of(folder: Path) -> Place:
    """Read the place that the folder names. Raises InvalidInput for a file that is none of ours."""
    try:
        return Place.model_validate_json((folder / FILE).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return Place()
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        allowed = '{"database": "postgresql://...", "artifacts": "s3://..."}'
        # Not the whole of a validation's error, which repeats what is written, and that may hold a password.
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise InvalidInput(f"'{folder / FILE}' cannot be read: {reason}; allowed: {allowed}", "store") from None


def settle(folder: Path, asked: Place) -> Place:
    """Settle where the folder's store is to be; only a folder without a store can be given another place.

    Nothing is written.

    Raises:
        Conflict: the folder's store is elsewhere.
    """
    known = place_of(folder)
    if asked == HERE:
        return known
    for name, mine, other in (
        ("database", known.database, asked.database),
        ("artifacts", known.artifacts, asked.artifacts),
    ):
        if other and told(mine) != told(other) and holds_store(folder):
            raise Conflict(
                f"the {name} of '{folder}' are in {told(mine) or 'the folder itself'}, not in {told(other)}",
                hint="name another data folder, or copy the store there: charter store copy",
            )
    place = Place(database=asked.database or known.database, artifacts=asked.artifacts or known.artifacts)
    check(place)
    return place


def check(place: Place) -> None:
    """Refuse, by an InvalidInput, a URL of what is no database."""
    if place.database and not is_database(place.database):
        raise InvalidInput(f"store: '{told(place.database)}' is no URL; allowed: postgresql://HOST/DATABASE", "store")
    if place.artifacts and not _is_place_of_files(place.artifacts):
        allowed = "a URL with a bucket, such as s3://BUCKET/PATH, or file:///FOLDER with a whole path"
        raise InvalidInput(f"artifacts: '{told(place.artifacts)}' is no URL; allowed: {allowed}", "artifacts")


def _is_place_of_files(url: str) -> bool:
    """What has no `://` fsspec takes for a path on this host, which nobody else would find."""
    scheme, found, rest = url.partition("://")
    if scheme in ("file", "local"):
        return rest.startswith("/")
    return bool(scheme and found and rest.strip("/"))


def use(folder: Path, place: Place) -> None:
    """Write down where the folder's store is; only its owner may read it, since a URL may hold a password."""
    draft = folder / f".{FILE}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(place.model_dump_json(indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, folder / FILE)
    except OSError as error:
        raise Unavailable(f"cannot write '{folder / FILE}': {error.strerror}") from error


def connect(folder: Path, database: str) -> Connections:
    """Connect to the database of a URL, or to that of the folder where it is empty; the folder is made.

    Raises:
        InvalidInput: the URL is of no database that Charter knows, or its package is not installed.
        Unavailable: the database cannot be reached, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return connect_to(database) if database else SqliteConnections(folder / DATABASE, folder / LOCK)
    except CharterError:
        raise
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInput(f"store '{folder}' is a file; allowed: a folder, or a name for a new one") from error
    except OSError as error:
        raise Unavailable(f"cannot open the store '{folder}': {error.strerror or error}") from error


def connect_to(database: str) -> Connections:
    """Connect as `connect` does, to a URL alone."""
    check(Place(database=database))
    try:  # its packages are optional
        from rlhf_core.store.databases.postgres import PostgresConnections
    except ImportError as error:
        hint = "pip install -e '.[postgres]' in the project's folder"
        raise InvalidInput(f"store: needs packages: {error}", "store", hint=hint) from None
    return PostgresConnections(database)
