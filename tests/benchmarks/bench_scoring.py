"""256 callers with one sample each, against the same calls one after the other; and what health feels of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import cycle

import grpc
from charter.v1 import reward_pb2, reward_pb2_grpc

from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.sandbox.sandbox import Sandbox
from services.wire.samples import sample_to_message
from tests.benchmarks.probe import Probe
from tests.benchmarks.rows import Row, report, row
from tests.benchmarks.serving import Served, percentile, served

CALLERS, ALONE, EACH, ROUNDS = 256, 60, 2, 3
"""Callers at once, calls one after the other, calls of each caller; and how often both are measured in turn."""
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


async def rates(server: Served) -> tuple[float, float]:
    """The best of the rounds, of both in turn: one at a time, and together."""
    asked = requests(server.reward_models[0])
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = reward_pb2_grpc.RewardServiceStub(channel)
        await together(stub, asked)
        found = []
        for _ in range(ROUNDS):
            found.append((await one_at_a_time(stub, asked), await together(stub, asked)))
            print("  calls a second, one at a time and together: {:.0f} and {:.0f}".format(*found[-1]), flush=True)
    return max(alone for alone, _ in found), max(many for _, many in found)


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
        alone, many = asyncio.run(rates(server))
        yield row(f"score, {CALLERS} callers of one sample against one at a time", many, alone, "calls/s")
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
