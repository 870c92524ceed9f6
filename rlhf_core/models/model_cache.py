"""Where what is made of models is kept for all processes of this user, and the digests that address it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

CHUNK = 2**20
SMALL = 2**20
"""Bytes; the digest of a smaller file is computed whenever it is asked for."""
_digests: dict[str, str] = {}


def cache_folder() -> Path:
    """Return `CHARTER_HOME`, or `charter` in the user's cache folder."""
    if home := os.environ.get("CHARTER_HOME"):
        return Path(home)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "charter"


def file_digest(file: Path) -> str:
    """Return the file's SHA-256; that of a large file is computed once, as long as its size and time stay."""
    stat = file.stat()
    if stat.st_size < SMALL:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    key = f"{file.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
    if key not in _digests:
        kept = cache_folder() / "digests" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
        _digests[key] = _read(kept, key) or _compute(file, kept, key)
    return _digests[key]


def _read(kept: Path, key: str) -> str | None:
    try:
        found = json.loads(kept.read_text())
        return found["sha256"] if found["file"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _compute(file: Path, kept: Path, key: str) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=kept.parent, delete=False) as draft:
            json.dump({"file": key, "sha256": digest.hexdigest()}, draft)
        os.replace(draft.name, kept)
    except OSError:
        pass  # a folder that cannot be written costs time, and nothing else
    return digest.hexdigest()
