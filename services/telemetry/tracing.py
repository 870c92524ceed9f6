"""Traces by OpenTelemetry, where the optional packages are installed: every call is a span, health checks are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import util
from typing import Any

from rlhf_core.errors import InvalidInput

NEEDED = ("opentelemetry.sdk", "opentelemetry.instrumentation.grpc", "opentelemetry.exporter.otlp.proto.grpc")


@contextmanager
def tracing(exporter: Any = None) -> Iterator[None]:
    """Trace the servers and the channels that the block makes, and hand over what is left at its end; once a process.

    Spans go to `exporter`, or else by OTLP to where the variables of OpenTelemetry say
    (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, ...); a caller's `traceparent` is taken up.

    Raises InvalidInput where the packages are not installed.
    """
    if any(_missing(name) for name in NEEDED):
        raise InvalidInput("traces: need OpenTelemetry; pip install -e '.[otel]' in the project's folder", "traces")
    # Here, because these are optional packages.
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorServer, GrpcInstrumentorClient, filters
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # The environment's own name goes before this one.
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "charter"}).merge(Resource.create()))
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    shown = filters.negate(filters.health_check())
    instrumentors = (GrpcAioInstrumentorServer(filter_=shown), GrpcInstrumentorClient(filter_=shown))
    # The instrumentation of clients knows the provider of the process only.
    trace.set_tracer_provider(provider)
    for instrumentor in instrumentors:
        instrumentor.instrument()
    try:
        yield
    finally:
        for instrumentor in instrumentors:
            instrumentor.uninstrument()
        provider.shutdown()


def _missing(name: str) -> bool:
    try:
        return util.find_spec(name) is None
    except ModuleNotFoundError:
        return True
