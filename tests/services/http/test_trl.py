"""Reward functions as TRL calls them, against a real server, and against one that fails on its way."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, cast

import pytest
from charter.integrations import trl
from charter.integrations.trl import reward_functions

from rlhf_core.errors import InvalidInput, Unavailable

PROMPTS = ["How do I dust a shelf?", "And a lamp?"]
COMPLETIONS = ["Softly.", "Gently, when it is cold."]


def as_turns(texts: list[str], role: str) -> list[list[dict[str, str]]]:
    return [[{"role": role, "content": text}] for text in texts]


def test_each_objective_is_a_function_of_its_own_with_its_name_and_weight(edge):
    functions = reward_functions(edge.url)
    # TRL logs a function by this name: rewards/helpful/mean.
    assert [one.__name__ for one in functions] == ["helpful", "harmless"]
    rows = edge.http.get("/v1/objectives").json()["objectives"]
    assert [one.weight for one in functions] == [row["weight"] for row in rows]
    body = {"samples": [{"prompt": p, "response": r} for p, r in zip(PROMPTS, COMPLETIONS, strict=True)]}
    results = edge.http.post("/v1/score", json=body).json()["results"]
    for function in functions:
        # As GRPOTrainer and RLOOTrainer of TRL 1.16 call it: with the dataset's other columns, their state and loggers.
        more = {"completion_ids": [[1], [2]], "trainer_state": None, "log_extra": print, "answer": ["a", "b"]}
        found = function(prompts=PROMPTS, completions=COMPLETIONS, **more)
        assert found == pytest.approx([one["objectives"][function.objective]["z"] for one in results], abs=1e-5)
        talk = function(prompts=as_turns(PROMPTS, "user"), completions=as_turns(COMPLETIONS, "assistant"), **more)
        assert talk == pytest.approx(found, abs=1e-5)


def test_raw_scores_may_be_asked_for_and_functions_go_to_other_processes(edge):
    functions = pickle.loads(pickle.dumps(reward_functions(edge.url, run=edge.run, value="score")))
    z = reward_functions(edge.url)[0](prompts=PROMPTS, completions=COMPLETIONS)
    raw = functions[0](prompts=PROMPTS, completions=COMPLETIONS)
    assert functions[0].__name__ == "helpful" and raw == pytest.approx([2 * value + 1 for value in z], abs=1e-4)


def test_what_is_missing_is_none_and_is_logged(edge, caplog):
    told: dict[str, float] = {}
    helpful, harmless = reward_functions(edge.url, run=edge.broken_run)
    # A number beside a None would be a sum in which the missing objective is 0.
    assert helpful(prompts=PROMPTS, completions=COMPLETIONS, log_metric=told.__setitem__) == [None, None]
    assert harmless(prompts=PROMPTS, completions=COMPLETIONS, log_metric=told.__setitem__) == [None, None]
    assert told == {"rewards/helpful/missing": 0.0, "rewards/harmless/missing": 1.0}
    assert "harmless: 2 of 2 are missing: " in caplog.text and "helpful: " not in caplog.text
    partly, broken = reward_functions(edge.url, run=edge.broken_run, partial=True)
    assert None not in partly(prompts=PROMPTS, completions=COMPLETIONS)
    assert broken(prompts=PROMPTS, completions=COMPLETIONS) == [None, None]


def test_what_the_server_refuses_is_told_at_once(edge):
    with pytest.raises(InvalidInput, match="no run 'run-0'"):
        reward_functions(edge.url, run="run-0")
    with pytest.raises(InvalidInput, match="allowed: z, score"):
        reward_functions(edge.url, value=cast(Any, "zz"))
    function = reward_functions(edge.url)[0]
    with pytest.raises(InvalidInput, match=r"samples\.0\.prompt"):
        function(prompts=[[{"role": "tool", "content": "x"}]], completions=["y"])
    with pytest.raises(InvalidInput, match="no turn"):
        function(prompts=["x"], completions=[[]])


@contextmanager
def failing(statuses: list[int]) -> Iterator[tuple[str, list[str]]]:
    """A server that answers with these statuses, then as it should; and the paths that it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({"objectives": [{"objective": "helpful", "weight": 1.0}]})

        def do_POST(self) -> None:
            samples = json.loads(self.rfile.read(int(self.headers["content-length"])))["samples"]
            self._answer(
                {"results": [{"objectives": {"helpful": {"z": float(len(one["response"]))}}} for one in samples]}
            )

        def _answer(self, body: object) -> None:
            asked.append(self.path)
            self.send_response(statuses.pop(0) if statuses else 200)
            data = json.dumps(body).encode()
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_busy_server_is_asked_again_and_many_samples_go_in_parts(monkeypatch):
    monkeypatch.setattr(trl, "FIRST_PAUSE", 0.01)
    with failing([503, 502]) as (url, asked):
        (function,) = reward_functions(url)
        completions = ["x" * (i % 7) for i in range(300)]
        assert function(prompts=["p"] * 300, completions=completions) == [float(i % 7) for i in range(300)]
        function(prompts=["p"] * 300, completions=completions)
    assert asked == ["/v1/objectives"] * 3 + ["/v1/score"] * 2


def test_a_server_that_stays_away_is_given_up(monkeypatch):
    monkeypatch.setattr(trl, "FIRST_PAUSE", 0.01)
    with failing([]) as (url, _):
        pass
    with pytest.raises(Unavailable, match=f"{url} gives no rewards"):
        reward_functions(url, patience_seconds=0.1)
    with failing([503] * 99) as (url, _), pytest.raises(Unavailable, match="HTTP 503"):
        reward_functions(url, patience_seconds=0.1)
