"""Who calls, by the token that a call carries, for methods that keep or tell it."""

from __future__ import annotations

from contextvars import ContextVar

from services.security.scopes import SCOPES
from services.security.tokens import Caller

EVERYBODY = Caller("", SCOPES)
"""Whoever calls where calls carry no token."""
CALLER: ContextVar[Caller] = ContextVar("caller", default=EVERYBODY)
"""Set for the length of a call."""
