"""A name of several processes: calls are spread over them, and go on where one of them is gone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.client.connection import OPTIONS


class Counting(health.HealthServicer):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def Check(self, request, context):
        self.calls += 1
        return super().Check(request, context)


@pytest.fixture
def two() -> Iterator[list[tuple[grpc.Server, Counting, int]]]:
    made = []
    for _ in range(2):
        server, counting = grpc.server(ThreadPoolExecutor(1)), Counting()
        counting.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(counting, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        made.append((server, counting, port))
    yield made
    for server, _, _ in made:
        server.stop(None)


def test_calls_are_spread_over_all_processes_of_a_name_and_go_on_without_one(two):
    address = "ipv4:" + ",".join(f"127.0.0.1:{port}" for _, _, port in two)
    (first, one, _), (_, other, _) = two
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        for _ in range(20):
            check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=20)
        assert one.calls + other.calls == 20 and min(one.calls, other.calls) >= 5
        first.stop(None).wait()
        for _ in range(5):
            check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=20)
        assert one.calls + other.calls == 25
