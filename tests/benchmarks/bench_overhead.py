"""What gRPC costs a small call: one sample scored by a server, against the same scored in this process, in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import torch
from charter.v1 import reward_pb2, reward_pb2_grpc

import rlhf_core.sandbox
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.reward_model import RewardModel
from rlhf_core.records import Prompt
from services.convert import sample_from_message
from tests.benchmarks.bench_scoring import requests
from tests.benchmarks.rows import Row, report, row
from tests.benchmarks.serving import MODEL, percentile, served

CALLS, WARM = 300, 30
ALLOWED = 1.0
"""Milliseconds."""


def milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def direct(asked: reward_pb2.ScoreRequest, model: RewardModel) -> float:
    """The request's own sample, on a model of the same size as the server's."""
    sample = sample_from_message(asked.samples[0])
    conversation: tuple[Prompt, str] = (sample.prompt, sample.response)
    return milliseconds(lambda: model.score([conversation]))


def measure() -> Iterator[Row]:
    torch.set_num_threads(MODEL.threads)
    backbone = Backbone.load(str(Path(rlhf_core.sandbox.__file__).parent / "model"), MODEL)
    model = RewardModel.create(backbone, "helpful", "helpful", members=3, seed=0)
    with served() as server, grpc.insecure_channel(server.address) as channel:
        score = reward_pb2_grpc.RewardServiceStub(channel).Score
        asked = requests(server.reward_models[0])[:WARM]
        served_ms, direct_ms = [], []
        for number in range(WARM + CALLS):
            request = asked[number % len(asked)]
            both = milliseconds(lambda request=request: score(request, timeout=60)), direct(request, model)
            if number >= WARM:
                served_ms.append(both[0])
                direct_ms.append(both[1])
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        ours, baseline = percentile(served_ms, share), percentile(direct_ms, share)
        yield row(f"score of one sample, {name}, over gRPC against in process", ours, baseline, "ms")
    added = percentile(served_ms, 0.5) - percentile(direct_ms, 0.5)
    yield row(f"what gRPC adds to a small call at p50, against the {ALLOWED:g} ms allowed", added, ALLOWED, "ms")


if __name__ == "__main__":
    report(measure)
