"""What Charter adds to a small call: a score by a model that takes no time, against an echo by bare gRPC.

Both come over a socket from another process and wait for a thread; both are asked in turn. What the processor spends on
a call is told too, as that does not depend on who else is on the machine.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Never

import grpc
from charter.v1 import reward_pb2, reward_pb2_grpc

from rlhf_core.records.models import Score
from rlhf_core.records.samples import Sample
from rlhf_core.store.store import Store
from services.rpc.reward import RewardService
from services.security.tls import TlsConfig
from services.security.tokens import for_server
from services.server.limits import Limits
from services.server.server import Server, Service
from services.serving.executor import Executor
from services.serving.model_queue import ModelQueue
from tests.benchmarks.bench_streams import processor_seconds
from tests.benchmarks.rows import Row, report, row
from tests.records import reward_model

BLOCKS, EACH, WARM = 12, 300, 1
ALLOWED = 0.3
"""Milliseconds."""
REWARD = "charter.v1.RewardService"


class Instant:
    """A model that has its answer already."""

    def feedback(self, *_: object, **__: object) -> Never:
        raise AssertionError("only scores are asked for")

    def score(self, samples: Sequence[Sample], *models: str) -> list[Score]:
        return [
            Score(sample_id=sample.id, objective="helpful", reward_model=model, score=0.5)
            for model in models
            for sample in samples
        ]


async def echo(request: bytes, _: object) -> bytes:
    await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0)
    return request


async def serve(folder: Path, charter: bool) -> None:
    """Print the address, and answer until killed."""
    if not charter:
        bare = grpc.aio.server()
        handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
        bare.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Bare", handlers),))
        print(f"127.0.0.1:{bare.add_insecure_port('127.0.0.1:0')}", flush=True)
        await bare.start()
        await bare.wait_for_termination()
    store = Store.open(folder)
    run = store.runs.create("pipeline", "{}", "hash", "")
    store.reward_models.add(reward_model(id="instant", run_id=run.id))
    models = ModelQueue(Instant(), Executor("model"))
    tokens, _ = for_server(None, "")
    server = Server("127.0.0.1:0", tokens, TlsConfig(), Limits(), insecure=False, reflects=False)
    await server.open([REWARD], [])
    servicer = RewardService(models, store, Executor("store", 4))
    await server.offer([Service(REWARD, reward_pb2_grpc.add_RewardServiceServicer_to_server, servicer)])
    print(server.address, flush=True)
    await asyncio.Event().wait()


def started(kind: str, folder: str) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "tests.benchmarks.bench_hop", "serve", kind, folder]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def milliseconds(call: Callable[[], object]) -> list[float]:
    found = []
    for _ in range(EACH):
        begun = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - begun))
    return found


def measure() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        servers = [started(kind, folder) for kind in ("charter", "bare")]
        try:
            with grpc.insecure_channel(servers[0][1]) as ours, grpc.insecure_channel(servers[1][1]) as bare:
                prompt = {"text": "How do I dust a shelf?"}
                sample = {"prompt": prompt, "response": "first take a clean cloth then rinse it with warm water"}
                asked = reward_pb2.ScoreRequest(samples=[sample], reward_models=["instant"])
                score, data = reward_pb2_grpc.RewardServiceStub(ours).Score, asked.SerializeToString()
                plain = bare.unary_unary("/bench.Bare/Echo")
                calls = (lambda: score(asked, timeout=60), lambda: plain(data, timeout=60))
                yield from compared(calls, [process.pid for process, _ in servers])
        finally:
            for process, _ in servers:
                process.kill()
                process.wait()


def compared(calls: Sequence[Callable[[], object]], pids: Sequence[int]) -> Iterator[Row]:
    p50s: tuple[list[float], list[float]] = [], []
    costs: tuple[list[float], list[float]] = [], []
    for block in range(WARM + BLOCKS):
        for kept, spent, call, pid in zip(p50s, costs, calls, pids, strict=True):
            before = processor_seconds(pid)
            times = milliseconds(call)
            if block >= WARM:
                kept.append(statistics.median(times))
                spent.append(1000 * (processor_seconds(pid) - before) / EACH)
    ours, bare = (statistics.median(each) for each in p50s)
    yield row("a score by a model that takes no time, p50, and a bare echo", ours, bare, "ms")
    added = statistics.median([a - b for a, b in zip(*p50s, strict=True)])
    yield row(f"what Charter adds at p50, against {ALLOWED:g} ms", added, ALLOWED, "ms")
    yield row("the server's processor for such a call", *(statistics.fmean(each) for each in costs), "ms")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(Path(sys.argv[3]), sys.argv[2] == "charter"))
    report(measure)
