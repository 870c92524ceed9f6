"""Chat streams over HTTP against the same streams over gRPC: 64 at once, one server, both in turn.

Both ask for the same tokens. A caller over HTTP is a socket that reads what comes, and the JSON of the last event
alone: what a client in Python makes of each event takes longer than what the server does for it.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import grpc
from charter.v1 import common_pb2, policy_pb2, policy_pb2_grpc

from rlhf_core.sandbox.sandbox import Sandbox
from services.wire.enums import ROLES, number
from tests.benchmarks.rows import Row, report, row
from tests.benchmarks.serving import POLICY, Served, served

STREAMS, TOKENS, ROUNDS, WARM = 64, 48, 7, 1
"""Streams at once, tokens of each at most, and how often both are measured in turn; the first round is left out."""


def turns() -> list[list[dict[str, str]]]:
    """The messages of each stream."""
    prompts = list(Sandbox().prompts)[:STREAMS]
    return [[turn.model_dump() for turn in prompt.messages] for prompt in prompts]


async def over_grpc(stub: policy_pb2_grpc.PolicyServiceStub, talk: list[dict[str, str]], seed: int) -> int:
    """Tokens of one stream."""
    said = [common_pb2.Message(role=number(ROLES, turn["role"]), content=turn["content"]) for turn in talk]
    asked = policy_pb2.GenerateStreamRequest(
        prompt=common_pb2.Prompt(messages=said), policy_version=POLICY, max_tokens=TOKENS, seed=seed
    )
    last = 0
    async for piece in stub.GenerateStream(asked):
        last = piece.tokens
    return last


async def over_http(address: tuple[str, int], talk: list[dict[str, str]], seed: int) -> int:
    """Tokens of one stream."""
    asked: dict[str, Any] = {"model": POLICY, "messages": talk, "max_tokens": TOKENS, "seed": seed, "stream": True}
    body = json.dumps(asked | {"stream_options": {"include_usage": True}}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection(*address)
    writer.write(head.encode() + body)
    status = await reader.readline()
    assert status.startswith(b"HTTP/1.1 200 "), status
    kept = b""
    while data := await reader.read(2**16):
        kept = (kept + data)[-2000:]
    writer.close()
    last = kept[kept.rindex(b"data: {") :].partition(b"\n\n")[0]
    return json.loads(last.removeprefix(b"data: "))["usage"]["completion_tokens"]


class Streams(NamedTuple):
    """Of each round: tokens a second, and milliseconds of the server's processor for a token."""

    rates: list[float]
    costs: list[float]


async def rounds(server: Served) -> tuple[Streams, Streams]:
    """Over HTTP and over gRPC."""
    talks = turns()
    found = Streams([], []), Streams([], [])
    at = urlsplit(server.http)
    address = at.hostname or "", at.port or 0
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = policy_pb2_grpc.PolicyServiceStub(channel)
        for turn in range(WARM + ROUNDS):
            for kept, call, asks in zip(found, (over_http, over_grpc), (address, stub), strict=True):
                started, spent = time.perf_counter(), processor_seconds(server.process.pid)
                tokens = sum(await asyncio.gather(*(call(asks, talk, seed) for seed, talk in enumerate(talks))))
                if turn >= WARM:
                    kept.rates.append(tokens / (time.perf_counter() - started))
                    kept.costs.append(1000 * (processor_seconds(server.process.pid) - spent) / tokens)
            if turn >= WARM:
                http, plain = (kept.rates[-1] for kept in found)
                print(f"  tokens a second, HTTP and gRPC: {http:.0f} and {plain:.0f}", flush=True)
    return found


def processor_seconds(pid: int) -> float:
    """What a process has had of the processors."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure() -> Iterator[Row]:
    """The best of the rounds, as others on the machine only take from both; and what the server spends, whoever is."""
    with served() as server:
        http, plain = asyncio.run(rounds(server))
    name = f"{STREAMS} chat streams at once, over HTTP and over gRPC"
    yield row(name, max(http.rates), max(plain.rates), "tokens/s")
    costs = statistics.median(http.costs), statistics.median(plain.costs)
    yield row(f"{name}: the server's processor for a token", *costs, "ms")


if __name__ == "__main__":
    report(measure)
