"""What the store keeps of training and labelling, as records and as messages."""

from __future__ import annotations

from charter.v1 import policy_pb2, preference_pb2, reward_pb2, trainer_pb2

from rlhf_core.errors import InvalidInput
from rlhf_core.records.feedback import Opinion, Preference
from rlhf_core.records.models import PolicyVersion, RewardModelVersion, RewardQuality, Score
from rlhf_core.records.runs import Run, RunEvent
from services.wire import enums, resource_names


def policy_version_to_message(version: PolicyVersion) -> policy_pb2.PolicyVersion:
    name = resource_names.resource(resource_names.POLICY_VERSIONS, version.id)
    return policy_pb2.PolicyVersion(**version.model_dump(), name=name)


def policy_version_from_message(message: policy_pb2.PolicyVersion) -> PolicyVersion:
    return PolicyVersion(**enums.fields(message))


def reward_model_to_message(version: RewardModelVersion) -> reward_pb2.RewardModel:
    return reward_pb2.RewardModel(
        **version.model_dump(exclude={"quality"}),
        quality=[_quality_to_message(found) for found in version.quality],
        name=resource_names.resource(resource_names.REWARD_MODELS, version.id),
    )


def _quality_to_message(quality: RewardQuality) -> reward_pb2.RewardQuality:
    source = enums.number(enums.LABEL_SOURCES, quality.source)
    return reward_pb2.RewardQuality(**quality.model_dump(exclude={"source"}, exclude_none=True), source=source)


def reward_model_from_message(message: reward_pb2.RewardModel) -> RewardModelVersion:
    quality = tuple(_quality_from_message(found) for found in message.quality)
    return RewardModelVersion(**{**enums.fields(message), "quality": quality})


def _quality_from_message(message: reward_pb2.RewardQuality) -> RewardQuality:
    """A number that is not set stays None."""
    counts = {"pairs": message.pairs, "ratings": message.ratings, "steps": message.steps}
    shares = {field.name: value for field, value in message.ListFields() if field.has_presence}
    return RewardQuality(**counts | shares, source=enums.given(enums.LABEL_SOURCES, message.source, "source"))


def score_to_message(score: Score, z: float | None = None) -> reward_pb2.Score:
    return reward_pb2.Score(**score.model_dump(), z=z)


def score_from_message(message: reward_pb2.Score) -> Score:
    plain = {name: value for name, value in enums.fields(message).items() if name != "z"}
    return Score(**{**plain, "steps": tuple(message.steps)})


def preference_to_message(preference: Preference) -> preference_pb2.Preference:
    # A second answer looks like a label: who is measured by it need not know.
    flat = preference.model_dump(exclude={"repeated"})
    name = resource_names.resource(resource_names.PREFERENCES, preference.id)
    return preference_pb2.Preference(**{**flat, "choice": enums.number(enums.CHOICES, preference.choice)}, name=name)


def preference_from_message(message: preference_pb2.Preference) -> Preference:
    choice = enums.given(enums.CHOICES, message.choice, "choice")
    swapped = message.swapped if message.HasField("swapped") else None
    opinions = tuple(Opinion(**enums.fields(opinion)) for opinion in message.opinions)
    return Preference(**{**enums.fields(message), "choice": choice, "swapped": swapped, "opinions": opinions})


def human_labeler(name: str) -> str:
    """Name a person as a labeler: `ana` and `human:ana` are the same; only people label over the wire."""
    person = name.removeprefix("human:")
    if not person.strip() or ":" in person:
        raise InvalidInput(f"labeler: '{name}' is not a person's name; write it as ana or human:ana", "labeler")
    return f"human:{person}"


def run_to_message(run: Run) -> trainer_pb2.Run:
    return trainer_pb2.Run(
        id=run.id,
        kind=run.kind,
        state=enums.number(enums.STATES, run.state),
        config_json=run.config,
        constitution_hash=run.constitution_hash,
        stage=run.stage,
        step=run.step,
        steps=run.steps,
        error=run.error,
        attempt=run.attempt,
        create_time=enums.timestamp(run.created_at),
        update_time=enums.timestamp(run.updated_at),
        name=resource_names.resource(resource_names.RUNS, run.id),
        etag=run.etag if run.id else "",
        requested=enums.number(enums.STATES, run.requested or None),
        display_name=run.display_name,
        note=run.note,
        status=enums.number(enums.STATUSES, run.status),
        tags=run.tags,
        short_id=run.short_id,
        step_seconds=run.step_seconds,
    )


def run_from_message(message: trainer_pb2.Run) -> Run:
    """Read a run from a message; the fence is the worker's business and stays behind."""
    return Run(
        id=message.id,
        kind=message.kind,
        state=enums.given(enums.STATES, message.state, "state"),
        config=message.config_json,
        constitution_hash=message.constitution_hash,
        stage=message.stage,
        step=message.step,
        steps=message.steps,
        error=message.error,
        attempt=message.attempt,
        created_at=enums.time_text(message.create_time),
        updated_at=enums.time_text(message.update_time),
        requested=enums.value(enums.REQUESTED, message.requested, "requested"),
        display_name=message.display_name,
        note=message.note,
        tags=dict(message.tags),
        lost=message.status == trainer_pb2.RUN_STATUS_LOST,
        step_seconds=message.step_seconds,
    )


def event_to_message(event: RunEvent) -> trainer_pb2.RunEvent:
    return trainer_pb2.RunEvent(
        run_id=event.run_id,
        sequence=event.sequence,
        kind=event.kind,
        body_json=event.body,
        create_time=enums.timestamp(event.created_at),
    )


def event_from_message(message: trainer_pb2.RunEvent) -> RunEvent:
    return RunEvent(
        run_id=message.run_id,
        sequence=message.sequence,
        kind=message.kind,
        body=message.body_json,
        created_at=enums.time_text(message.create_time),
    )
