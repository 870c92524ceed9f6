"""The five services as five processes over TCP: a run ends with the same weights and numbers as in one process."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rlhf_core.config import RunConfig
from rlhf_core.run_records import STAGES
from rlhf_core.store.store import Store
from services.clients import CharterClient
from services.embedded import embedded_server
from tests.processes import Processes

TINY = RunConfig.model_validate(
    {
        "model": {"threads": 1},
        "critique": {"prompts": 12, "rounds": 1},
        "sft": {"epochs": 1},
        "label": {"pairs": 24, "base_share": 0.5, "temperature": 1.5, "principles_per_label": 1},
        # Whether the judge is any good is not asked of a run this small.
        "gate": {"allow_ungated": True},
        "reward": {"epochs": 1, "members": 1},
        "norm": {"prompts": 8},
        "ppo": {"steps": 2, "prompts_per_step": 8, "minibatch_size": 8, "epochs": 1, "checkpoint_every": 1},
        "evaluation": {"prompts": 4, "bootstrap": 100, "skills": 0},
    }
)
OF_THE_RUN = ("created_at", "wall_seconds", "stage_seconds", "peak_memory_mb")
"""What a report says of the run itself rather than of its result."""


class Outcome(NamedTuple):
    """What a run leaves that must not depend on where it ran."""

    weights: list[str]
    """Digests of the adapters: equal digests are equal bytes."""
    responses: list[tuple[str, str, str]]
    votes: list[str]
    numbers: list[tuple[str, dict[str, float]]]


def outcome(data: Path, run_id: str) -> Outcome:
    with contextlib.closing(Store.open(data)) as store:
        results = store.stage_results(run_id)
        assert tuple(results) == STAGES
        policies = [store.policy_version(results[stage].policy_version).artifact for stage in ("sft", "ppo")]
        rewards = [store.reward_model(name).artifact for name in results["reward"].reward_models.values()]
        samples = [(s.stage, s.prompt.id, s.response) for s in store.samples(run_id)]
        return Outcome(
            weights=policies + rewards,
            responses=sorted(samples),
            votes=sorted(vote.model_dump_json() for vote in store.votes(run_id=run_id)),
            numbers=[(stage, dict(results[stage].numbers)) for stage in STAGES],
        )


def finished(client: CharterClient) -> str:
    run = client.trainer.create_run(TINY)
    for _ in client.trainer.watch_run(run.id):
        pass
    ended = client.trainer.get_run(run.id)
    assert (ended.state, ended.error) == ("SUCCEEDED", "")
    return run.id


def report(client: CharterClient, run_id: str) -> dict[str, Any]:
    """The report without what tells one run from another."""
    found = json.loads(client.trainer.get_report(run_id).replace(run_id, "RUN"))
    return {name: value for name, value in found.items() if name not in OF_THE_RUN}


class Both(NamedTuple):
    embedded: Outcome
    separate: Outcome
    reports: tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    one, five = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("five")
    with embedded_server(one, TINY.model) as address, CharterClient.connect(address) as client:
        first = finished(client)
        of_one = report(client, first)
    with Processes(five) as processes, CharterClient.connect(processes.address("trainer")) as client:
        second = finished(client)
        yield Both(outcome(one, first), outcome(five, second), (report, json.loads(client.trainer.get_report(second))))
        assert {role: processes.terminate(role) for role in processes.running} == dict.fromkeys(processes.running, 0)


@pytest.mark.slow
def test_the_weights_are_the_same_bytes(both: Both):
    assert both.separate.weights == both.embedded.weights


@pytest.mark.slow
def test_every_response_and_vote_is_the_same(both: Both):
    assert both.separate.responses == both.embedded.responses
    assert both.separate.votes == both.embedded.votes


@pytest.mark.slow
def test_the_numbers_of_every_stage_and_of_the_report_are_the_same(both: Both):
    assert both.separate.numbers == both.embedded.numbers
    of_one, of_five = both.reports
    assert of_five == of_one and len(of_five["stages"]) > 1
