"""What is measured of people's labels, and what reviewers decide, as records and as messages."""

from __future__ import annotations

from typing import Any

from charter.v1 import annotation_pb2

from rlhf_core.annotation.disagreements import Disagreement
from rlhf_core.annotation.records import AnnotatorQuality, JudgeAgreement, ObjectiveQuality, Window
from rlhf_core.evaluation.statistics import Estimate
from rlhf_core.records.annotation import Adjudication, Agreement, Answer
from rlhf_core.records.samples import Comparison
from services.wire import enums
from services.wire.samples import comparison_to_message


def quality_to_message(quality: ObjectiveQuality) -> annotation_pb2.ObjectiveQuality:
    return annotation_pb2.ObjectiveQuality(
        objective=quality.objective,
        items=quality.items,
        answers=quality.answers,
        ordinal=agreement_to_message(quality.ordinal),
        nominal=agreement_to_message(quality.nominal),
        trend=map(_window, quality.trend),
        annotators=map(_annotator, quality.annotators),
        judges=map(_judge, quality.judges),
        gold=quality.gold,
    )


def quality_from_message(message: annotation_pb2.ObjectiveQuality) -> ObjectiveQuality:
    return ObjectiveQuality(
        objective=message.objective,
        items=message.items,
        answers=message.answers,
        ordinal=agreement_from_message(message.ordinal),
        nominal=agreement_from_message(message.nominal),
        trend=tuple(
            Window(
                begin=enums.time_text(window.begin_time),
                end=enums.time_text(window.end_time),
                agreement=agreement_from_message(window.alpha),
            )
            for window in message.trend
        ),
        annotators=tuple(map(_annotator_from, message.annotators)),
        judges=tuple(
            JudgeAgreement(
                **_shares_from(judge, "agreement", "all_pairs"), judge=judge.judge, abstained=judge.abstained
            )
            for judge in message.judges
        ),
        gold=message.gold,
    )


def adjudication_to_message(decided: Adjudication) -> annotation_pb2.Adjudication:
    return annotation_pb2.Adjudication(
        **decided.model_dump(exclude={"number", "choice", "created_at"}),
        choice=enums.number(enums.CHOICES, decided.choice),
        create_time=enums.timestamp(decided.created_at),
    )


def adjudication_from_message(message: annotation_pb2.Adjudication) -> Adjudication:
    """Read a decision; its number is the store's business and stays behind."""
    return Adjudication(
        comparison_id=message.comparison_id,
        objective=message.objective,
        choice=enums.given(enums.CHOICES, message.choice, "choice"),
        reason=message.reason,
        adjudicated_by=message.adjudicated_by,
        created_at=enums.time_text(message.create_time),
    )


def answer_to_message(answer: Answer) -> annotation_pb2.HumanAnswer:
    return annotation_pb2.HumanAnswer(
        **answer.model_dump(exclude={"choice", "given_at", "revision"}),
        choice=enums.number(enums.CHOICES, answer.choice),
        create_time=enums.timestamp(answer.given_at),
    )


def answer_from_message(message: annotation_pb2.HumanAnswer) -> Answer:
    plain = {name: value for name, value in enums.fields(message).items() if name != "create_time"}
    return Answer(
        **plain
        | {
            "choice": enums.given(enums.CHOICES, message.choice, "choice"),
            "swapped": message.swapped if message.HasField("swapped") else None,
            "given_at": enums.time_text(message.create_time),
        }
    )


def disagreement_to_message(found: Disagreement, pair: Comparison) -> annotation_pb2.Disagreement:
    return annotation_pb2.Disagreement(
        comparison=comparison_to_message(pair),
        kind=enums.number(enums.DISAGREEMENTS, found.kind),
        probability=found.probability,
        answers=map(answer_to_message, found.answers),
        judges=found.judges,
        adjudication=adjudication_to_message(found.adjudication) if found.adjudication else None,
    )


def agreement_to_message(found: Agreement) -> annotation_pb2.Alpha:
    return annotation_pb2.Alpha(**found.model_dump(exclude_none=True))


def agreement_from_message(message: annotation_pb2.Alpha) -> Agreement:
    known: dict[str, Any] = enums.fields(message)
    unknown = [name for name in ("value", "low", "high") if not message.HasField(name)]
    return Agreement.model_validate(known | dict.fromkeys(unknown))


def _window(window: Window) -> annotation_pb2.AlphaWindow:
    return annotation_pb2.AlphaWindow(
        begin_time=enums.timestamp(window.begin),
        end_time=enums.timestamp(window.end),
        alpha=agreement_to_message(window.agreement),
    )


def _annotator(person: AnnotatorQuality) -> annotation_pb2.AnnotatorQuality:
    return annotation_pb2.AnnotatorQuality(
        **person.model_dump(exclude={"standing", "flag", "gold", "repeats", "left"}, exclude_none=True),
        standing=enums.number(enums.STANDINGS, person.standing),
        flag=enums.number(enums.FLAGS, person.flag),
        gold=_share(person.gold),
        repeats=_share(person.repeats),
        left=_share(person.left),
    )


def _annotator_from(message: annotation_pb2.AnnotatorQuality) -> AnnotatorQuality:
    return AnnotatorQuality(
        labeler=message.labeler,
        standing=enums.given(enums.STANDINGS, message.standing, "standing"),
        answers=message.answers,
        skips=message.skips,
        skill=message.skill if message.HasField("skill") else None,
        **_shares_from(message, "gold", "repeats", "left"),
        seconds=message.seconds if message.HasField("seconds") else None,
        flag=enums.value(enums.FLAGS, message.flag, "flag"),
        flagged_after=message.flagged_after,
    )


def _judge(judge: JudgeAgreement) -> annotation_pb2.JudgeAgreement:
    return annotation_pb2.JudgeAgreement(
        judge=judge.judge,
        agreement=_share(judge.agreement),
        all_pairs=_share(judge.all_pairs),
        abstained=judge.abstained,
    )


def _share(estimate: Estimate | None) -> annotation_pb2.MeasuredShare | None:
    return annotation_pb2.MeasuredShare(**estimate.model_dump(exclude={"baseline"})) if estimate else None


def _shares_from(message: Any, *names: str) -> dict[str, Estimate | None]:
    return {
        name: Estimate(**enums.fields(getattr(message, name))) if message.HasField(name) else None for name in names
    }
