"""256 callers with one sample each, against the same calls one after the other, and against all their samples in one
call of a model in this process; and what health feels of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import grpc
from charter.v1 import reward_pb2, reward_pb2_grpc

import rlhf_core.sandbox
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.sandbox.sandbox import Sandbox
from services.wire.samples import sample_from_message, sample_to_message
from tests.benchmarks.probe import Probe
from tests.benchmarks.rows import Row, report, row
from tests.benchmarks.serving import MODEL, Served, percentile, served

CALLERS, ALONE, EACH, ROUNDS = 256, 60, 2, 5
"""Callers at once, calls one after the other, calls of each caller; and how often all are measured in turn."""
WORDS = "first take a clean cloth then rinse it with warm water and wipe the shelf until it shines"


def requests(reward_model: str) -> list[reward_pb2.ScoreRequest]:
    """One for each caller: different tasks, and answers of 3 to 30 words."""
    prompts: list[Prompt] = list(Sandbox().prompts)
    words = WORDS.split()
    made = []
    for number in range(CALLERS):
        text = " ".join(word for word, _ in zip(cycle(words), range(3 + number * 7 % 28), strict=False))
        prompt = prompts[number % len(prompts)]
        sample = Sample(id=f"s{number}", prompt=prompt, response=text, policy_version="base")
        made.append(reward_pb2.ScoreRequest(samples=[sample_to_message(sample)], reward_models=[reward_model]))
    return made


async def one_at_a_time(stub: reward_pb2_grpc.RewardServiceStub, asked: list[reward_pb2.ScoreRequest]) -> float:
    """Calls a second."""
    started = time.perf_counter()
    for request in asked[:ALONE]:
        await stub.Score(request, timeout=60)
    return ALONE / (time.perf_counter() - started)


async def together(stub: reward_pb2_grpc.RewardServiceStub, asked: list[reward_pb2.ScoreRequest]) -> float:
    """Calls a second of callers who each ask again when they are answered."""

    async def caller(request: reward_pb2.ScoreRequest) -> None:
        for _ in range(EACH):
            await stub.Score(request, timeout=60)

    started = time.perf_counter()
    await asyncio.gather(*map(caller, asked))
    return CALLERS * EACH / (time.perf_counter() - started)


def direct(asked: list[reward_pb2.ScoreRequest]) -> Callable[[], float]:
    """Samples a second of a model of the same size in this process, which gets all samples of the callers at once."""
    backbone = Backbone.load(str(Path(rlhf_core.sandbox.__file__).parent / "model"), MODEL)
    model = RewardModel.create(backbone, "helpful", "helpful", members=3, seed=0)
    samples = [sample_from_message(request.samples[0]) for request in asked]
    conversations = [(sample.prompt, sample.response) for sample in samples]

    def rate() -> float:
        started = time.perf_counter()
        for _ in range(EACH):
            model.score(conversations)
        return CALLERS * EACH / (time.perf_counter() - started)

    return rate


class Rates(NamedTuple):
    """Samples a second, the best of the rounds."""

    alone: float
    together: float
    direct: float


async def rates(server: Served) -> Rates:
    """All three in turn."""
    asked = requests(server.reward_models[0])
    at_once = direct(asked)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = reward_pb2_grpc.RewardServiceStub(channel)
        await together(stub, asked)
        at_once()
        found: list[Rates] = []
        for _ in range(ROUNDS):
            found.append(Rates(await one_at_a_time(stub, asked), await together(stub, asked), at_once()))
            told = "  samples a second, one at a time, together, and in one direct call: {:.0f}, {:.0f} and {:.0f}"
            print(told.format(*found[-1]), flush=True)
    return Rates(*(max(column) for column in zip(*found, strict=True)))


async def saturate(server: Served, seconds: float) -> None:
    """All callers at once, as long as it takes."""
    asked = requests(server.reward_models[0])
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = reward_pb2_grpc.RewardServiceStub(channel)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            await together(stub, asked)


def measure() -> Iterator[Row]:
    with served() as server:
        found = asyncio.run(rates(server))
        yield row(
            f"score, {CALLERS} callers of one sample against one at a time", found.together, found.alone, "calls/s"
        )
        yield row(
            f"score, {CALLERS} callers of one sample against all in one direct call",
            found.together,
            found.direct,
            "samples/s",
        )
        probe = Probe(server.address)
        time.sleep(5)
        idle = probe.stop()
        probe = Probe(server.address)
        asyncio.run(saturate(server, 10))
        busy = probe.stop()
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        ours, baseline = percentile(busy, share), percentile(idle, share)
        yield row(f"health {name}, model saturated by {CALLERS} callers against idle", ours, baseline, "ms")


if __name__ == "__main__":
    report(measure)
