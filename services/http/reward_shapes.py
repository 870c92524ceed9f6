"""The same rewards in the shapes of others: OpenRLHF, slime, verl (as vLLM and SGLang answer it) and NeMo Gym.

None of these has a place for what is missing, so that a reply without a reward is an error of the call, never a 0.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rlhf_core.errors import InvalidInput
from services.http.calls import Answer, Asked
from services.http.rewards import Reward, Rewards, Scored, Wanted, whole
from services.http.texts import Reader, Turn, joined, prompt_of

PER_OBJECTIVE = ("score", "z", "spread")
PREFIXES = tuple(f"{name}_" for name in PER_OBJECTIVE)
LARGEST = 1e100
Role = Literal["system", "developer", "user", "assistant"]


class Lenient(BaseModel):
    """A request of somebody else's client, which may well grow: what is not named here is not read."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class OpenRlhfRequest(Lenient):
    """What `openrlhf/utils/agent.py` posts; its labels are a task's known answers, which no reward model reads."""

    query: tuple[str, ...]
    """Prompt and reply in one text, rendered."""
    prompts: tuple[str, ...] | None = None


class SlimeRequest(Lenient):
    """What `slime/rollout/rm_hub` posts for `--rm-type remote_rm`."""

    prompt: str | tuple[Turn, ...]
    response: str


class ClassifyRequest(Lenient):
    """What verl's reward loop posts to its reward model's router: a rendered conversation, or several."""

    model: str | None = None
    input: str | tuple[str, ...]


class GymItem(Lenient):
    """One item of OpenAI's responses: a message, or what a model does beside talking."""

    type: str = "message"
    role: Role | None = None
    content: str | tuple[Any, ...] | None = None


class GymParams(Lenient):
    input: str | tuple[GymItem, ...]
    instructions: str | None = None


class GymResponse(Lenient):
    output: tuple[GymItem, ...]


class GymRequest(Lenient):
    """What NeMo Gym's agents post to the `/verify` of a resources server; a row of its dataset may name the run."""

    responses_create_params: GymParams
    response: GymResponse
    run: str = ""
    weights: dict[str, float] = Field(default_factory=dict)

    @field_validator("run", mode="before")
    @classmethod
    def _text(cls, run: Any) -> Any:
        return "" if run is None else run


