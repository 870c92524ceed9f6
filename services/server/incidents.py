"""A mistake of ours, in the log under an id that its caller is told."""

from __future__ import annotations

import logging
import secrets
import traceback

log = logging.getLogger("charter.server")


def incident_of(error: BaseException) -> str:
    """Log where an error of ours was raised; returns the id of the entry."""
    incident = secrets.token_hex(4)
    # The error's own words may quote a prompt: they are for DEBUG only.
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("internal error %s: %s\n%s", incident, type(error).__name__, frames)
    log.debug("internal error %s", incident, exc_info=error)
    return incident


def told(incident: str) -> str:
    """Write what a caller is told of an incident."""
    return f"internal error {incident}; the server's log has the details under this id"
