"""The folders that a request may name files of: what is outside of them is not even looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlhf_core.errors import InvalidInput
from rlhf_core.store.databases.place import FILE


def check_path(path: str, roots: Sequence[Path] | None, field: str) -> None:
    """Refuse a path that does not lie, with all its links followed, in one of the folders; None allows every path.

    The file of a data folder that says where its store is may hold a password, and is nobody's data. The answer is the
    same whether or not there is such a file, so that nobody learns what lies outside.
    """
    if roots is None:
        return
    try:
        real = Path(path).resolve()
        inside = real.name != FILE and any(real.is_relative_to(root.resolve()) for root in roots)
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside:
        raise InvalidInput(
            f"{field}: '{path}' is not in a folder that this server reads data from",
            field,
            hint="its folders are `roots` in the server's YAML",
        )