class RewardShapes:
    """Reads each shape, asks for the rewards, and answers as its client expects."""

    def __init__(self, rewards: Rewards, reader: Reader):
        self._rewards, self._reader = rewards, reader

    async def openrlhf(self, asked: Asked) -> Answer:
        """Answer with `rewards` and `scores` by query; `extra_logs` holds each objective's numbers by query."""
        request = OpenRlhfRequest.model_validate(asked.body)
        prompts = request.prompts
        if prompts is not None and len(prompts) != len(request.query):
            told = f"prompts: {len(prompts)} of them for {len(request.query)} queries; allowed: one each, or none"
            raise InvalidInput(told, "prompts")
        samples = [self._query(i, text, prompts[i] if prompts else "") for i, text in enumerate(request.query)]
        rewards = await self._rewards.of(samples, self._rewards.wanted(asked))
        paid = whole(rewards, "query")
        return {"rewards": paid, "scores": paid, "extra_logs": _logs(rewards)}

    async def slime(self, asked: Asked) -> Answer:
        """Answer with a number; with ?objectives=true an object, for `--reward-key reward`."""
        query = asked.query
        request = SlimeRequest.model_validate(asked.body)
        if query.get("objectives", "true") != "true":
            raise InvalidInput(f"objectives: '{query['objectives'][:40]}'; allowed: true", "objectives")
        prompt = request.prompt
        asked_for = self._reader.prompt(prompt, "prompt") if isinstance(prompt, str) else prompt_of(prompt)
        sample = Scored(asked_for, self._reader.reply(request.response))
        named = [(name, value) for name, value in query.multi_items() if name != "objectives"]
        wanted = self._rewards.wanted(asked._replace(query=type(query)(named)))
        (reward,) = await self._rewards.of([sample], wanted)
        (paid,) = whole([reward], "response")
        return {"reward": paid, **_numbers(reward, "{name}/{objective}")} if "objectives" in query else paid

    async def classify(self, asked: Asked) -> Answer:
        """Answer as vLLM's /classify: verl reads `data[-1].probs[-1]`."""
        request, paid = await self._classified(asked)
        rows = [
            {"index": index, "label": "reward", "probs": [value], "num_classes": 1} for index, value in enumerate(paid)
        ]
        return {"object": "list", "model": request.model, "data": rows}

    async def embeddings(self, asked: Asked) -> Answer:
        """Answer as SGLang answers /v1/embeddings for a reward model: verl reads `data[-1].embedding[-1]`."""
        request, paid = await self._classified(asked)
        rows = [{"object": "embedding", "index": index, "embedding": [value]} for index, value in enumerate(paid)]
        return {"object": "list", "model": request.model, "data": rows}

    async def verify(self, asked: Asked) -> Answer:
        """Answer the request again, with `reward` and, as in Gym's multi-reward environments, `reward_components`."""
        request = GymRequest.model_validate(asked.body)
        named = self._rewards.wanted(asked)
        wanted = Wanted(request.run or named.run, (), request.weights or named.weights)
        sample = Scored(prompt_of(_turns(request.responses_create_params)), _said(request.response))
        (reward,) = await self._rewards.of([sample], wanted)
        (paid,) = whole([reward], "response")
        parts = {name: one.z for name, one in reward.objectives.items() if one.z is not None}
        return {**asked.body, "reward": paid, "reward_components": parts, **_numbers(reward, "{name}_{objective}")}

    async def seed_session(self, asked: Asked) -> Answer:
        """Answer what Gym opens each rollout with; there is nothing to remember."""
        return {}

    async def aggregate_metrics(self, asked: Asked) -> Answer:
        """Answer Gym's summary of its rollouts: the mean of every number that `verify` gave."""
        rows = asked.body.get("verify_responses") if isinstance(asked.body, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InvalidInput("verify_responses: allowed: a list of what /verify answered", "verify_responses")
        names = {name for row in rows for name in row if name == "reward" or name.startswith(PREFIXES)}
        means = {f"mean/{name}": statistics.fmean(found) for name in sorted(names) if (found := _column(rows, name))}
        headline = {name: value for name, value in means.items() if name == "mean/reward"}
        return {"group_level_metrics": [], "agent_metrics": means, "key_metrics": headline}

    def _query(self, index: int, text: str, prompt: str) -> Scored:
        """A rendered conversation; where the template is not ours, the reply is what follows the prompt."""
        field = f"query[{index}]"
        if prompt and text.startswith(prompt):
            asked_for = self._reader.prompt(prompt, f"prompts[{index}]")
            return Scored(asked_for, self._reader.reply(text.removeprefix(prompt)))
        return Scored(*self._reader.conversation(text, field))

    async def _classified(self, asked: Asked) -> tuple[ClassifyRequest, list[float]]:
        request = ClassifyRequest.model_validate(asked.body)
        texts = [request.input] if isinstance(request.input, str) else request.input
        samples = [Scored(*self._reader.conversation(text, "input")) for text in texts]
        rewards = await self._rewards.of(samples, self._rewards.wanted(asked))
        return request, whole(rewards, "input")


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """The numbers of this name. Raises InvalidInput for one that no reward can be, and whose mean may be none."""
    found = []
    for index, row in enumerate(rows):
        value = row.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            if abs(value) > LARGEST:
                place = f"verify_responses[{index}].{name}"
                raise InvalidInput(f"{place}: allowed: numbers up to {LARGEST:g}", place)
            found.append(float(value))
    return found


def _numbers(reward: Reward, form: str) -> dict[str, float]:
    """Every number that there is of every objective, by a name such as `z_helpful`."""
    return {
        form.format(name=name, objective=objective): value
        for objective, one in reward.objectives.items()
        for name in PER_OBJECTIVE
        if (value := getattr(one, name)) is not None
    }


def _logs(rewards: Sequence[Reward]) -> dict[str, list[float]]:
    """By name a number of every reply; a name of which some reply has none is left out."""
    rows = [_numbers(reward, "{name}/{objective}") for reward in rewards]
    shared = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
    return {name: [row[name] for row in rows] for name in shared}


def _turns(params: GymParams) -> list[Turn]:
    turns = [Turn(role="system", content=params.instructions)] if params.instructions else []
    if isinstance(params.input, str):
        return [*turns, Turn(role="user", content=params.input)]
    for index, item in enumerate(params.input):
        place = f"responses_create_params.input[{index}]"
        words = _words(item, place)
        if item.role is None:
            raise InvalidInput(f"{place}.role: not given; allowed: {', '.join(get_args(Role))}", f"{place}.role")
        turns.append(Turn(role=item.role, content=words))
    return turns


def _said(response: GymResponse) -> str:
    """What the model said; its thoughts are not part of it."""
    items = [(index, item) for index, item in enumerate(response.output) if item.type != "reasoning"]
    return "\n\n".join(_words(item, f"response.output[{index}]") for index, item in items)


def _words(item: GymItem, place: str) -> str:
    if item.type != "message":
        raise InvalidInput(f"{place}: of type '{item.type[:40]}'; reward models read messages alone", place)
    if isinstance(item.content, str):
        return item.content
    try:
        return joined(item.content or ())
    except ValueError as error:
        raise InvalidInput(f"{place}.content: {error}", f"{place}.content") from None
