"""1,000 streams at once for a minute (SOAK_SECONDS): what they end with, and the server's memory before and after.

Every fifth caller leaves in the middle of its answer, some answers are long, and each caller begins anew when it is
done.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
from charter.v1 import policy_pb2, policy_pb2_grpc

from rlhf_core.sandbox.sandbox import Sandbox
from services.wire.samples import prompt_to_message
from tests.benchmarks.rows import Row, report, row
from tests.benchmarks.serving import Served, Settings, served

STREAMS = 1000
SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
WARM_SECONDS = min(20.0, SECONDS / 2)
WARM_ROUNDS, SETTLED = 6, 1.01
"""The same load before memory is first looked at, again and again until a round adds less than 1 %: allocators and
caches have grown to their size then. What still grows after so many rounds is a leak, and shows in the row."""
STUCK_SECONDS = 120.0
"""A stream that takes longer is stuck."""
LENGTHS = (4, 16, 48, 96)


def request(number: int, prompts: list) -> policy_pb2.GenerateStreamRequest:
    tokens = LENGTHS[number % len(LENGTHS)]
    prompt = prompt_to_message(prompts[number % len(prompts)])
    return policy_pb2.GenerateStreamRequest(prompt=prompt, max_tokens=tokens, seed=number)


async def load(address: str, seconds: float) -> Counter[str]:
    """How the streams ended: done, left, or the name of a status."""
    prompts, ends = list(Sandbox().prompts), Counter[str]()
    until = time.monotonic() + seconds

    async def caller(number: int, stub: policy_pb2_grpc.PolicyServiceStub) -> None:
        while time.monotonic() < until:
            ends[await stream(stub, request(number, prompts), leaves=number % 5 == 0)] += 1
            number += STREAMS
            await asyncio.sleep(0.01)

    # A connection takes a hundred streams at once.
    channels = [grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(10)]
    stubs = [policy_pb2_grpc.PolicyServiceStub(channel) for channel in channels]
    await asyncio.gather(*(caller(number, stubs[number % len(stubs)]) for number in range(STREAMS)))
    for channel in channels:
        await channel.close()
    return ends


async def stream(stub: policy_pb2_grpc.PolicyServiceStub, asked: policy_pb2.GenerateStreamRequest, leaves: bool) -> str:
    call = stub.GenerateStream(asked, timeout=STUCK_SECONDS)
    try:
        async for piece in call:
            if leaves:
                call.cancel()
                return "left"
            if piece.finished:
                return "done"
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "no last piece"


def memory(pid: int) -> float:
    """MiB that are the process's own."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def loaded(server: Served, seconds: float) -> tuple[Counter[str], float]:
    """How the streams ended, and the server's memory when they have gone."""
    ends = asyncio.run(load(server.address, seconds))
    time.sleep(2)
    return ends, memory(server.process.pid)


def settled(server: Served) -> float:
    """The server's memory when the load has stopped adding to it, or after the last round."""
    found = [memory(server.process.pid)]
    while len(found) <= WARM_ROUNDS and (len(found) == 1 or found[-1] > SETTLED * found[-2]):
        found.append(loaded(server, WARM_SECONDS)[1])
    print(f"  MiB after each {WARM_SECONDS:g} s of warm-up: {', '.join(f'{mib:.0f}' for mib in found)}", flush=True)
    return found[-1]


def measure() -> Iterator[Row]:
    with served(Settings(calls=2 * STREAMS)) as server:
        before = settled(server)
        ends, after = loaded(server, SECONDS)
    print(f"  ended: {dict(ends)}", flush=True)
    fine = ends["done"] + ends["left"] + ends["RESOURCE_EXHAUSTED"]
    yield row(f"memory after {STREAMS} streams for {SECONDS:g} s against before", after, before, "MiB")
    yield row("streams that ended well or were refused against all", fine, ends.total(), "streams")
    ended = ends.total() - ends["DEADLINE_EXCEEDED"] - ends["no last piece"]
    yield row(f"streams that ended within {STUCK_SECONDS:g} s against all", ended, ends.total(), "streams")


if __name__ == "__main__":
    report(measure)
