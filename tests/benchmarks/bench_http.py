"""What a score costs over HTTP, as plain JSON, against the same samples over gRPC: one server, both asked in turn.

The answers hold the same numbers: over HTTP also z, the weights and their sum.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx2
from charter.v1 import reward_pb2, reward_pb2_grpc

from services.wire.samples import sample_from_message
from tests.benchmarks.bench_scoring import requests
from tests.benchmarks.rows import Row, report, row
from tests.benchmarks.serving import Served, percentile, served

BLOCKS, EACH, WARM = 12, 20, 2
"""Calls are made in blocks, over HTTP and over gRPC in turn; the first blocks are left out."""
SIZES = (1, 16)
"""Samples of a call."""

Call = Callable[[int], object]


def calls_of(server: Served, size: int, http: httpx2.Client, channel: grpc.Channel) -> tuple[Call, Call]:
    """The call of a number over HTTP, and over gRPC: the same samples, by all reward models of the run."""
    score = reward_pb2_grpc.RewardServiceStub(channel).Score
    samples = [request.samples[0] for request in requests(server.reward_models[0])]
    asked: list[tuple[dict[str, Any], reward_pb2.ScoreRequest]] = []
    for start in range(0, len(samples) - size + 1, size):
        chosen = samples[start : start + size]
        records = [sample_from_message(sample) for sample in chosen]
        plain = [
            {"prompt": [turn.model_dump() for turn in record.prompt.messages], "response": record.response}
            for record in records
        ]
        body = {"samples": plain, "run": server.run_id}
        asked.append((body, reward_pb2.ScoreRequest(samples=chosen, run_id=server.run_id)))

    def over_http(number: int) -> object:
        answer = http.post("/v1/score", json=asked[number % len(asked)][0])
        assert answer.is_success, answer.text
        return answer.json()

    return over_http, lambda number: score(asked[number % len(asked)][1], timeout=60)


def in_turn(calls: tuple[Call, Call]) -> tuple[list[float], list[float]]:
    """Milliseconds of each call, of both kinds."""
    result: tuple[list[float], list[float]] = [], []
    for block in range(WARM + BLOCKS):
        for times, call in zip(result, calls, strict=True):
            for number in range(EACH):
                started = time.perf_counter()
                call(number)
                if block >= WARM:
                    times.append(1000 * (time.perf_counter() - started))
    return result


def measure() -> Iterator[Row]:
    with (
        served() as server,
        grpc.insecure_channel(server.address) as channel,
        httpx2.Client(base_url=server.http, timeout=60) as http,
    ):
        for size in SIZES:
            over_http, over_grpc = in_turn(calls_of(server, size, http, channel))
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                ours, baseline = percentile(over_http, share), percentile(over_grpc, share)
                yield row(f"to score {size} by two models, {name}, over HTTP and over gRPC", ours, baseline, "ms")


if __name__ == "__main__":
    report(measure)
