"""What waits for somebody to label: asked without holding any of it."""

from __future__ import annotations

from charter.v1 import preference_pb2
from starlette.requests import Request

from rlhf_core.errors import Forbidden, NotFound
from services.console.backend import Backend


async def pairs_wait(backend: Backend, request: Request, labeler: str, run: str) -> bool:
    """Tell whether any pair of a run waits for a labeler, by any objective.

    Somebody who is not let in is told so at the desk: for them it is as if some did.
    """
    guidelines = preference_pb2.GetGuidelinesRequest(run_id=run)
    try:
        law = (await backend.ask(request, backend.preference.GetGuidelines, guidelines)).constitution
    except NotFound:  # the constitution is not stored, and so nobody can label by it
        return False
    for objective in law.objectives:
        asked = preference_pb2.NextComparisonRequest(labeler=labeler, objective=objective.name, run_id=run, count=1)
        try:
            if (await backend.ask(request, backend.preference.NextComparison, asked)).remaining:
                return True
        except Forbidden:
            return True
    return False
