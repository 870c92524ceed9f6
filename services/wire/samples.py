"""What models read and write, as records and as messages. Ids left out of a request are derived from its content."""

from __future__ import annotations

from collections.abc import Sequence

from charter.v1 import common_pb2, critique_pb2

from rlhf_core.constitution.constitution import Constitution, Principle
from rlhf_core.errors import InvalidInput
from rlhf_core.records.base import content_id
from rlhf_core.records.feedback import Critique, Usage, Vote
from rlhf_core.records.samples import BASE_POLICY, Comparison, Message, Prompt, Sample
from services.wire import enums, resource_names


def prompt_to_message(prompt: Prompt) -> common_pb2.Prompt:
    return common_pb2.Prompt(
        id=prompt.id,
        messages=[
            common_pb2.Message(role=enums.number(enums.ROLES, m.role), content=m.content) for m in prompt.messages
        ],
        split=enums.number(enums.SPLITS, prompt.split),
        source=prompt.source,
        tags=prompt.tags,
    )


def prompt_from_message(message: common_pb2.Prompt, field: str = "prompt") -> Prompt:
    if bool(message.text) == bool(message.messages):
        raise InvalidInput(f"{field}: give either text or messages", field)
    turns = [
        Message(role=enums.value(enums.ROLES, turn.role, f"{field}.messages[{i}].role"), content=turn.content)
        for i, turn in enumerate(message.messages)
    ] or [Message(role="user", content=message.text)]
    if turns[-1].role != "user":
        raise InvalidInput(f"{field}.messages: the last turn must be the user's", f"{field}.messages")
    split = enums.value(enums.SPLITS, message.split, f"{field}.split")
    prompt = Prompt.from_messages(tuple(turns), split, message.source or "user", tuple(message.tags))
    return prompt.model_copy(update={"id": message.id}) if message.id else prompt


def prompts_from_messages(messages: Sequence[common_pb2.Prompt]) -> list[Prompt]:
    return [prompt_from_message(m, f"prompts[{i}]") for i, m in enumerate(enums.some(messages, "prompts"))]


def sample_to_message(sample: Sample) -> common_pb2.Sample:
    return common_pb2.Sample(
        id=sample.id,
        prompt=prompt_to_message(sample.prompt),
        response=sample.response,
        policy_version=sample.policy_version,
        finish_reason=enums.finish_reason(sample.finished),
        tokens=sample.tokens,
        logprob=sample.logprob,
        seed=sample.seed,
        run_id=sample.run_id,
        stage=sample.stage,
        kl=sample.kl,
        staleness=sample.staleness,
    )


def sample_from_message(message: common_pb2.Sample, field: str = "sample") -> Sample:
    prompt = prompt_from_message(message.prompt, f"{field}.prompt")
    version = message.policy_version or BASE_POLICY
    return Sample(
        id=message.id or content_id("sample", prompt.id, version, message.response),
        prompt=prompt,
        response=message.response,
        policy_version=version,
        finished=enums.value(enums.FINISHED, message.finish_reason, f"{field}.finish_reason"),
        tokens=message.tokens,
        logprob=message.logprob,
        seed=message.seed,
        run_id=message.run_id,
        stage=message.stage,
        kl=message.kl if message.HasField("kl") else None,
        staleness=message.staleness if message.HasField("staleness") else None,
    )


def samples_from_messages(messages: Sequence[common_pb2.Sample]) -> list[Sample]:
    return [sample_from_message(m, f"samples[{i}]") for i, m in enumerate(enums.some(messages, "samples"))]


def comparison_to_message(comparison: Comparison) -> common_pb2.Comparison:
    return common_pb2.Comparison(
        id=comparison.id,
        a=sample_to_message(comparison.a),
        b=sample_to_message(comparison.b),
        run_id=comparison.run_id,
        name=resource_names.resource(resource_names.COMPARISONS, comparison.id),
    )


def comparison_from_message(message: common_pb2.Comparison, field: str = "comparison") -> Comparison:
    a = sample_from_message(message.a, f"{field}.a")
    b = sample_from_message(message.b, f"{field}.b")
    if a.prompt.messages != b.prompt.messages:
        raise InvalidInput(f"{field}: a and b answer different prompts", field)
    comparison = Comparison.of(a, b, message.run_id)
    return comparison.model_copy(update={"id": message.id}) if message.id else comparison


def comparisons_from_messages(messages: Sequence[common_pb2.Comparison]) -> list[Comparison]:
    return [comparison_from_message(m, f"comparisons[{i}]") for i, m in enumerate(enums.some(messages, "comparisons"))]


def critique_to_message(critique: Critique) -> critique_pb2.Critique:
    flat = critique.model_dump()
    return critique_pb2.Critique(**{**flat, "verdict": enums.number(enums.VERDICTS, critique.verdict)})


def critique_from_message(message: critique_pb2.Critique, field: str = "critique") -> Critique:
    verdict = enums.value(enums.VERDICTS, message.verdict, f"{field}.verdict")
    return Critique(**{**enums.fields(message), "verdict": verdict, "spans": tuple(message.spans)})


def critiques_from_messages(messages: Sequence[critique_pb2.Critique]) -> list[Critique]:
    return [critique_from_message(m, f"critiques[{i}]") for i, m in enumerate(messages)]


def vote_to_message(vote: Vote) -> critique_pb2.Vote:
    return critique_pb2.Vote(**vote.model_dump())


def vote_from_message(message: critique_pb2.Vote) -> Vote:
    return Vote(**enums.fields(message))


def usage_to_message(usage: Usage) -> critique_pb2.Usage:
    return critique_pb2.Usage(**usage.model_dump())


def usage_from_message(message: critique_pb2.Usage) -> Usage:
    return Usage(**enums.fields(message))


def constitution_to_message(constitution: Constitution) -> critique_pb2.Constitution:
    return critique_pb2.Constitution(
        id=constitution.id,
        version=constitution.version,
        title=constitution.title,
        hash=constitution.hash,
        objectives=[critique_pb2.Objective(**objective.model_dump()) for objective in constitution.objectives],
        principles=[_principle_to_message(principle) for principle in constitution.principles],
        name=resource_names.resource(resource_names.CONSTITUTIONS, constitution.hash),
    )


def _principle_to_message(principle: Principle) -> critique_pb2.Principle:
    said = principle.model_dump(include={"id", "title", "serves", "weight", "critique", "revise", "compare"})
    return critique_pb2.Principle(**said, hash=principle.hash)
