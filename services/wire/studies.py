"""Preference studies as records and as messages."""

from __future__ import annotations

from charter.v1 import study_pb2

from rlhf_core.records.studies import (
    Duel,
    Interval,
    PolicyRatings,
    Preferred,
    QuestionProgress,
    QuestionResult,
    RatingDifference,
    RatingProgress,
    RatingResult,
    Stopping,
    Strength,
    Study,
    StudyPlan,
    StudyResults,
    StudyState,
)
from services.wire import enums, resource_names
from services.wire.annotation import agreement_from_message, agreement_to_message

STOPPING: enums.Enum[Stopping] = enums.Enum(study_pb2.StoppingRule.DESCRIPTOR, ("sequential", "sequential", "fixed"))
PREFERRED: enums.Enum[Preferred | None] = enums.Enum(
    study_pb2.PreferredPolicy.DESCRIPTOR, (None, "first", "second", "neither")
)
STATES: enums.Enum[StudyState | None] = enums.Enum(
    study_pb2.StudyState.DESCRIPTOR, (None, "drawing", "open", "closed", "failed")
)


def study_to_message(study: Study) -> study_pb2.Study:
    return study_pb2.Study(
        **study.model_dump(exclude={"plan", "state", "questions", "rating_questions", "created_at"}),
        name=resource_names.resource(resource_names.STUDIES, study.id),
        plan=plan_to_message(study.plan),
        state=enums.number(STATES, study.state),
        questions=[_question_to_message(one) for one in study.questions],
        rating_questions=[_rating_question_to_message(one) for one in study.rating_questions],
        create_time=enums.timestamp(study.created_at),
    )


def study_from_message(message: study_pb2.Study) -> Study:
    return Study(
        id=message.id,
        display_name=message.display_name,
        plan=plan_from_message(message.plan),
        state=enums.given(STATES, message.state, "state"),
        questions=tuple(_question_from_message(one) for one in message.questions),
        rating_questions=tuple(_rating_question_from_message(one) for one in message.rating_questions),
        prompts=message.prompts,
        seed=message.seed,
        constitution_hash=message.constitution_hash,
        error=message.error,
        created_at=enums.time_text(message.create_time),
    )


def _question_to_message(question: QuestionProgress) -> study_pb2.StudyQuestion:
    flat = question.model_dump(exclude={"closed_at"})
    return study_pb2.StudyQuestion(**flat, close_time=enums.timestamp(question.closed_at))


def _question_from_message(message: study_pb2.StudyQuestion) -> QuestionProgress:
    return QuestionProgress(
        objective=message.objective,
        pairs=message.pairs,
        done=message.done,
        closed_because=message.closed_because,
        closed_at=enums.time_text(message.close_time),
    )


def _rating_question_to_message(question: RatingProgress) -> study_pb2.StudyRatingQuestion:
    flat = question.model_dump(exclude={"closed_at"})
    return study_pb2.StudyRatingQuestion(**flat, close_time=enums.timestamp(question.closed_at))


def _rating_question_from_message(message: study_pb2.StudyRatingQuestion) -> RatingProgress:
    return RatingProgress(
        objective=message.objective,
        replies=message.replies,
        done=message.done,
        closed_because=message.closed_because,
        closed_at=enums.time_text(message.close_time),
    )


def plan_to_message(plan: StudyPlan) -> study_pb2.StudyPlan:
    return study_pb2.StudyPlan(**plan.model_dump(exclude={"stopping"}), stopping=enums.number(STOPPING, plan.stopping))


def plan_from_message(message: study_pb2.StudyPlan) -> StudyPlan:
    """Read a plan; numbers not given are the plan's defaults. Raises ValidationError for what is not allowed."""
    flat = enums.fields(message)
    lists = {"policies": tuple(message.policies), "objectives": tuple(message.objectives)}
    numbers = {name: flat[name] for name in ("pairs", "labels_per_pair", "alpha", "ratings_per_reply") if flat[name]}
    stopping = enums.value(STOPPING, message.stopping, "plan.stopping")
    return StudyPlan(**lists, **numbers, stopping=stopping, temperature=message.temperature)


def results_to_message(results: StudyResults, study: Study) -> study_pb2.GetStudyResultsResponse:
    return study_pb2.GetStudyResultsResponse(
        study=study_to_message(study),
        results=[_result_to_message(one) for one in results.questions],
        identical=results.identical,
        ratings=[_rating_to_message(one) for one in results.ratings],
    )


