"""Who a store is, among those that keep their artifacts in one place."""

from __future__ import annotations

import secrets

from rlhf_core.store.connection import Connections

_KNOWN = "SELECT id FROM store_identity"


def identity_of(connections: Connections) -> str:
    """Return the name that the store's rows have kept since it was first asked for; a copy of the rows has its own."""
    known = connections.rows(_KNOWN)
    if not known:
        with connections.write(durable=True) as connection:
            mine = {"id": secrets.token_hex(8)}
            connection.execute("INSERT INTO store_identity (one, id) VALUES (1, :id) ON CONFLICT DO NOTHING", mine)
            known = connections.rows(_KNOWN)
    return known[0]["id"]
