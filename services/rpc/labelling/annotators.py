"""Whose labels a call may touch, by the token that it carries."""

from __future__ import annotations

from collections.abc import Iterable

from charter.v1 import common_pb2

from rlhf_core.errors import Forbidden, InvalidInput
from services.security.callers import CALLER
from services.security.scopes import GRANTS, Scope
from services.wire.samples import prompt_from_message
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


def of_no_run(samples: Iterable[common_pb2.Sample], comparison: common_pb2.Comparison | None = None) -> None:
    """Take out of what a caller brings, a comparison or replies, what would put it into a run, unless the token trains.

    Raises InvalidInput for a prompt under the id of other words, which a run may come to store.
    """
    if _may("train"):
        return
    if comparison is not None:
        comparison.run_id = ""
    for sample in samples:
        sample.run_id = sample.stage = ""
        given, sample.prompt.id = sample.prompt.id, ""
        if given not in ("", own := prompt_from_message(sample.prompt).id):
            told = f"prompt.id: '{given[:200]}' is no id of these words; allowed: {own}, or none"
            raise InvalidInput(told, "prompt.id")


def _may(scope: Scope) -> bool:
    return any(scope in GRANTS[granted] for granted in CALLER.get().scopes)


def _own() -> str:
    return f"human:{CALLER.get().name}"
