"""Charter's reward models as reward functions of TRL's trainers (GRPO, RLOO), one for each objective.

functions = reward_functions("http://127.0.0.1:8000", run="run-1")
GRPOTrainer(..., reward_funcs=functions, args=GRPOConfig(reward_weights=[one.weight for one in functions]))
"""

from __future__ import annotations

import json
import logging
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import httpx2

from rlhf_core.errors import CharterError, InvalidInput, Unavailable

log = logging.getLogger("charter.trl")

Value = Literal["z", "score"]
Turns = str | Sequence[Mapping[str, Any]]

SAMPLES = 256
"""Of one request."""
PASSING = (408, 429, 502, 503, 504)
"""Statuses after which the same request may work."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between tries; each pause is twice the one before, with some chance in it."""


def reward_functions(
    url: str,
    run: str = "",
    *,
    value: Value = "z",
    partial: bool = False,
    token: str = "",
    timeout_seconds: float = 120.0,
    patience_seconds: float = 600.0,
) -> list[RewardFunction]:
    """Make one function for each objective of a run, so that TRL weighs and logs them apart.

    Args:
        url: The HTTP edge of a server: `charter serve --http HOST:PORT`.
        run: Whose reward models score; empty means the server's own default.
        value: `z`, in standard deviations of the reference policy's scores, or the raw `score`.
        partial: What a completion gets that lacks an objective which has weight. By default None from every function,
            so that TRL leaves it out of training; with True what there is, and then TRL's sum counts the rest as 0.
        token: The bearer token, where the server asks for one; empty means that of CHARTER_TOKEN.
        timeout_seconds: How long one request may take.
        patience_seconds: How long a server that is away or too busy is asked again.

    Raises:
        InvalidInput: what the server refuses, such as a run that it does not know.
        Unavailable: the server does not answer.
    """
    if value not in ("z", "score"):
        raise InvalidInput(f"value: '{value}'; allowed: z, score", "value")
    server = _Server(url, run, token or os.environ.get("CHARTER_TOKEN", ""), timeout_seconds, patience_seconds)
    weights = server.objectives()
    needed = () if partial else tuple(name for name, weight in weights.items() if weight)
    return [RewardFunction(server, name, weight, value, needed) for name, weight in weights.items()]


class RewardFunction:
    """Called by a trainer with prompts and completions; None stands for a reward that is missing.

    TRL leaves out a completion that all functions give None; a None among numbers it adds up as 0.
    """

    def __init__(self, server: _Server, objective: str, weight: float, value: Value, needed: Sequence[str]):
        """A completion that lacks one of the `needed` objectives gets None."""
        self.__name__ = self.objective = objective
        self.weight = weight
        """The objective's weight in the run, for `reward_weights` of the trainer's configuration."""
        self._server, self._value, self._needed = server, value, needed

    def __call__(
        self,
        prompts: Sequence[Turns],
        completions: Sequence[Turns],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """A reward for each completion. Raises InvalidInput, or Unavailable once the server's patience is over."""
        results = self._server.scored(prompts, completions)
        rewards = [self._of(result, self.objective) for result in results]
        missing = [self._why(result) for result, reward in zip(results, rewards, strict=True) if reward is None]
        if missing:
            log.warning("%s: %d of %d are missing: %s", self.objective, len(missing), len(results), missing[0])
        if log_metric is not None:
            log_metric(f"rewards/{self.objective}/missing", len(missing) / max(1, len(results)))
        whole = [all(self._of(result, name) is not None for name in self._needed) for result in results]
        return [reward if all_there else None for reward, all_there in zip(rewards, whole, strict=True)]

    def _of(self, result: Mapping[str, Any], objective: str) -> float | None:
        return result["objectives"].get(objective, {}).get(self._value)

    def _why(self, result: Mapping[str, Any]) -> str:
        return result["objectives"].get(self.objective, {}).get("missing") or "the server names no such objective"


class _Server:
    """One server and one run. What was asked last is kept, as each objective's function asks the same."""

    def __init__(self, url: str, run: str, token: str, timeout_seconds: float, patience_seconds: float):
        self._url, self._run, self._token = url.rstrip("/"), run, token
        self._timeout, self._patience = timeout_seconds, patience_seconds
        self._asked, self._answered = "", list[dict[str, Any]]()

    def objectives(self) -> dict[str, float]:
        """Return the weight of each objective."""
        query = {"run": self._run} if self._run else {}
        answer = self._ask("GET", "/v1/objectives", params=query)
        return {one["objective"]: one["weight"] for one in answer["objectives"]}

    def scored(self, prompts: Sequence[Turns], completions: Sequence[Turns]) -> list[dict[str, Any]]:
        """Return what /v1/score answers for each completion."""
        samples = [_sample(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
        asked = json.dumps(samples)
        if asked != self._asked:
            named = {"run": self._run} if self._run else {}
            results: list[dict[str, Any]] = []
            for start in range(0, len(samples), SAMPLES):
                body = {"samples": samples[start : start + SAMPLES], **named}
                results += self._ask("POST", "/v1/score", json=body)["results"]
            self._asked, self._answered = asked, results
        return self._answered

    def _ask(self, verb: str, path: str, **request: Any) -> Any:
        """The answer as JSON, asked for again while the server is away."""
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        until, pause = time.monotonic() + self._patience, FIRST_PAUSE
        while True:
            try:
                response = httpx2.request(verb, self._url + path, headers=headers, timeout=self._timeout, **request)
            except httpx2.TransportError as error:
                why, wait = str(error) or type(error).__name__, 0.0
            else:
                if response.is_success:
                    return response.json()
                if response.status_code not in PASSING:
                    raise _refused(self._url, response)
                why, wait = _told(response), _seconds(response.headers.get("retry-after"))
            wait = max(wait, pause * random.uniform(0.75, 1.25))
            if time.monotonic() + wait > until:
                raise Unavailable(f"{self._url} gives no rewards: {why}")
            log.info("%s: %s; again in %.1f s", self._url, why, wait)
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)


def _sample(prompt: Turns, completion: Turns) -> dict[str, Any]:
    """As /v1/score takes it. Of a completion of several turns the last is scored, and the others come before it."""
    if isinstance(completion, str):
        asked = prompt if isinstance(prompt, str) else [_turn(turn) for turn in prompt]
        return {"prompt": asked, "response": completion}
    if not completion:
        raise InvalidInput("completions: one of them has no turn", "completions")
    before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [_turn(turn) for turn in prompt]
    *others, last = completion
    return {"prompt": [*before, *(_turn(turn) for turn in others)], "response": _turn(last)["content"]}


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in turn.items() if value is not None}


def _refused(url: str, response: httpx2.Response) -> CharterError:
    told = f"{url} refuses: {_told(response)}"
    return InvalidInput(told) if response.is_client_error else CharterError(told)


def _told(response: httpx2.Response) -> str:
    """What the server says is wrong; a proxy before it may say something else."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code} {response.text[:200]}"


def _seconds(retry_after: str | None) -> float:
    """Of the header, where it is a number and no date."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else 0.0
