"""URLs of databases: which are ones, and how they are told without their passwords."""

from __future__ import annotations

import re

from rlhf_core.errors import InvalidInput

POSTGRES = ("postgresql", "postgres")
_USER, _PASSWORD = re.compile(r"//.*@"), re.compile(r"(\bpassword=)[^&\s]*")


def is_database(where: str) -> bool:
    """Tell whether a place is the URL of a database, and no folder. Raises InvalidInput for another URL."""
    if "://" in where and where.partition("://")[0] not in POSTGRES:
        raise InvalidInput(f"store: '{told(where)}' is no database; allowed: postgresql://HOST/DATABASE", "store")
    return "://" in where


def told(url: str) -> str:
    """Return the URL without user and password."""
    return _PASSWORD.sub(r"\1...", _USER.sub("//", url, count=1))
