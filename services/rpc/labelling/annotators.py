"""Whose labels a call may touch, by the token that it carries."""

from __future__ import annotations

from rlhf_core.errors import Forbidden
from services.security.callers import CALLER
from services.security.scopes import GRANTS, Scope
from services.wire.stored_records import human_labeler


def own_labeler(given: str) -> str:
    """Return the labeler that a request names. Raises Forbidden for another than the owner of a mere label token.

    To be asked on the call's own task: threads do not know who calls.
    """
    labeler = human_labeler(given)
    if not _may("read") and labeler != _own():
        raise Forbidden(
            f"labeler: '{labeler.removeprefix('human:')}' is not the owner of this token; it labels as "
            f"{_own().removeprefix('human:')} alone",
            "labeler",
        )
    return labeler


def visible_labeler(given: str) -> str:
    """Return the labeler that a request asks about; whoever calls where it names nobody.

    Raises Forbidden for another than the caller, unless the token reviews."""
    name, _ = CALLER.get()
    labeler = human_labeler(given or name)
    if not _may("review") and labeler != _own():
        raise Forbidden(
            f"labeler: a token that does not review asks about its owner alone, {name}",
            "labeler",
            hint="ask whoever runs the server for a token with the scope review",
        )
    return labeler


def _may(scope: Scope) -> bool:
    return any(scope in GRANTS[granted] for granted in CALLER.get().scopes)


def _own() -> str:
    return f"human:{CALLER.get().name}"
