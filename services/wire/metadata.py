"""The keys of a call's metadata."""

from __future__ import annotations

REQUEST_KEY, RUN_KEY = "x-request-id", "x-charter-run"
"""Metadata for the servers' logs: a caller's own name for a call, and the run that asks."""
SERVE_APPLICATION = ("application", "charter")
"""Metadata by which a Ray Serve with several applications knows whose a call is; other servers do not read it."""
