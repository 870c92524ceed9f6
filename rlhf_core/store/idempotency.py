"""Requests that may come twice: what was answered first, kept for good, so that a repeat finds it after a restart."""

from __future__ import annotations

from collections.abc import Callable

from rlhf_core.errors import InvalidInput, RequestReused
from rlhf_core.store.connection import Connections
from rlhf_core.store.row_mapping import insert, now

MAX_ID = 200
"""Characters of a request id."""


class Requests:
    """Answers by method and request id."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def answered(self, method: str, request_id: str, body: str) -> str | None:
        """Return the first answer to this request; None where it is new, or without an id.

        Raises:
            RequestReused: the id came before with another body.
        """
        if len(request_id) > MAX_ID:
            raise InvalidInput(f"request_id: {len(request_id)} characters; allowed: at most {MAX_ID}", "request_id")
        sql = "SELECT body, answer FROM requests WHERE method = ? AND id = ?"
        rows = self._connections.rows(sql, [method, request_id]) if request_id else []
        if rows and rows[0]["body"] != body:
            raise RequestReused(f"request '{request_id}' was used for another {method}", hint="take a new request_id")
        return rows[0]["answer"] if rows else None

    def once(self, method: str, request_id: str, body: str, work: Callable[[], str]) -> str:
        """Return the answer of `work`, or of its first time; work and answer are one commit.

        Raises:
            RequestReused: the id came before with another body.
        """
        with self._connections.write(durable=True) as connection:
            if request_id:
                self._connections.lock("request", method, request_id)
            known = self.answered(method, request_id, body)
            if known is not None:
                return known
            answer = work()
            if request_id:
                row = {"method": method, "id": request_id, "body": body, "answer": answer, "created_at": now()}
                insert(connection, "requests", [row], key="method, id")
            return answer
