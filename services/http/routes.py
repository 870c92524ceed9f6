"""The paths of the HTTP edge, each with the method of the contract whose scope it asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, cast

from services.http.calls import Answer, Asked, Endpoint, Gate
from services.http.reward_shapes import RewardShapes
from services.http.rewards import Rewards
from services.http.texts import Reader
from services.rpc.reward import RewardService
from services.server.server import Service

SCORE = "charter.v1.RewardService/Score"

Row = tuple[str, str, Callable[[Asked], Awaitable[Answer]], str]
"""How a path is asked, the path, what answers it, and the field that its requests are about."""


class Offered(NamedTuple):
    """What this process offers over gRPC, and so over HTTP."""

    reader: Reader
    reward: RewardService | None


def offered_by(services: Sequence[Service], reader: Reader) -> Offered:
    """The services of a process that have paths."""
    servicers = {type(service.servicer): service.servicer for service in services}
    return Offered(reader, cast(RewardService | None, servicers.get(RewardService)))


def endpoints(gate: Gate, offered: Offered, run: str) -> list[Endpoint]:
    """`run` is the one whose reward models score where a request names none."""
    rows = _rewards(gate, offered.reward, offered.reader, run) if offered.reward else []
    return [Endpoint(gate, path, SCORE, answer, subject, verb) for verb, path, answer, subject in rows]


def _rewards(gate: Gate, service: RewardService, reader: Reader, run: str) -> list[Row]:
    rewards = Rewards(service, gate.limits, run)
    shapes = RewardShapes(rewards, reader)
    return [
        ("GET", "/v1/objectives", rewards.objectives, "run"),
        ("POST", "/v1/score", rewards.plain, "samples"),
        ("POST", "/get_reward", shapes.openrlhf, "query"),
        ("POST", "/remote_rm", shapes.slime, "response"),
        ("POST", "/classify", shapes.classify, "input"),
        ("POST", "/v1/embeddings", shapes.embeddings, "input"),
        ("POST", "/verify", shapes.verify, "response"),
        ("POST", "/seed_session", shapes.seed_session, "body"),
        ("POST", "/aggregate_metrics", shapes.aggregate_metrics, "verify_responses"),
    ]
