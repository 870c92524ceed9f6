"""Bearer tokens: a file of their hashes, which is read again when it changes, and the comparison in constant time.

A token is 32 random bytes, so that one round of SHA-256 keeps it as safe as many would keep a password.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from ruamel.yaml import YAML

from rlhf_core.constitution.parsing.tree import read_tree
from rlhf_core.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from services.security.scopes import Scope

log = logging.getLogger("charter.tokens")

PREFIX = "charter_"
HEADER = (
    "# Who may call this server. Only hashes are kept: a token is shown once, by `charter token new`.\n"
    "# An entry that is removed, or a day in `expires` that is over, shuts its token out at once, without a restart.\n"
)


class TokenEntry(BaseModel):
    """What the file keeps of one token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    created: date
    expires: date | None = None


class Caller(NamedTuple):
    """Who calls, and what that token may do."""

    name: str
    scopes: tuple[Scope, ...]


class Tokens:
    """The tokens that a server takes: those of a file, and some that live as long as the process."""

    def __init__(self, file: Path | None = None):
        """Raises InvalidInput when the file is missing, unreadable or wrong."""
        self._file = file
        self._own: list[TokenEntry] = []
        self._seen = _state(file) if file else None
        self._listed = read_tokens(file) if file else []

    def __bool__(self) -> bool:
        return bool(self._file or self._own)

    def add(self, token: str, name: str, scopes: Sequence[Scope]) -> None:
        """Take this token too, until the process ends."""
        self._own.append(_entry(token, name, scopes, None))

    def caller(self, authorization: str | bytes) -> Caller:
        """Tell who sent this header. Raises Unauthenticated when the token is missing, unknown or expired."""
        given = authorization if isinstance(authorization, bytes) else authorization.encode()
        scheme, _, token = given.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            raise Unauthenticated(
                "token: a bearer token is needed", "token", hint="send it as metadata: authorization: Bearer TOKEN"
            )
        digest = hashlib.sha256(token.strip()).hexdigest()
        self._refresh()
        # All of them are compared, so that the time tells nothing about which one came close.
        found = [entry for entry in (*self._own, *self._listed) if hmac.compare_digest(entry.sha256, digest)]
        if not found:
            raise Unauthenticated("token: this server does not know the token", "token")
        if found[0].expires is not None and found[0].expires < datetime.now(UTC).date():
            raise Unauthenticated(f"token: '{found[0].name}' expired on {found[0].expires}", "token")
        return Caller(found[0].name, found[0].scopes)

    def _refresh(self) -> None:
        """Read a changed file again; one that has become wrong leaves the tokens as they were."""
        if self._file is None or (state := _state(self._file)) == self._seen:
            return
        self._seen = state
        try:
            self._listed = read_tokens(self._file)
        except InvalidInput as error:
            log.error("the tokens stay as they were: %s", error)


def for_server(file: Path | None, shared: str) -> tuple[Tokens, str]:
    """Return the tokens that calls may carry, and one of the process's own; empty where none is asked for."""
    tokens = Tokens(file)
    if shared:
        tokens.add(shared, "CHARTER_TOKEN", ("admin",))
    if not tokens:
        return tokens, ""
    own = secrets.token_urlsafe(32)
    tokens.add(own, "worker", ("admin",))
    return tokens, own


def read_tokens(file: Path) -> list[TokenEntry]:
    """Read the entries of a tokens file. Raises InvalidInput naming what is wrong."""
    try:
        tree = read_tree(file.read_text(encoding="utf-8"), str(file))
        if tree.problems:
            raise InvalidInput(f"tokens: '{file}' cannot be read: {tree.problems[0]}", "tokens")
        entries = TypeAdapter(list[TokenEntry]).validate_python(tree.data or [])
    except FileNotFoundError:
        raise InvalidInput(
            f"tokens: there is no file '{file}'; make one with: charter token new NAME --scope admin --file {file}",
            "tokens",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"tokens: '{file}' cannot be read: {error}", "tokens") from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise InvalidInput(f"tokens: '{file}' entry {place}: {fault['msg']}", "tokens") from None
    names = [entry.name for entry in entries]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise InvalidInput(f"tokens: '{file}' has the name '{min(repeated)}' twice", "tokens")
    return entries


def new_token(file: Path, name: str, scopes: Sequence[Scope], expires: date | None = None) -> str:
    """Make a new token whose hash is added to the file. Raises Conflict for a name that is there."""
    token = PREFIX + secrets.token_urlsafe(32)
    with _alone(file):
        entries = read_tokens(file) if file.exists() else []
        if name in (entry.name for entry in entries):
            raise Conflict(
                f"'{file}' has a token '{name}' already", hint=f"take it away first: charter token revoke {name}"
            )
        _write(file, [*entries, _entry(token, name, scopes, expires)])
    return token


def revoke_token(file: Path, name: str) -> None:
    """Take a token's entry out of the file. Raises NotFound."""
    with _alone(file):
        entries = read_tokens(file)
        if name not in (entry.name for entry in entries):
            raise NotFound(f"'{file}' has no token '{name}'")
        _write(file, [entry for entry in entries if entry.name != name])


def _entry(token: str, name: str, scopes: Sequence[Scope], expires: date | None) -> TokenEntry:
    digest = hashlib.sha256(token.encode()).hexdigest()
    try:
        return TokenEntry(
            name=name, scopes=tuple(scopes), sha256=digest, created=datetime.now(UTC).date(), expires=expires
        )
    except ValidationError:
        raise InvalidInput(
            f"name: '{name}' is not allowed; allowed: letters, digits and . _ @ -, up to 64 of them", "name"
        ) from None


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Change the file while nobody else does: what another has just revoked must not come back with an older list.

    By its folder, which stays, as the file itself is another one after each change.
    """
    try:
        folder = os.open(file.parent, os.O_RDONLY)
    except OSError as error:
        raise InvalidInput(f"file: '{file}' cannot be written: {error.strerror}", "file") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(file: Path, entries: Sequence[TokenEntry]) -> None:
    """The whole file at once, for its owner's eyes only, so that no reader sees a half of it."""
    passing = file.with_name(f"{file.name}.{os.getpid()}.new")
    listed = [entry.model_dump(exclude_none=True) | {"scopes": list(entry.scopes)} for entry in entries]
    try:
        with os.fdopen(os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as text:
            text.write(HEADER)
            YAML(typ="safe").dump(listed, text)
        os.replace(passing, file)
    except OSError as error:
        passing.unlink(missing_ok=True)
        raise InvalidInput(f"file: '{file}' cannot be written: {error.strerror}", "file") from None


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
