"""A whole run whose critic and judge live behind an endpoint: every stage, over real sockets, with its bill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.records.base import STAGES
from rlhf_core.records.runs import Run
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from services.embedded import embedded_server
from tests.endpoint import Reply, Request, Served, fails, says, served

pytestmark = pytest.mark.slow
KEY = "sk-very-secret"
TINY = {
    "weights": {"helpful": 1, "harmless": 1},
    "model": {"threads": 1},
    "critique": {"prompts": 8, "rounds": 1},
    "sft": {"epochs": 1},
    "label": {"pairs": 24, "temperature": 1.5, "principles_per_label": 1},
    "gate": {"allow_ungated": True},
    "reward": {"epochs": 1, "members": 1},
    "norm": {"prompts": 8},
    "ppo": {"steps": 1, "control_steps": 1, "prompts_per_step": 8, "minibatch_size": 8, "epochs": 1},
    "evaluation": {"prompts": 4, "training_prompts": 4, "bootstrap": 100, "skills": 0},
}


def assistant(request: Request, number: int) -> Reply:
    """Finds fault with the first line of every reply, mends it, and prefers the longer of two; fails now and then."""
    if number % 20 == 3:
        return fails(429, "slow down", Retry_After="0")
    if "Answer A or B" in request.asked:
        a, _, b = request.asked.rpartition("Reply A:\n")[2].partition("Reply B:\n")
        likely = "A" if len(a) > len(b.split("\n\n")[0]) else "B"
        return says(likely, {likely: 0.8, "AB".replace(likely, ""): 0.2}, tokens=(100, 1))
    first = request.body["messages"][0]["content"]
    reply = first.split("Reply:\n")[1].split("\n\nGo line by line")[0] if "Reply:\n" in first else ""
    if "Write only the new reply" in request.asked:
        return says(f"{reply}\nstop when it looks wrong", tokens=(200, 40))
    return says(f'"{reply.splitlines()[0] if reply else "x"}" could harm.\nVerdict: violates', tokens=(100, 20))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, Store, Path, Served]]:
    data = tmp_path_factory.mktemp("endpoint-run")
    with pytest.MonkeyPatch.context() as patch, served(assistant) as server:
        patch.setenv("MY_KEY", KEY)
        endpoint = {"base_url": server.url, "key_env": "MY_KEY", "prompt_price": 10, "completion_price": 100}
        model = {"model": "openai:tiny", "endpoint": endpoint}
        feedback = {"critic": model, "judge": {**model, "protocol": "logprobs"}}
        config = RunConfig.model_validate({**TINY, "feedback": feedback})
        with (
            embedded_server(data, config.model, feedback=config.feedback) as address,
            CharterClient.connect(address) as client,
        ):
            created = client.trainer.create_run(config)
            for _ in client.trainer.watch_run(created.id):
                pass
            run = client.trainer.get_run(created.id)
    store = Store.open(data)
    yield run, store, data, server
    store.close()


def test_every_stage_ran(finished: tuple[Run, Store, Path, Served]):
    run, store, _, _ = finished
    assert (run.state, run.error) == ("SUCCEEDED", "")
    assert tuple(store.stage_results.of_run(run.id)) == STAGES


def test_every_critique_and_vote_names_the_model_and_its_host(finished: tuple[Run, Store, Path, Served]):
    run, store, _, server = finished
    name = f"openai:tiny-1@{server.url.split('/')[2]}"
    steps, votes = store.revisions.of_run(run.id), store.votes.find(run_id=run.id)
    assert steps and {step.critique.critic for step in steps} == {name}
    assert any(step.accepted for step in steps)
    assert votes and {(vote.judge, vote.protocol) for vote in votes} == {(name, "logprobs")}


def test_the_bill_is_that_of_the_requests_that_were_answered(finished: tuple[Run, Store, Path, Served]):
    run, store, data, server = finished
    results = store.stage_results.of_run(run.id)
    report = json.loads((data / "runs" / run.id / "report.json").read_text())
    spent = report["endpoints"]
    assert set(spent) == {"critique", "label"}
    answered = [request for number, request in enumerate(server.requests) if number % 20 != 3]
    # One more than the bill: the probe at the start, as critic and judge are one model.
    assert sum(stage["requests"] for stage in spent.values()) == len(answered) - 1
    assert sum(stage["retries"] for stage in spent.values()) == len(server.requests) - len(answered)
    for stage in spent.values():
        assert stage["cost"] == pytest.approx((stage["prompt_tokens"] * 10 + stage["completion_tokens"] * 100) / 1e6)
    assert results["label"].counts["endpoint.requests"] == results["label"].counts["votes.asked"]
    assert "judge_of_own_family" not in results["label"].counts
    assert report["provenance"]["judge"] == report["provenance"]["critic"] == store.votes.find(run_id=run.id)[0].judge


def test_the_key_is_written_nowhere(finished: tuple[Run, Store, Path, Served]):
    run, _, data, server = finished
    assert server.requests[0].key == f"Bearer {KEY}"
    assert "MY_KEY" in run.config
    files = [path for path in data.rglob("*") if path.is_file()]
    assert len(files) > 3 and not [path for path in files if KEY.encode() in path.read_bytes()]
