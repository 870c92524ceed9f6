"""The client of PolicyService: responses of the policy's versions, whole or piece by piece."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from charter.v1 import policy_pb2, policy_pb2_grpc

from rlhf_core.errors import Unavailable
from rlhf_core.records.models import AliasChange, PolicyStanding, PolicyVersion
from rlhf_core.records.samples import Prompt, Sample
from services.client.connection import Connection
from services.wire.batches import MAX_BATCH_BYTES, batches, weight
from services.wire.policies import change_from_message, policy_from_message
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
        policy_version: str = "",
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> list[Sample]:
        """Write n samples per prompt, grouped by prompt; each names the version that wrote it.

        `policy_version` is an id, an alias, a run, `base` or `latest`; none means `production`, or the base where
        nobody holds that. 0 tokens are the server's default. A response ends before the first of the strings in `stop`.
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
        policy_version: str = "",
        temperature: float = 1.0,
        max_tokens: int = 0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> Iterator[Piece]:
        """Yield the response piece by piece, as `generate` would give it; leaving the loop stops the model."""
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
        """List all policy versions, or all of a run, oldest first."""
        request = policy_pb2.ListPolicyVersionsRequest(run_id=run_id)
        pages = self._connection.pages(self._stub.ListPolicyVersions, request)
        return [policy_version_from_message(message) for answer in pages for message in answer.policy_versions]

    def get_policy(self, version: str = "") -> PolicyStanding:
        """Return the policy that a reference means, with what it has behind it; none means who answers by default."""
        request = policy_pb2.GetPolicyRequest(policy_version=version)
        return policy_from_message(self._connection.call(self._stub.GetPolicy, request).policy)

    def list_policies(self, run_id: str = "") -> list[PolicyStanding]:
        """List all policies, or all of a run, newest first."""
        request = policy_pb2.ListPoliciesRequest(run_id=run_id)
        pages = self._connection.pages(self._stub.ListPolicies, request)
        return [policy_from_message(message) for answer in pages for message in answer.policies]

    def promote_policy(
        self,
        version: str,
        alias: str = "",
        *,
        changed_by: str = "",
        reason: str = "",
        allow_ungated: bool = False,
        request_id: str = "",
    ) -> AliasChange:
        """Give an alias to a version; none is `production`.

        Raises Conflict where the version is not finished, GatesNotPassed where nothing overrides its gates.
        """
        request = policy_pb2.PromotePolicyRequest(
            policy_version=version,
            alias=alias,
            allow_ungated=allow_ungated,
            reason=reason,
            changed_by=changed_by,
            request_id=request_id or uuid.uuid4().hex,
        )
        return change_from_message(self._connection.call(self._stub.PromotePolicy, request).change)

    def rollback_policy(
        self, alias: str = "", *, changed_by: str = "", reason: str = "", request_id: str = ""
    ) -> AliasChange:
        """Give an alias back to its previous holder, or to nobody. Raises Conflict where nobody holds it."""
        request = policy_pb2.RollbackPolicyRequest(
            alias=alias, reason=reason, changed_by=changed_by, request_id=request_id or uuid.uuid4().hex
        )
        return change_from_message(self._connection.call(self._stub.RollbackPolicy, request).change)

    def policy_history(self, alias: str = "") -> list[AliasChange]:
        """List all changes of an alias, or of every one, newest first."""
        request = policy_pb2.ListPolicyChangesRequest(alias=alias)
        pages = self._connection.pages(self._stub.ListPolicyChanges, request)
        return [change_from_message(message) for answer in pages for message in answer.changes]

    def export_policy(self, folder: Path, version: str = "", *, merge: bool = False) -> str:
        """Fill an empty folder with a policy's files for transformers, PEFT and vLLM, and return the version's id.

        With `merge` a whole model, without it the adapter. Raises NotFound for a policy without files of its own.
        """
        request = policy_pb2.ExportPolicyRequest(policy_version=version, merge=merge)
        sent = ""
        for answer in self._connection.stream(self._stub.ExportPolicy, request):
            sent = answer.policy_version or sent
            if answer.path:
                with _inside(folder, answer.path).open("ab") as file:
                    file.write(answer.data)
        return sent

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


def _inside(folder: Path, path: str) -> Path:
    """A file of the folder, whose own folder is made. Raises Unavailable for a path that leads out of it."""
    file = folder / path
    if not file.resolve().is_relative_to(folder.resolve()):
        raise Unavailable(f"the server sends a file '{path[:200]}', which lies outside of the folder")
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
