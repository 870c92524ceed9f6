"""What a process tells Prometheus, and the page where it tells it. One registry for all servers of the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

from charter.v1 import policy_pb2
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from rlhf_core.errors import CharterError, InvalidInput
from rlhf_core.records.base import RunState
from rlhf_core.records.runs import Run, StepMetrics

REGISTRY = CollectorRegistry()
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

CALLS = Counter("charter_calls", "Calls that have ended.", ["service", "method", "code"], registry=REGISTRY)
CALL_SECONDS = Histogram(
    "charter_call_seconds",
    "From a call's arrival to its last answer.",
    ["service", "method"],
    buckets=SECONDS,
    registry=REGISTRY,
)
CALLS_AT_WORK = Gauge("charter_calls_at_work", "Calls that have not ended.", registry=REGISTRY)
TOKENS = Counter("charter_tokens", "Tokens that the policy has written for callers.", registry=REGISTRY)
BATCH_ROWS = Histogram(
    "charter_batch_rows", "Rows that the model answered in one pass.", ["queue"], buckets=ROWS, registry=REGISTRY
)
WAITING_ROWS = Gauge("charter_waiting_rows", "Rows asked for and not yet answered.", ["queue"], registry=REGISTRY)
RUN_VALUE = Gauge(
    "charter_run_value",
    "The latest values of the run at work: losses, KL, rewards.",
    ["stage", "name"],
    registry=REGISTRY,
)
LEASES_LOST = Counter("charter_leases_lost", "Runs that another worker took from this process.", registry=REGISTRY)

RunsNow = Callable[[], tuple[dict[RunState, int], list[Run]]]
"""How many runs are in each state, and those that are being carried out."""


def written_tokens(answer: Any) -> int:
    """Count the tokens of a response of PolicyService."""
    if isinstance(answer, policy_pb2.GenerateResponse):
        return sum(sample.tokens for sample in answer.samples)
    if isinstance(answer, policy_pb2.GenerateStreamResponse) and answer.finished:
        return answer.tokens
    return 0


def note_step(metrics: StepMetrics) -> None:
    """Note the values of a run's latest step."""
    for name, value in metrics.values.items():
        RUN_VALUE.labels(metrics.stage, name).set(value)


class RunsCollector(Collector):
    """Asks the store when it is asked, so that every process of an installation tells the same."""

    def __init__(self, runs_now: RunsNow):
        self._runs_now = runs_now

    def describe(self) -> list[GaugeMetricFamily]:
        """Describe nothing: the store is not asked before the page is."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        states = GaugeMetricFamily("charter_runs", "Runs of the store by state.", labels=["state"])
        steps = GaugeMetricFamily("charter_run_step", "Steps done in the stage at work.", labels=["run", "stage"])
        of = GaugeMetricFamily("charter_run_steps", "Steps that this stage has in all.", labels=["run", "stage"])
        try:
            counts, at_work = self._runs_now()
        except CharterError:
            # A page without the runs says more than no page: the store may be closed already.
            return
        # States without runs too: an autoscaler takes a number that is not there for an error, and keeps its pods.
        for state in get_args(RunState):
            states.add_metric([state], counts.get(state, 0))
        for run in at_work:
            steps.add_metric([run.id, run.stage], run.step)
            of.add_metric([run.id, run.stage], run.steps)
        yield from (states, steps, of)


@contextmanager
def page(address: str, runs_now: RunsNow) -> Iterator[str]:
    """Serve /metrics on host:port while the block lasts; gives the address with the port that was taken.

    Raises InvalidInput when the address is taken.
    """
    host, _, port = address.rpartition(":")
    collector = RunsCollector(runs_now)
    REGISTRY.register(collector)
    try:
        try:
            server, thread = start_http_server(int(port), host.strip("[]"), REGISTRY)
        except OSError as error:
            told = f"metrics: cannot listen on {address}: {error.strerror}; choose another port"
            raise InvalidInput(told, "metrics") from None
        try:
            yield f"{host}:{server.server_port}"
        finally:
            _close(server, thread)
    finally:
        REGISTRY.unregister(collector)


def _close(server: Any, thread: threading.Thread) -> None:
    server.shutdown()
    server.server_close()
    thread.join()
