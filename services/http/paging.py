"""OpenAI's lists: after the id of the last one, so many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.datastructures import QueryParams

from rlhf_core.errors import InvalidInput

LIMIT, MAX_LIMIT = 20, 10_000
"""How many are told where nobody says, and at most."""


def listed(objects: Sequence[dict[str, Any]], query: QueryParams) -> dict[str, Any]:
    """Return the part of the objects that a query asks for. Raises InvalidInput for an `after` that is none of them."""
    order, after = query.get("order", "desc"), query.get("after")
    if order not in ("asc", "desc"):
        raise InvalidInput(f"order: '{order[:100]}' is not allowed; allowed: asc, desc", "order")
    ordered = list(objects) if order == "desc" else list(objects)[::-1]
    if after:
        places = [place for place, one in enumerate(ordered) if one["id"] == after]
        if not places:
            raise InvalidInput(f"after: '{after[:100]}' is not in this list", "after")
        ordered = ordered[places[0] + 1 :]
    part = ordered[: limit_of(query)]
    ends = {"first_id": part[0]["id"], "last_id": part[-1]["id"]} if part else {"first_id": None, "last_id": None}
    return {"object": "list", "data": part, "has_more": len(part) < len(ordered), **ends}


def limit_of(query: QueryParams) -> int:
    """Return how many a query asks for. Raises InvalidInput."""
    text = query.get("limit", str(LIMIT))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= MAX_LIMIT):
        raise InvalidInput(f"limit: '{text[:100]}' is not allowed; allowed: 1 to {MAX_LIMIT}", "limit")
    return int(text)
