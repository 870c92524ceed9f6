"""`charter serve` as an operator sees it: its page of metrics, its lines of log, and how it leaves."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import pytest
from charter.v1 import trainer_pb2, trainer_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from rlhf_core.errors import Unavailable
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from services.process import FORCED
from services.telemetry import logs, metrics
from tests.processes import MAIN, ROOT, free_ports


class Process:
    def __init__(self, folder: Path):
        self.page = f"127.0.0.1:{free_ports(1)[0]}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHARTER")}
        settings = {"METRICS": self.page, "LOG_FORMAT": "json", "LOG_LEVEL": "info", "GRACE_SECONDS": "30"}
        self._log, data = folder / "log", folder / "data"
        with closing(Store.open(data)) as store:
            self.run = store.runs.create("pipeline", "{}", "k1", "r").id
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", MAIN, "serve", "--port", "0", "--only", "trainer", "--data", str(data)],
                env=inherited | {f"CHARTER_SERVER__{name}": value for name, value in settings.items()},
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split(";")[0].removeprefix("serving on ")

    def samples(self) -> dict[tuple[str, ...], float]:
        """The page, by name and the values of the labels."""
        text = urllib.request.urlopen(f"http://{self.page}/metrics", timeout=10).read().decode()
        families = text_string_to_metric_families(text)
        return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]


@contextmanager
def serving(folder: Path) -> Iterator[Process]:
    running = Process(folder)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving(tmp_path_factory.mktemp("process")) as running:
        yield running


def test_an_operator_sees_calls_and_runs_and_reads_each_call_in_a_line(process: Process):
    with grpc.insecure_channel(process.address) as channel:
        stub = trainer_pb2_grpc.TrainerServiceStub(channel)
        named = (("x-request-id", "mine-1"), ("x-charter-run", "run-7"))
        _, call = stub.ListRuns.with_call(trainer_pb2.ListRunsRequest(), metadata=named)
        assert ("x-request-id", "mine-1") in [tuple(pair) for pair in call.trailing_metadata()]
        with pytest.raises(grpc.RpcError):
            stub.GetRun(trainer_pb2.GetRunRequest(run_id="nope"), metadata=(("x-request-id", "not a name!"),))
    with CharterClient.connect(process.address) as client:
        client.trainer.cancel_run(process.run)
        client.trainer.cancel_run(process.run)
    page = process.samples()
    service = "charter.v1.TrainerService"
    # Prometheus sorts labels by name: code, method, service.
    assert page["charter_calls_total", "OK", "CancelRun", service] == 2
    assert page["charter_calls_total", "NOT_FOUND", "GetRun", service] == 1
    assert page["charter_call_seconds_count", "ListRuns", service] == 1
    assert page["charter_runs", "CANCELLED"] == 1
    assert page["charter_runs", "QUEUED"] == 0, "an autoscaler keeps its pods where a number is missing"
    assert page["charter_calls_at_work",] == 0
    first, second = [line for line in process.lines() if line["logger"] == "charter.calls"][:2]
    assert (first["method"], first["code"]) == (f"{service}/ListRuns", "OK")
    assert (first["request"], first["run"], first["level"]) == ("mine-1", "run-7", "info")
    assert second["code"] == "NOT_FOUND" and second["request"] != "not a name!" and "run" not in second


def test_an_unknown_method_makes_no_new_label(process: Process):
    with grpc.insecure_channel(process.address) as channel:
        for number in range(3):
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(f"/made.up.Service{number}/Method", lambda x: x, lambda x: x)(b"")
    calls = {key for key in process.samples() if key[0] == "charter_calls_total"}
    assert ("charter_calls_total", "UNIMPLEMENTED", "", "") in calls
    assert not [key for key in calls if "made.up" in key[3]]


def test_sigterm_lets_watchers_go_and_ends_well(tmp_path: Path):
    with serving(tmp_path) as process, grpc.insecure_channel(process.address) as channel:
        stub = trainer_pb2_grpc.TrainerServiceStub(channel)
        answers = iter(stub.WatchRun(trainer_pb2.WatchRunRequest(run_id=process.run)))
        next(answers)
        process.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as caught:
            list(answers)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert process.process.wait(15) == 0


@pytest.mark.slow
def test_a_second_signal_ends_a_drain_that_takes_long(tmp_path: Path):
    with serving(tmp_path) as process, grpc.insecure_channel(process.address) as channel:
        held = threading.Event()

        def requests() -> Iterator[bytes]:
            yield b"\x3a\x00"  # list_services
            held.wait(60)

        # Reflection is a stream of the caller's, which keeps the drain waiting for as long as it lasts.
        path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        stream = channel.stream_stream(path, lambda x: x, lambda x: x)(requests())
        assert next(stream)
        process.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.process.wait(1)
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(5) == FORCED
        held.set()
        stream.cancel()


def test_a_taken_port_of_the_page_is_told_in_one_line(tmp_path: Path, process: Process):
    command = [sys.executable, "-c", MAIN, "serve", "--port", "0", "--only", "trainer", "--data", str(tmp_path)]
    again = subprocess.run(
        command,
        env=os.environ | {"CHARTER_SERVER__METRICS": process.page},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert again.returncode == 2
    assert again.stderr.splitlines() == [
        f"error: metrics: cannot listen on {process.page}: Address already in use; choose another port"
    ]


def test_a_line_carries_the_run_that_it_concerns_and_an_error_its_traceback():
    record = logging.makeLogRecord({"name": "charter.worker", "levelname": "ERROR", "msg": "a %s", "args": ("b",)})
    with logs.concerning("run-1"):
        logs._stamp(record)
    try:
        raise ValueError("wrong")
    except ValueError:
        record.exc_info = sys.exc_info()
    line = json.loads(logs.JsonLines().format(record))
    assert (line["message"], line["run"], line["level"]) == ("a b", "run-1", "error")
    assert line["traceback"].endswith("ValueError: wrong")
    assert "run=run-1" in logs.TextLines().format(record)


def test_the_page_goes_on_without_the_runs_when_the_store_is_closed():
    def closed() -> tuple[dict[str, int], list]:
        raise Unavailable("the store is closed")

    with metrics.page("127.0.0.1:0", closed) as where:
        text = urllib.request.urlopen(f"http://{where}/metrics", timeout=10).read().decode()
    assert "charter_calls_at_work" in text and "charter_runs{" not in text
