"""Clients of the services that meet a model. Their methods are the core's seams, so a stage cannot tell them apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from charter.v1 import critique_pb2, critique_pb2_grpc, policy_pb2, policy_pb2_grpc, reward_pb2, reward_pb2_grpc

from rlhf_core.constitution.load import parse_constitution
from rlhf_core.constitution.problems import Problem
from rlhf_core.constitution.schema import Constitution
from rlhf_core.records import BASE_POLICY, Critique, Prompt, Sample
from rlhf_core.run_records import PolicyVersion, RewardModelVersion, Score
from services import convert, convert_constitutions, convert_revisions, convert_rows
from services.batches import MAX_BATCH_BYTES, batches, in_order, weight
from services.channel import Connection
from services.convert_revisions import RevisionsEnd, RevisionStep
from services.feedback_client import FeedbackClient


class Piece(NamedTuple):
    """A part of a response as it is written; the last one carries the whole sample."""

    text: str
    tokens: int
    logprob: float
    sample: Sample | None


class ServerInfo(NamedTuple):
    version: str
    services: tuple[str, ...]
    base_model: str
    device: str
    max_length: int
    max_tokens: int
    default_constitution: str


class ConstitutionText(NamedTuple):
    constitution: Constitution
    yaml_text: str


class CheckedConstitution(NamedTuple):
    """Every error and warning, and the constitution where there is no error."""

    problems: tuple[Problem, ...]
    constitution: Constitution | None


class RunScore(NamedTuple):
    """A score, and the same in standard deviations of the run's reference policy where it has a NormPack."""

    score: Score
    z: float | None


