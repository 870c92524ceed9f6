"""Who calls: the name of the token that a call carries, for methods that keep it."""

from __future__ import annotations

from contextvars import ContextVar

CALLER: ContextVar[str] = ContextVar("caller", default="")
"""Set for the length of a call; empty where calls carry no token."""
