"""Pages of lists: a token holds the place where the next page begins, and the query that it belongs to.

Keyset paging: a token names the last entry that was sent, so entries that come or go meanwhile shift nothing.
Its digest tells the tokens of other queries, and damaged ones, from its own. It is no secret and need not be one: who
makes up a token gets entries of the same list from another place, which everybody who may list them gets without it.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, NamedTuple

from google.protobuf.message import Message

from rlhf_core.errors import InvalidInput

MAX_PAGE = 1000
SHAPE = ("page_size", "page_token", "read_mask")
"""What may change from page to page; all the rest of a request is the query."""
LAST_PLACE = 2**63 - 1
"""The store's rows have no higher number."""
CHECK = 12
"""Bytes that tell a token of this query from any other text."""


class Page(NamedTuple):
    """What a request asks for: so many entries after that place; 0 is the beginning."""

    size: int
    after: int
    query: bytes

    def token(self, place: int) -> str:
        """Return the token of the page after `place`; empty for 0, the end."""
        return urlsafe_b64encode(_check(self.query, place) + str(place).encode()).decode() if place else ""


def page_of(request: Any, default: int) -> Page:
    """Read a list request. Raises InvalidInput for a negative size, and a token of other filters or none of ours."""
    size, token = request.page_size, request.page_token
    if size < 0:
        raise InvalidInput(f"page_size: {size}; allowed: 0 to {MAX_PAGE}", "page_size")
    query = body_of(request, *SHAPE)
    return Page(min(size or default, MAX_PAGE), _place(token, query) if token else 0, query)


def body_of(request: Message, *less: str) -> bytes:
    """Hash a request's kind and content, less some fields: the same for the same request sent again."""
    kept = type(request)()
    kept.CopyFrom(request)
    for name in less:
        kept.ClearField(name)
    content = kept.SerializeToString(deterministic=True)
    return hashlib.sha256(f"{request.DESCRIPTOR.full_name}\n".encode() + content).digest()


def _check(query: bytes, place: int) -> bytes:
    return hashlib.sha256(query + str(place).encode()).digest()[:CHECK]


def _place(token: str, query: bytes) -> int:
    try:
        raw = urlsafe_b64decode(token.encode("ascii"))
        place = int(raw[CHECK:].decode("ascii"))
    except ValueError:
        place, raw = 0, b""
    if not 0 < place <= LAST_PLACE or raw != _check(query, place) + str(place).encode():
        raise InvalidInput(
            "page_token: not one that this list returned for these filters",
            "page_token",
            hint="repeat the filters of the first page, or begin again without a token",
        )
    return place