def results_from_message(message: study_pb2.GetStudyResultsResponse) -> StudyResults:
    return StudyResults(
        study_id=message.study.id,
        plan=plan_from_message(message.study.plan),
        identical=message.identical,
        questions=tuple(_result_from_message(one) for one in message.results),
        ratings=tuple(_rating_from_message(one) for one in message.ratings),
    )


def _result_to_message(result: QuestionResult) -> study_pb2.StudyResult:
    flat = result.model_dump(exclude={"duels", "strengths", "length"})
    return study_pb2.StudyResult(
        **flat,
        duels=[_duel_to_message(duel) for duel in result.duels],
        strengths=[
            study_pb2.StudyStrength(policy=one.policy, log_odds=_interval_to_message(one.log_odds))
            for one in result.strengths
        ],
        length=_interval_to_message(result.length) if result.length else None,
    )


def _result_from_message(message: study_pb2.StudyResult) -> QuestionResult:
    return QuestionResult(
        **enums.fields(message)
        | {
            "duels": tuple(_duel_from_message(duel) for duel in message.duels),
            "strengths": tuple(
                Strength(policy=one.policy, log_odds=_interval_from_message(one.log_odds)) for one in message.strengths
            ),
            "length": _interval_from_message(message.length) if message.HasField("length") else None,
        }
    )


def _duel_to_message(duel: Duel) -> study_pb2.StudyDuel:
    return study_pb2.StudyDuel(
        **duel.model_dump(exclude={"win_rate", "preferred"}),
        win_rate=_interval_to_message(duel.win_rate),
        preferred=enums.number(PREFERRED, duel.preferred),
    )


def _duel_from_message(message: study_pb2.StudyDuel) -> Duel:
    preferred = enums.given(PREFERRED, message.preferred, "preferred")
    return Duel(
        **enums.fields(message) | {"win_rate": _interval_from_message(message.win_rate), "preferred": preferred}
    )


def _rating_to_message(result: RatingResult) -> study_pb2.StudyRatingResult:
    flat = result.model_dump(exclude={"policies", "differences", "agreement"})
    return study_pb2.StudyRatingResult(
        **flat,
        policies=[
            study_pb2.StudyPolicyRatings(
                policy=one.policy,
                replies=one.replies,
                mean=_interval_to_message(one.mean) if one.mean else None,
                grades=one.grades,
            )
            for one in result.policies
        ],
        differences=[_difference_to_message(one) for one in result.differences],
        agreement=agreement_to_message(result.agreement) if result.agreement else None,
    )


def _rating_from_message(message: study_pb2.StudyRatingResult) -> RatingResult:
    figures = {
        "policies": tuple(
            PolicyRatings(
                policy=one.policy,
                replies=one.replies,
                mean=_interval_from_message(one.mean) if one.HasField("mean") else None,
                grades=tuple(one.grades),
            )
            for one in message.policies
        ),
        "differences": tuple(_difference_from_message(one) for one in message.differences),
        "agreement": agreement_from_message(message.agreement) if message.HasField("agreement") else None,
    }
    return RatingResult(**enums.fields(message) | figures)


def _difference_to_message(found: RatingDifference) -> study_pb2.StudyRatingDifference:
    return study_pb2.StudyRatingDifference(
        **found.model_dump(exclude={"difference", "higher"}),
        difference=_interval_to_message(found.difference) if found.difference else None,
        higher=enums.number(PREFERRED, found.higher),
    )


def _difference_from_message(message: study_pb2.StudyRatingDifference) -> RatingDifference:
    higher = enums.given(PREFERRED, message.higher, "higher")
    difference = _interval_from_message(message.difference) if message.HasField("difference") else None
    return RatingDifference(**enums.fields(message) | {"difference": difference, "higher": higher})


def _interval_to_message(interval: Interval) -> study_pb2.StudyInterval:
    return study_pb2.StudyInterval(**interval.model_dump(exclude_none=True))


def _interval_from_message(message: study_pb2.StudyInterval) -> Interval:
    bounds = {name: getattr(message, name) for name in ("low", "high") if message.HasField(name)}
    return Interval(value=message.value, **bounds)
