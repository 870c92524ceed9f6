"""What a labeler did at a desk, step by step, and the call that stores each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from charter.v1 import assessment_pb2, preference_pb2
from pydantic import Field
from starlette.requests import Request

from rlhf_core.records.assessments import Form
from rlhf_core.records.base import Record
from services.console.backend import Backend
from services.wire import enums

DeskForm = Literal["pairs", "ratings", "rankings", "spans"]
FORMS: dict[DeskForm, Form] = {"ratings": "rating", "rankings": "ranking", "spans": "spans"}
"""Desks at which replies are assessed, as the services call them; at that of pairs they are compared."""
CHOICES = {
    "left": preference_pb2.CHOICE_A,
    "right": preference_pb2.CHOICE_B,
    "tie": preference_pb2.CHOICE_TIE,
    "both_bad": preference_pb2.CHOICE_BOTH_BAD,
    "skip": preference_pb2.CHOICE_SKIP,
}
MIRRORED = {"left": "right", "right": "left"}

Id = Annotated[str, Field(min_length=1, max_length=200)]


class _Done(Record):
    id: Id
    item: Id
    """The comparison, the sample, or for a ranking the prompt."""
    objective: Id


class Decision(_Done):
    """Which reply is better: `left` and `right` are what the person saw."""

    kind: Literal["pairs"]
    choice: Literal["left", "right", "tie", "both_bad", "skip"]
    swapped: bool
    note: str = ""


class _Assessed(_Done):
    note: str = ""
    run: str = ""
    """Whose constitution the person went by."""


class Rated(_Assessed):
    kind: Literal["ratings"]
    rating: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None
    """None skips."""


class Ranked(_Assessed):
    kind: Literal["rankings"]
    samples: tuple[Id, ...] = Field(max_length=10)
    """As they were seen."""
    ranks: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(max_length=10)
    """In their order; without any, and not all bad, it is skipped."""
    all_bad: bool = False


class Fault(Record):
    """A part of a reply, from a character to before another, and the principle that it breaks."""

    start: int = Field(ge=0, lt=2**31)
    end: int = Field(ge=0, lt=2**31)
    principle: Id


class Marked(_Assessed):
    kind: Literal["spans"]
    spans: tuple[Fault, ...] | None = Field(max_length=100)
    """None skips; an empty list says that there is no fault."""


class StepBack(_Done):
    """Takes back this person's latest answer on an item."""

    kind: Literal["undo"]
    form: DeskForm


Step = Annotated[Decision | Rated | Ranked | Marked | StepBack, Field(discriminator="kind")]


class Steps(Record):
    """What a labeler did, in order. Sent again, each step counts once."""

    labeler: str
    steps: tuple[Step, ...] = Field(max_length=100)


async def carry_out(backend: Backend, request: Request, labeler: str, step: Step) -> None:
    """Have the services store a step. Raises their error."""
    if isinstance(step, StepBack):
        await _take_back(backend, request, labeler, step)
    elif isinstance(step, Decision):
        submit = preference_pb2.SubmitPreferenceRequest(
            comparison_id=step.item,
            objective=step.objective,
            labeler=labeler,
            choice=CHOICES[MIRRORED.get(step.choice, step.choice) if step.swapped else step.choice],
            reason=step.note,
            request_id=step.id,
            swapped=step.swapped,
        )
        await backend.ask(request, backend.preference.SubmitPreference, submit)
    else:
        await backend.ask(request, backend.assessment.SubmitAssessment, _assessment(labeler, step))


async def _take_back(backend: Backend, request: Request, labeler: str, step: StepBack) -> None:
    about: dict[str, Any] = {"labeler": labeler, "objective": step.objective, "request_id": step.id}
    if step.form == "pairs":
        pair = preference_pb2.UndoPreferenceRequest(comparison_id=step.item, **about)
        await backend.ask(request, backend.preference.UndoPreference, pair)
    else:
        form = enums.number(enums.FORMS, FORMS[step.form])
        undo = assessment_pb2.UndoAssessmentRequest(form=form, item_id=step.item, **about)
        await backend.ask(request, backend.assessment.UndoAssessment, undo)


def _assessment(labeler: str, step: Rated | Ranked | Marked) -> assessment_pb2.SubmitAssessmentRequest:
    submit = assessment_pb2.SubmitAssessmentRequest(
        form=enums.number(enums.FORMS, FORMS[step.kind]),
        sample_ids=step.samples if isinstance(step, Ranked) else [step.item],
        objective=step.objective,
        labeler=labeler,
        reason=step.note,
        request_id=step.id,
        run_id=step.run,
    )
    if isinstance(step, Rated) and step.rating is not None:
        submit.rating = step.rating
    elif isinstance(step, Ranked) and step.ranks:
        submit.ranks.ranks.extend(step.ranks)
    elif isinstance(step, Ranked) and step.all_bad:
        submit.all_bad = True
    elif isinstance(step, Marked) and step.spans is not None:
        spans = [
            assessment_pb2.FaultSpan(start=span.start, end=span.end, principle_id=span.principle) for span in step.spans
        ]
        submit.faults.CopyFrom(assessment_pb2.FaultSpans(spans=spans))
    else:
        submit.skip = True
    return submit
