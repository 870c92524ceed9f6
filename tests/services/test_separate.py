"""The five services as five processes over TCP: a run ends with the same weights and numbers as in one process."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.client.client import CharterClient
from services.embedded import embedded_server
from tests.processes import Processes
from tests.small_run import SMALL, Outcome, finished, outcome, report


class Both(NamedTuple):
    embedded: Outcome
    separate: Outcome
    reports: tuple[dict[str, Any], dict[str, Any]]
    pages: dict[str, dict[tuple[str, ...], float]]
    """What each of the five processes told Prometheus at the end."""
    logs: dict[str, str]
    run_id: str


def page(address: str) -> dict[tuple[str, ...], float]:
    text = urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read().decode()
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    one, five = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("five")
    with embedded_server(one, SMALL.model) as address, CharterClient.connect(address) as client:
        first = finished(client)
        of_one = report(client, first)
    with Processes(five) as processes, CharterClient.connect(processes.address("trainer")) as client:
        second = finished(client)
        pages = {role: page(address) for role, address in processes.pages.items()}
        logs = {role: processes.log(role) for role in processes.running}
        reports = (of_one, report(client, second))
        yield Both(outcome(one, first), outcome(five, second), reports, pages, logs, second)
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


@pytest.mark.slow
def test_each_process_tells_of_its_own_work_and_all_of_the_runs(both: Both):
    pages = both.pages
    assert {role: told["charter_runs", "SUCCEEDED"] for role, told in pages.items()} == dict.fromkeys(pages, 1)
    assert pages["policy"]["charter_tokens_total",] > 0
    assert pages["reward"]["charter_batch_rows_count", "scores"] > 0
    assert pages["critique"]["charter_batch_rows_count", "judge"] > 0
    assert pages["trainer"]["charter_run_value", "kl", "ppo"] != 0
    assert pages["preference"]["charter_tokens_total",] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("role", "method"), [("policy", "Policy"), ("critique", "Critique"), ("reward", "Reward")])
def test_every_process_logs_the_calls_of_the_run_and_no_text(both: Both, role: str, method: str):
    lines = [json.loads(line) for line in both.logs[role].splitlines() if line.startswith("{")]
    calls = [line for line in lines if line.get("run") == both.run_id]
    assert calls and {line["code"] for line in calls} == {"OK"}
    assert all(line["method"].startswith(f"charter.v1.{method}Service/") and line["request"] for line in calls)
    texts = {response for _, _, response in both.separate.responses if len(response) > 20}
    assert texts and not [text for text in texts if text[:20] in both.logs[role]]
