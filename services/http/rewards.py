"""Rewards over HTTP: every objective's score, and their weighted sum; what is missing is told with its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from charter.v1 import common_pb2, reward_pb2
from pydantic import Field

from rlhf_core.constitution.weights import parse_weights
from rlhf_core.errors import CharterError, InvalidInput
from rlhf_core.records.base import Record
from rlhf_core.records.models import Score
from services.http.calls import Asked
from services.http.texts import Shape, Turn, prompt_of
from services.rpc.reward import RewardService, Scoring
from services.server.limits import Limits, check_request

NO_PACK = "there is no NormPack of this reward model, so its score has no unit"


class ObjectiveScore(Record):
    """One objective's score of one reply."""

    reward_model: str = ""
    score: float | None = None
    """Unbounded, in the reward model's own unit."""
    z: float | None = None
    """In standard deviations of the reference policy's scores."""
    spread: float | None = None
    """Standard deviation over the ensemble's members, in the unit of `score`."""
    weight: float | None = None
    """None where no run, and so no constitution, gives one."""
    missing: str | None = None
    """Why there is no score, or no z."""


class Reward(Record):
    """One reply's reward: the sum of weight times z. Without it `missing` says what it wants."""

    reward: float | None
    missing: str | None
    objectives: dict[str, ObjectiveScore]


class Scored(NamedTuple):
    """A reply, and what it answers."""

    prompt: common_pb2.Prompt
    response: str


class Wanted(NamedTuple):
    """Which reward models, and how they are weighed."""

    run: str = ""
    reward_models: Sequence[str] = ()
    weights: Mapping[str, float] = {}


class PlainSample(Shape):
    prompt: str | tuple[Turn, ...]
    response: str


class PlainRequest(Shape):
    """What POST /v1/score takes."""

    samples: tuple[PlainSample, ...]
    run: str = ""
    reward_models: tuple[str, ...] = ()
    weights: dict[str, float] = Field(default_factory=dict)


class Rewards:
    """Scores what any of the shapes brings, by way of RewardService in this process."""

    def __init__(self, service: RewardService, limits: Limits, run: str):
        """`run` is the one whose reward models score where a request names none; empty means that each must."""
        self._service, self._limits, self._run = service, limits, run

    async def plain(self, asked: Asked) -> dict[str, Any]:
        """Answer POST /v1/score."""
        request = PlainRequest.model_validate(asked.body)
        named = self.wanted(asked)
        wanted = Wanted(
            request.run or asked.query.get("run", "") or ("" if request.reward_models else named.run),
            request.reward_models,
            request.weights or named.weights,
        )
        samples = [Scored(prompt_of(sample.prompt), sample.response) for sample in request.samples]
        rewards = await self.of(samples, wanted)
        return {"run": wanted.run or None, "results": [reward.model_dump() for reward in rewards]}

    async def objectives(self, asked: Asked) -> dict[str, Any]:
        """Answer GET /v1/objectives: what /v1/score will answer of a run, and the run's weights."""
        wanted = self.wanted(asked)
        _check(wanted)
        weights = await self._service.weights(wanted.run, wanted.weights)
        models = await self._service.models_of(wanted.run)
        rows = [
            {"objective": model.objective, "reward_model": model.id, "weight": weights.get(model.objective, 0.0)}
            for model in models
        ]
        return {"run": wanted.run, "objectives": rows}

    def wanted(self, asked: Asked) -> Wanted:
        """Read what the address says: ?run=ID&weights=helpful=2,harmless=1. Raises InvalidInput for anything else."""
        for name in asked.query:
            if name not in ("run", "weights"):
                raise InvalidInput(f"{name}: unknown in the address; allowed: run, weights", name)
        weights = asked.query.get("weights", "")
        run = asked.query.get("run", "") or self._run
        return Wanted(run, (), parse_weights(weights) if weights else {})

    async def of(self, samples: Sequence[Scored], wanted: Wanted) -> list[Reward]:
        """Reward each sample. Raises what is wrong with the request as a whole."""
        _check(wanted)
        if wanted.weights and not wanted.run:
            raise InvalidInput("weights: they weigh z, which only a run gives; name the run too", "weights")
        request = reward_pb2.ScoreRequest(
            samples=[common_pb2.Sample(prompt=prompt, response=response) for prompt, response in samples],
            reward_models=wanted.reward_models,
            run_id=wanted.run,
        )
        check_request(request, self._limits)
        weights = await self._service.weights(wanted.run, wanted.weights) if wanted.run else {}
        found = await self._service.score_each(request)
        _check_apart(found)
        return [_reward(found, row, weights) for row in found.scores]


def _check(wanted: Wanted) -> None:
    if not (wanted.run or wanted.reward_models):
        hint = "name one, as in ?run=ID; or give the server a default: charter serve --http-run ID"
        raise InvalidInput("run: not given, so no reward model is meant", "run", hint=hint)


def _check_apart(found: Scoring) -> None:
    names = [model.objective for model in found.models]
    if repeated := next((name for name in names if names.count(name) > 1), ""):
        raise InvalidInput(
            f"reward_models: two of them score '{repeated}'; name one for each objective", "reward_models"
        )


def whole(rewards: Sequence[Reward], field: str) -> list[float]:
    """Return the rewards alone, for shapes without room for a reason.

    A CharterError tells it where a reward is missing.
    """
    for index, reward in enumerate(rewards):
        if reward.reward is None:
            place = f"{field}[{index}]" if len(rewards) > 1 else field
            raise CharterError(f"{place} has no reward: {reward.missing}")
    return [reward.reward for reward in rewards if reward.reward is not None]


def _reward(found: Scoring, row: Sequence[Score | CharterError], weights: Mapping[str, float]) -> Reward:
    objectives: dict[str, ObjectiveScore] = {}
    for model, score in zip(found.models, row, strict=True):
        weight = weights.get(model.objective)
        objectives[model.objective] = _objective(found, model.id, score, weight)
    for name, weight in weights.items():
        if name not in objectives:
            objectives[name] = ObjectiveScore(weight=weight, missing="the run has no reward model of it")
    wanting = {name: one.missing for name, one in objectives.items() if one.missing and one.weight != 0}
    if not weights:
        return Reward(reward=None, missing="no run is named, whose scale and weights make a sum", objectives=objectives)
    if wanting:
        told = "; ".join(f"{name}: {why}" for name, why in wanting.items())
        return Reward(reward=None, missing=told, objectives=objectives)
    total = sum(one.weight * one.z for one in objectives.values() if one.weight and one.z is not None)
    return Reward(reward=total, missing=None, objectives=objectives)


def _objective(found: Scoring, model: str, score: Score | CharterError, weight: float | None) -> ObjectiveScore:
    if isinstance(score, CharterError):
        return ObjectiveScore(reward_model=model, weight=weight, missing=str(score))
    z = found.pack and found.pack.z(score.score, model)
    known = z is not None and math.isfinite(z)
    return ObjectiveScore(
        reward_model=model,
        score=score.score,
        z=z if known else None,
        spread=score.spread,
        weight=weight,
        missing=None if known else NO_PACK,
    )
