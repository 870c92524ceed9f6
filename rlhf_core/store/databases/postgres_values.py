"""Values on their way to PostgreSQL and back, so that a row comes back as SQLite would give it.

Truth values are 0 and 1, a number that is none is missing (and a column that must have one refuses it), and a text may
hold the character NUL, for which PostgreSQL has no place.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.adapt import Buffer, Dumper, Loader

MARK = "\ufdd0"
"""Unicode promises that it stands for nothing; so texts hold it only where one was made to."""
_NUL, _MARK = f"{MARK}0", f"{MARK}1"


def escaped(text: str) -> str:
    """Escape the NUL characters of a text; `plain` gives it back."""
    return text.replace(MARK, _MARK).replace("\0", _NUL) if MARK in text or "\0" in text else text


def plain(text: str) -> str:
    return text.replace(_NUL, "\0").replace(_MARK, MARK) if MARK in text else text


class _Text(Dumper):
    def dump(self, obj: str) -> bytes:
        return escaped(obj).encode()


class _Truth(Dumper):
    oid = psycopg.adapters.types["int8"].oid

    def dump(self, obj: bool) -> bytes:
        return b"1" if obj else b"0"

    quote = dump


class _Number(Dumper):
    oid = psycopg.adapters.types["float8"].oid

    def dump(self, obj: float) -> bytes | None:
        return None if obj != obj else repr(obj).encode()

    def quote(self, obj: float) -> bytes:
        if obj != obj:
            return b"NULL"
        told = repr(obj)
        return f"'{told}'::float8".encode() if "inf" in told else f" {told}".encode()


class _Reading(Loader):
    def load(self, data: Buffer) -> str:
        return plain(bytes(data).decode())


def adapt(session: psycopg.Connection[Any]) -> None:
    """Make the connection give and take values so."""
    for kind, dumper in ((str, _Text), (bool, _Truth), (float, _Number)):
        session.adapters.register_dumper(kind, dumper)
    for kind in ("text", "varchar"):
        session.adapters.register_loader(kind, _Reading)