class PolicyClient:
    """seams.Sampler over the wire."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._stub = policy_pb2_grpc.PolicyServiceStub(connection.channel)

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        policy_version: str = BASE_POLICY,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> list[Sample]:
        """n samples per prompt, grouped by prompt; `latest` is a policy version too, 0 tokens the server's default.

        A response ends before the first of the strings in `stop`.
        """
        messages = [convert.prompt_to_message(prompt) for prompt in prompts]
        grouped: dict[int, list[Sample]] = {}
        sizes = [weight(message) * n for message in messages]
        for places in batches(sizes, MAX_BATCH_BYTES, [prompt.id for prompt in prompts]):
            request = policy_pb2.GenerateRequest(
                prompts=[messages[place] for place in places],
                policy_version=policy_version,
                n=n,
                temperature=temperature,
                max_tokens=max_tokens,
                seed=seed,
                stop=stop,
            )
            answer = self._connection.call(self._stub.Generate, request)
            samples = [convert.sample_from_message(message) for message in answer.samples]
            grouped |= {place: samples[i * n : (i + 1) * n] for i, place in enumerate(places)}
        return [sample for place in range(len(messages)) for sample in grouped[place]]

    def generate_stream(
        self,
        prompt: Prompt,
        *,
        policy_version: str = BASE_POLICY,
        temperature: float = 1.0,
        max_tokens: int = 0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> Iterator[Piece]:
        """The response piece by piece; leaving the loop stops the model."""
        request = policy_pb2.GenerateStreamRequest(
            prompt=convert.prompt_to_message(prompt),
            policy_version=policy_version,
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed,
            stop=stop,
        )
        for answer in self._connection.stream(self._stub.GenerateStream, request):
            sample = convert.sample_from_message(answer.sample) if answer.finished else None
            yield Piece(answer.text, answer.tokens, answer.logprob, sample)

    def list_policy_versions(self, run_id: str = "") -> list[PolicyVersion]:
        """All of them, or all of a run, oldest first."""
        request = policy_pb2.ListPolicyVersionsRequest(run_id=run_id)
        versions: list[PolicyVersion] = []
        while True:
            answer = self._connection.call(self._stub.ListPolicyVersions, request)
            versions += [convert_rows.policy_version_from_message(message) for message in answer.policy_versions]
            if not answer.next_page_token:
                return versions
            request.page_token = answer.next_page_token

    def get_server_info(self) -> ServerInfo:
        answer = self._connection.call(self._stub.GetServerInfo, policy_pb2.GetServerInfoRequest())
        return ServerInfo(
            version=answer.version,
            services=tuple(answer.services),
            base_model=answer.base_model,
            device=answer.device,
            max_length=answer.max_length,
            max_tokens=answer.max_tokens,
            default_constitution=answer.default_constitution,
        )


class CritiqueClient:
    def __init__(self, connection: Connection):
        self._connection = connection
        self._stub = critique_pb2_grpc.CritiqueServiceStub(connection.channel)

    def feedback(self, constitution: str = "", gone: Callable[[], bool] | None = None) -> FeedbackClient:
        """seams.Feedback under a constitution, named by its hash or a built-in name."""
        return FeedbackClient(self._connection, constitution, gone)

    def revise_stream(
        self,
        samples: Sequence[Sample],
        constitution: str = "",
        *,
        principle_ids: Sequence[str] = (),
        rounds: int = 0,
        seed: int = 0,
        verify: bool | None = None,
    ) -> Iterator[Critique | RevisionStep | RevisionsEnd]:
        """Rounds of critique and revision as they are made, and their end; leaving the loop stops the model."""
        request = critique_pb2.ReviseStreamRequest(
            samples=[convert.sample_to_message(sample) for sample in samples],
            constitution=constitution,
            principle_ids=principle_ids,
            rounds=rounds,
            seed=seed,
        )
        if verify is not None:
            request.verify = verify
        for answer in self._connection.stream(self._stub.ReviseStream, request):
            yield convert_revisions.from_answer(answer)

    def get_constitution(self, constitution: str = "") -> ConstitutionText:
        request = critique_pb2.GetConstitutionRequest(constitution=constitution)
        answer = self._connection.call(self._stub.GetConstitution, request)
        return ConstitutionText(parse_constitution(answer.yaml_text, constitution), answer.yaml_text)

    def check_constitution(self, yaml_text: str, source: str = "constitution.yaml") -> CheckedConstitution:
        request = critique_pb2.CheckConstitutionRequest(yaml_text=yaml_text, source=source)
        answer = self._connection.call(self._stub.CheckConstitution, request)
        problems = convert_constitutions.problems_from_messages(answer.problems)
        valid = answer.HasField("constitution")
        return CheckedConstitution(problems, parse_constitution(yaml_text, source) if valid else None)


class RewardClient:
    """seams.Scorer over the wire."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._stub = reward_pb2_grpc.RewardServiceStub(connection.channel)

    def score(self, samples: Sequence[Sample], reward_models: Sequence[str]) -> list[Score]:
        """All samples of the first model, then of the second."""
        messages = [convert.sample_to_message(sample) for sample in samples]
        scores: list[Score] = []
        for model in reward_models:
            for places in in_order(messages):
                request = reward_pb2.ScoreRequest(samples=messages[places], reward_models=[model])
                answer = self._connection.call(self._stub.Score, request)
                scores += [convert_rows.score_from_message(message) for message in answer.scores]
        return scores

    def score_run(self, samples: Sequence[Sample], run_id: str) -> list[RunScore]:
        """Scores by all reward models of a run."""
        messages = [convert.sample_to_message(sample) for sample in samples]
        request = reward_pb2.ScoreRequest(samples=messages, run_id=run_id)
        answer = self._connection.call(self._stub.Score, request)
        return [RunScore(convert_rows.score_from_message(m), m.z if m.HasField("z") else None) for m in answer.scores]

    def list_reward_models(self, run_id: str = "") -> list[RewardModelVersion]:
        """All of them, or all of a run, oldest first."""
        request = reward_pb2.ListRewardModelsRequest(run_id=run_id)
        models: list[RewardModelVersion] = []
        while True:
            answer = self._connection.call(self._stub.ListRewardModels, request)
            models += [convert_rows.reward_model_from_message(message) for message in answer.reward_models]
            if not answer.next_page_token:
                return models
            request.page_token = answer.next_page_token
