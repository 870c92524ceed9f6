"""Traces: a call is a span of the client and one of the server in one trace; without the packages one line says so."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rlhf_core.errors import InvalidInput, NotFound
from services.client.client import CharterClient
from services.server.config import WITHOUT_MODEL, ServeConfig
from services.telemetry.tracing import tracing
from tests.services.apps import serving


def ask(address: str) -> None:
    with CharterClient.connect(address) as client, pytest.raises(NotFound):
        client.trainer.get_run("nope")
    with grpc.insecure_channel(address) as channel:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())


def test_a_call_is_a_span_on_both_sides_of_one_trace_and_health_checks_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "charter-trainer")
    exported = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    config = ServeConfig(address="127.0.0.1:0", data=tmp_path, only=WITHOUT_MODEL)
    plain = grpc.aio.server
    with tracing(exported):
        serving(config, ask)
    spans = exported.get_finished_spans()
    names = [(span.kind.name, span.name.rpartition("/")[2]) for span in spans]
    assert sorted(names) == [("CLIENT", "GetRun"), ("SERVER", "GetRun")]
    assert len({span.context.trace_id for span in spans}) == 1
    assert {span.resource.attributes["service.name"] for span in spans} == {"charter-trainer"}
    assert grpc.aio.server is plain


def test_without_the_packages_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"pip install -e '\.\[otel\]'"), tracing():
        raise AssertionError("not reached")
