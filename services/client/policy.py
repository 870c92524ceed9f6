"""The client of PolicyService: responses of the policy's versions, whole or piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from charter.v1 import policy_pb2, policy_pb2_grpc

from rlhf_core.records.models import PolicyVersion
from rlhf_core.records.samples import BASE_POLICY, Prompt, Sample
from services.client.connection import Connection
from services.wire.batches import MAX_BATCH_BYTES, batches, weight
from services.wire.samples import prompt_to_message, sample_from_message
from services.wire.stored_records import policy_version_from_message


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


class PolicyClient:
    """interfaces.Sampler over the wire."""

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
        messages = [prompt_to_message(prompt) for prompt in prompts]
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
            samples = [sample_from_message(message) for message in answer.samples]
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
            prompt=prompt_to_message(prompt),
            policy_version=policy_version,
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed,
            stop=stop,
        )
        for answer in self._connection.stream(self._stub.GenerateStream, request):
            sample = sample_from_message(answer.sample) if answer.finished else None
            yield Piece(answer.text, answer.tokens, answer.logprob, sample)

    def list_policy_versions(self, run_id: str = "") -> list[PolicyVersion]:
        """All of them, or all of a run, oldest first."""
        request = policy_pb2.ListPolicyVersionsRequest(run_id=run_id)
        versions: list[PolicyVersion] = []
        while True:
            answer = self._connection.call(self._stub.ListPolicyVersions, request)
            versions += [policy_version_from_message(message) for message in answer.policy_versions]
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
