"""What gRPC costs a small call: to read a run, and to score one sample.

The direct call asks the thread that owns the store or the model, in this process, as every part of Charter has to.
Two calls of a server without anything of Charter show how much of it is gRPC and the machine: an empty one, and one
that waits for a thread as long as the model works. A processor that has slept for milliseconds wakes up slowly.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import grpc
import torch
from charter.v1 import reward_pb2_grpc, trainer_pb2, trainer_pb2_grpc

import rlhf_core.sandbox
from rlhf_core.models.backbone import Backbone
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.store.store import Store
from services.serving.executor import Executor
from services.wire.samples import sample_from_message
from tests.benchmarks.bench_scoring import requests
from tests.benchmarks.rows import Row, report, row
from tests.benchmarks.serving import MODEL, Served, percentile, served

BLOCKS, EACH, WARM = 16, 25, 2
"""Calls are made in blocks, over gRPC and in process in turn; the first blocks are left out."""
ALLOWED, HOP = 1.0, 0.3
"""Milliseconds, of gRPC and Charter together, and of Charter alone."""
ECHO = """
import asyncio, grpc, time
async def serve():
    async def echo(request, context):
        return request
    async def wait(request, context):
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, float(request))
        return request
    server = grpc.aio.server()
    methods = {"Echo": grpc.unary_unary_rpc_method_handler(echo), "Wait": grpc.unary_unary_rpc_method_handler(wait)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Empty", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()
asyncio.run(serve())
"""

Call = Callable[[], object]


class Small(NamedTuple):
    """A call, and the same work without gRPC."""

    name: str
    over_grpc: Call
    direct: Call


class Times(NamedTuple):
    """Milliseconds of each call."""

    over_grpc: list[float]
    direct: list[float]


def milliseconds(call: Call) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def in_turn(calls: Sequence[Small]) -> list[Times]:
    """Each call's times, a block of each after a block of the one before."""
    result = [Times([], []) for _ in calls]
    for block in range(WARM + BLOCKS):
        for small, times in zip(calls, result, strict=True):
            for kept, call in zip(times, (small.over_grpc, small.direct), strict=True):
                measured = [milliseconds(call) for _ in range(EACH)]
                kept += measured if block >= WARM else []
    return result


class Bare(NamedTuple):
    """Calls of a server without Charter."""

    empty: Call
    waiting: Callable[[float], object]
    """For so many seconds."""


@contextmanager
def without_charter() -> Iterator[Bare]:
    with subprocess.Popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}") as channel:
            echo, wait = channel.unary_unary("/bench.Empty/Echo"), channel.unary_unary("/bench.Empty/Wait")
            yield Bare(lambda: echo(bytes(300)), lambda seconds: wait(str(seconds).encode()))
        process.kill()


def to_read(server: Served, channel: grpc.Channel, store: Store, owner: Executor) -> Small:
    get_run, request = (
        trainer_pb2_grpc.TrainerServiceStub(channel).GetRun,
        trainer_pb2.GetRunRequest(run_id=server.run_id),
    )
    return Small(
        "to read a run", lambda: get_run(request, timeout=60), lambda: owner.call(lambda: store.runs.get(server.run_id))
    )


def to_score(server: Served, channel: grpc.Channel, owner: Executor) -> Small:
    """The direct call is to a model of the same size as the server's."""
    owner.call(lambda: torch.set_num_threads(MODEL.threads))
    backbone = Backbone.load(str(Path(rlhf_core.sandbox.__file__).parent / "model"), MODEL)
    model = RewardModel.create(backbone, "helpful", "helpful", members=3, seed=0)
    score = reward_pb2_grpc.RewardServiceStub(channel).Score
    asked = requests(server.reward_models[0])[:EACH]
    samples = (sample_from_message(request.samples[0]) for request in asked)
    conversations = [(sample.prompt, sample.response) for sample in samples]
    over, direct = count(), count()
    return Small(
        "to score one sample",
        lambda: score(asked[next(over) % EACH], timeout=60),
        lambda: owner.call(partial(model.score, [conversations[next(direct) % EACH]])),
    )


def measure() -> Iterator[Row]:
    with (
        without_charter() as bare,
        served() as server,
        grpc.insecure_channel(server.address) as channel,
        closing(Store.open(server.data)) as store,
        closing(Executor("owner")) as owner,
    ):
        alone = [milliseconds(bare.empty) for _ in range(BLOCKS * EACH)]
        yield row(f"an empty call without Charter, p50, against {ALLOWED:g} ms", percentile(alone, 0.5), ALLOWED, "ms")
        yield from compared(to_read(server, channel, store, owner))
        scoring = to_score(server, channel, owner)
        seconds = percentile([milliseconds(scoring.direct) for _ in range(BLOCKS * EACH)], 0.5) / 1000
        wait = Small(
            f"to wait {1000 * seconds:.1f} ms for a thread without Charter",
            lambda: bare.waiting(seconds),
            lambda: owner.call(lambda: time.sleep(seconds)),
        )
        both = wait, scoring
        times = in_turn(both)
        for small, own in zip(both, times, strict=True):
            yield from told(small, own)
        without, with_charter = (added(own) for own in times)
        yield row(
            f"to score one sample: what Charter adds to such a hop at p50, against {HOP:g} ms",
            with_charter - without,
            HOP,
            "ms",
        )


def compared(small: Small) -> Iterator[Row]:
    (own,) = in_turn([small])
    yield from told(small, own)


def added(times: Times) -> float:
    """Milliseconds at p50."""
    return percentile(times.over_grpc, 0.5) - percentile(times.direct, 0.5)


def told(small: Small, times: Times) -> Iterator[Row]:
    over_grpc, direct = times
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        ours, baseline = percentile(over_grpc, share), percentile(direct, share)
        yield row(f"{small.name}, {name}, over gRPC and direct", ours, baseline, "ms")
    yield row(f"{small.name}: what gRPC adds at p50, against {ALLOWED:g} ms", added(times), ALLOWED, "ms")


if __name__ == "__main__":
    report(measure)
