"""The five services as five processes over TCP: a run ends with the same weights and numbers as in one process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from services.clients import CharterClient
from services.embedded import embedded_server
from tests.processes import Processes
from tests.small_run import SMALL, Outcome, finished, outcome, report


class Both(NamedTuple):
    embedded: Outcome
    separate: Outcome
    reports: tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    one, five = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("five")
    with embedded_server(one, SMALL.model) as address, CharterClient.connect(address) as client:
        first = finished(client)
        of_one = report(client, first)
    with Processes(five) as processes, CharterClient.connect(processes.address("trainer")) as client:
        second = finished(client)
        yield Both(outcome(one, first), outcome(five, second), (of_one, report(client, second)))
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
