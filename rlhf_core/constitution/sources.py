"""Where constitutions are read from: files, and the built-in ones beside the package. Bytes in, text out."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import rlhf_core
from rlhf_core.constitution.validation.problems import InvalidConstitution, Problem

BUILTIN = ("household", "assistant", "everyday", "base-safety")
BUILTIN_PREFIX = "builtin:"
MAX_BYTES = 500_000


class Source(NamedTuple):
    """A text and where it came from; `folder` is where its relative paths start, None for a text that is no file."""

    name: str
    """As problems name it."""
    key: str
    """The same file has the same key, whatever path led to it."""
    folder: Path | None
    text: str
    hash: str
    """First 16 hex digits of the sha256 of the bytes."""


def open_source(path_or_builtin: str) -> Source:
    """Open a file, or a built-in constitution by name. Raises InvalidConstitution (C000) if it is unreadable."""
    if path_or_builtin in BUILTIN:
        return open_builtin(path_or_builtin, path_or_builtin)
    path = Path(path_or_builtin)
    raw = _read(path, path_or_builtin)
    return _source(path_or_builtin, os.path.realpath(path), path.parent, raw)


def open_builtin(name: str, source: str) -> Source:
    """Open the built-in constitution of this name; its file lies beside the rlhf_core package."""
    if name not in BUILTIN:
        raise InvalidConstitution([_unreadable(source, "no built-in constitution has this name")])
    raw = _read(Path(rlhf_core.__file__).parents[1] / "constitutions" / f"{name}.yaml", source)
    return _source(source, BUILTIN_PREFIX + name, None, raw)


def text_source(text: str, name: str) -> Source:
    """Return a text that is no file, such as one that came over the wire; it may extend only what is built in."""
    raw = text.encode("utf-8", "surrogatepass")
    check_size(len(text), name)
    return Source(name, name, None, text, _digest(raw))


def check_size(size: int, source: str) -> None:
    if size > MAX_BYTES:
        problem = Problem(source, 1, 1, "C000", f"the file is larger than {MAX_BYTES} bytes", "is it a constitution?")
        raise InvalidConstitution([problem])


def _read(path: Path, source: str) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise InvalidConstitution([_unreadable(source, "this is not a file")])
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InvalidConstitution([_unreadable(source, "there is no such file")]) from None
    except InvalidConstitution:
        raise
    except (OSError, ValueError) as error:
        reason = f"the file cannot be read: {getattr(error, 'strerror', None) or error}"
        raise InvalidConstitution([_unreadable(source, reason)]) from None
    check_size(len(raw), source)
    return raw


def _source(name: str, key: str, folder: Path | None, raw: bytes) -> Source:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].split(b"\n")
        column = len(before[-1].decode("utf-8", "replace")) + 1
        message = f"the byte 0x{raw[error.start]:02x} is not UTF-8"
        raise InvalidConstitution([Problem(name, len(before), column, "C000", message, "save as UTF-8")]) from None
    return Source(name, key, folder, text, _digest(raw))


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]


def _unreadable(source: str, message: str) -> Problem:
    hint = f"give the path of a YAML file, or one of the built-in {', '.join(BUILTIN)}"
    return Problem(source, 1, 1, "C000", message, hint)
