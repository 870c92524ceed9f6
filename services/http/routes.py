"""The paths of the HTTP edge, each with the method of the contract whose scope it asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from services.http.calls import ANY, Answer, Asked, Endpoint, Gate
from services.http.chat import Chat
from services.http.models import Models
from services.http.reward_shapes import RewardShapes
from services.http.rewards import Rewards
from services.http.texts import Reader
from services.http.vocabulary import Vocabulary
from services.rpc.policy import PolicyService
from services.rpc.reward import RewardService
from services.server.server import Service
from services.serving.executor import Executor

if TYPE_CHECKING:
    from rlhf_core.models.backbone import Backbone

Row = tuple[str, str, Callable[[Asked], Awaitable[Answer]], str, str]
"""How a path is asked, the path, what answers it, the method that it stands for, and what its requests are about."""

SCORE = "charter.v1.RewardService/Score"
GENERATE = "charter.v1.PolicyService/Generate"
LIST = "charter.v1.PolicyService/ListPolicyVersions"


class Offered(NamedTuple):
    """What this process offers over gRPC, and so over HTTP, and the model that it is about."""

    reward: RewardService | None
    policy: PolicyService | None
    base_model: str
    vocabulary: Vocabulary
    reader: Reader


def offered_by(services: Sequence[Service], backbone: Backbone, model_thread: Executor) -> Offered:
    """The services of a process that have paths. On the model's thread, as a template is looked at."""
    servicers = {type(service.servicer): service.servicer for service in services}
    return Offered(
        cast(RewardService | None, servicers.get(RewardService)),
        cast(PolicyService | None, servicers.get(PolicyService)),
        backbone.name,
        Vocabulary(backbone, model_thread),
        Reader(backbone.name, backbone.transcripts),
    )


def endpoints(gate: Gate, offered: Offered, run: str) -> list[Endpoint]:
    """`run` is the one whose reward models score where a request names none."""
    rows = _rewards(gate, offered.reward, offered.reader, run) if offered.reward else []
    rows += _policy(gate, offered.policy, offered) if offered.policy else []
    return [Endpoint(gate, path, method, answer, subject, verb) for verb, path, answer, method, subject in rows]


def _rewards(gate: Gate, service: RewardService, reader: Reader, run: str) -> list[Row]:
    rewards = Rewards(service, gate.limits, run)
    shapes = RewardShapes(rewards, reader)
    return [
        ("GET", "/v1/objectives", rewards.objectives, SCORE, "run"),
        ("POST", "/v1/score", rewards.plain, SCORE, "samples"),
        ("POST", "/get_reward", shapes.openrlhf, SCORE, "query"),
        ("POST", "/remote_rm", shapes.slime, SCORE, "response"),
        ("POST", "/classify", shapes.classify, SCORE, "input"),
        ("POST", "/v1/embeddings", shapes.embeddings, SCORE, "input"),
        ("POST", "/verify", shapes.verify, SCORE, "response"),
        ("POST", "/seed_session", shapes.seed_session, SCORE, "body"),
        ("POST", "/aggregate_metrics", shapes.aggregate_metrics, SCORE, "verify_responses"),
    ]


def _policy(gate: Gate, service: PolicyService, offered: Offered) -> list[Row]:
    models = Models(service, offered.base_model)
    return [
        ("POST", "/v1/chat/completions", Chat(service, offered.vocabulary, gate.limits).complete, GENERATE, "messages"),
        ("GET", "/v1/models", models.all, LIST, "model"),
        ("GET", f"/v1/models{ANY}", models.one, LIST, "model"),
    ]
