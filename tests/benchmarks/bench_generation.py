"""Responses to many callers, over gRPC, against `model.generate` in batches; and what a small call costs beside that.

The samples end where the sandbox model ends them. The texts of many callers are as long as each one asks, as the model
that writes them has random weights.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import torch
from charter.v1 import common_pb2, policy_pb2, policy_pb2_grpc
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

import rlhf_core.sandbox
from rlhf_core.config.run import ModelConfig
from rlhf_core.inference.engine import Engine
from rlhf_core.inference.generate import generate
from rlhf_core.inference.sampling import row_seeds
from rlhf_core.inference.sequence import SamplingParams, TokenMeaning, TokenSequence
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Prompt
from rlhf_core.sandbox.sandbox import Sandbox
from services.embedded import embedded_server
from tests.benchmarks.rows import Row, report, row
from tests.benchmarks.serving import MODEL

SANDBOX_MODEL = Path(rlhf_core.sandbox.__file__).parent / "model"
CALLERS, EACH, SHORTEST, LONGEST = 64, 4, 4, 128
PROMPTS, SAMPLES, MAX_TOKENS = 48, 8, 96
SMALL_CALLS, ROUNDS = 200, 3


def texts(count: int) -> list[str]:
    """The sandbox's tasks."""
    prompts: list[Prompt] = list(Sandbox().prompts)
    return [prompts[number % len(prompts)].messages[-1].content for number in range(count)]


def lengths(count: int) -> list[int]:
    """Many short ones and few long ones: even on a logarithmic scale, in an order drawn once."""
    spread = [round(SHORTEST * (LONGEST / SHORTEST) ** (i / (count - 1))) for i in range(count)]
    random.Random(0).shuffle(spread)
    return spread


@contextmanager
def random_model() -> Iterator[Path]:
    """The sandbox's architecture and tokenizer with random weights, which do not end a text early."""
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(SANDBOX_MODEL)).save_pretrained(folder)
        AutoTokenizer.from_pretrained(SANDBOX_MODEL).save_pretrained(folder)
        yield Path(folder)


class OnlyBase:
    """inference.engine.Policies of a model without adapters."""

    def __init__(self, backbone: Backbone):
        self._backbone = backbone

    def using_policy(self, version_id: str, in_use: Collection[str] = ()) -> AbstractContextManager[None]:
        return self._backbone.adapters.using(None)

    def policy_folder(self, version_id: str) -> Path | None:
        return None


class Baseline:
    """`model.generate` on left-padded batches, sampling as the service does."""

    def __init__(self, folder: Path):
        self.backbone = Backbone.load(str(folder), ModelConfig(base_model=str(folder), threads=MODEL.threads))

    def seconds(self, asked: Sequence[str], wanted: Sequence[int], n: int = 1, batch: int = 64) -> tuple[float, int]:
        """Time and tokens that were wanted; a batch is written until its longest response is done."""
        rendered = [self.backbone.render(Prompt.of(text).messages) for text in asked]
        started, tokens = time.perf_counter(), 0
        for start in range(0, len(asked), batch):
            ids, mask = self.backbone.pad_left(rendered[start : start + batch])
            limits = wanted[start : start + batch]
            settings = GenerationConfig(
                max_new_tokens=max(limits),
                do_sample=True,
                top_k=0,
                num_return_sequences=n,
                eos_token_id=list(self.backbone.stop_ids),
                pad_token_id=0,
            )
            with torch.inference_mode():
                model: Any = self.backbone.model
                written = model.generate(ids, attention_mask=mask, generation_config=settings)
            for index, response in enumerate(written[:, ids.shape[1] :].tolist()):
                ends = [i + 1 for i, token in enumerate(response) if token in self.backbone.stop_ids]
                tokens += min(ends[0] if ends else len(response), limits[index // n])
        return time.perf_counter() - started, tokens


def request(text: str, max_tokens: int, seed: int, n: int = 1) -> policy_pb2.GenerateRequest:
    prompt = common_pb2.Prompt(text=text)
    return policy_pb2.GenerateRequest(prompts=[prompt], max_tokens=max_tokens, seed=seed, n=n)


async def callers(address: str, asked: Sequence[str], wanted: Sequence[int], n: int = 1) -> tuple[float, int]:
    """Time and tokens, when so many callers each ask for their share, one response after the other."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = policy_pb2_grpc.PolicyServiceStub(channel)
        todo = iter(enumerate(zip(asked, wanted, strict=True)))
        tokens = 0

        async def caller() -> None:
            nonlocal tokens
            for seed, (text, limit) in todo:
                answer = await stub.Generate(request(text, limit, seed, n), timeout=600)
                tokens += sum(sample.tokens for sample in answer.samples)

        started = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return time.perf_counter() - started, tokens


def alternately(
    ours: Callable[[], tuple[float, int]], baseline: Callable[[], tuple[float, int]]
) -> tuple[list[tuple[float, int]], list[tuple[float, int]]]:
    pairs = [(ours(), baseline()) for _ in range(ROUNDS)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def skewed(address: str, baseline: Baseline) -> Iterator[Row]:
    for each in (EACH, 1):
        count = CALLERS * each
        asked, wanted = texts(count), lengths(count)
        mine, theirs = alternately(
            lambda asked=asked, wanted=wanted: asyncio.run(callers(address, asked, wanted)),
            lambda asked=asked, wanted=wanted: baseline.seconds(asked, wanted),
        )
        yield row(
            f"generate, {CALLERS} callers of {each} responses of {SHORTEST} to {LONGEST} tokens against batches of 64",
            statistics.median(seconds for seconds, _ in mine),
            statistics.median(seconds for seconds, _ in theirs),
            "s",
        )


def samples(address: str, baseline: Baseline) -> Iterator[Row]:
    asked, wanted = texts(PROMPTS), [MAX_TOKENS] * PROMPTS
    mine, theirs = alternately(
        lambda: asyncio.run(callers(address, asked, wanted, SAMPLES)),
        lambda: baseline.seconds(asked, wanted, SAMPLES, 64 // SAMPLES),
    )
    yield row(
        f"generate, {SAMPLES} samples of each of {PROMPTS} prompts against batches of 64 samples",
        statistics.median(tokens / seconds for seconds, tokens in mine),
        statistics.median(tokens / seconds for seconds, tokens in theirs),
        "tokens/s",
    )


def engines(backbone: Backbone) -> Iterator[Row]:
    """The continuous batch beside the loop that rollouts are written with, on the same rows; and their texts."""
    prompts = [backbone.render(Prompt.of(text).messages) for text in texts(PROMPTS)]
    asked = list(row_seeds(prompts, [0] * len(prompts), SAMPLES))
    found: dict[str, list[list[int]]] = {}

    def loop() -> tuple[float, int]:
        started = time.perf_counter()
        written = generate(backbone, prompts, n=SAMPLES, temperature=1.0, max_tokens=MAX_TOKENS, seed=0)
        found["loop"] = [result.tokens for result in written]
        return time.perf_counter() - started, sum(map(len, found["loop"]))

    def batch() -> tuple[float, int]:
        started = time.perf_counter()
        found["batch"] = _together(backbone, asked)
        return time.perf_counter() - started, sum(map(len, found["batch"]))

    mine, theirs = alternately(batch, loop)
    yield row(
        f"continuous batch against the loop of rollouts, {len(asked)} responses",
        statistics.median(tokens / seconds for seconds, tokens in mine),
        statistics.median(tokens / seconds for seconds, tokens in theirs),
        "tokens/s",
    )
    alone = [_together(backbone, [one])[0] for one in asked[:CALLERS]]
    same = sum(a == b for a, b in zip(alone, found["batch"], strict=False))
    yield row("texts that are the same alone and in a batch", same, len(alone), "texts")
    same = sum(a == b for a, b in zip(found["loop"], found["batch"], strict=True))
    yield row("texts that are the same from the loop and from a batch", same, len(asked), "texts")


def _together(backbone: Backbone, asked: Sequence[tuple[list[int], int]]) -> list[list[int]]:
    meaning = TokenMeaning(backbone.decode, backbone.stop_ids)
    engine = Engine("native", backbone, OnlyBase(backbone))
    params = SamplingParams(max_tokens=MAX_TOKENS)
    rows = [TokenSequence(tuple(prompt), seed, "base", params, meaning) for prompt, seed in asked]
    engine.scheduler.add(rows)
    while not all(row.ended for row in rows):
        engine.step()
    return [row.tokens for row in rows]


def small_calls(address: str, backbone: Backbone) -> Iterator[Row]:
    """A response of one token over gRPC, one call after the other, and from the same engine without any service."""
    meaning = TokenMeaning(backbone.decode, backbone.stop_ids)
    engine = Engine("native", backbone, OnlyBase(backbone))
    prompt = Prompt.of("Hello")

    def direct(seed: int) -> None:
        ids = tuple(backbone.render(prompt.messages))
        row = TokenSequence(ids, seed, "base", SamplingParams(max_tokens=1), meaning)
        engine.scheduler.add([row])
        engine.step()
        row.text()

    with grpc.insecure_channel(address) as channel:
        stub = policy_pb2_grpc.PolicyServiceStub(channel)
        over_grpc, alone, info = [], [], []
        for seed in range(SMALL_CALLS):
            over_grpc.append(_milliseconds(lambda seed=seed: stub.Generate(request("Hello", 1, seed), timeout=60)))
            alone.append(_milliseconds(lambda seed=seed: direct(seed)))
            info.append(_milliseconds(lambda: stub.GetServerInfo(policy_pb2.GetServerInfoRequest(), timeout=60)))
    ours, baseline = statistics.median(over_grpc), statistics.median(alone)
    yield row("generate, p50 of a call for one token over gRPC against a direct one", ours, baseline, "ms")
    yield row("gRPC overhead of that call, against the 1.0 ms it may have", ours - baseline, 1.0, "ms")
    yield row("GetServerInfo, p50 of a call that asks no model, against the same", statistics.median(info), 1.0, "ms")


def _milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def measure() -> Iterator[Row]:
    torch.set_num_threads(MODEL.threads)
    baseline = Baseline(SANDBOX_MODEL)
    with tempfile.TemporaryDirectory() as data, embedded_server(Path(data), MODEL, works=False) as address:
        yield from small_calls(address, baseline.backbone)
        yield from samples(address, baseline)
    yield from engines(baseline.backbone)
    with random_model() as folder, tempfile.TemporaryDirectory() as data:
        model = ModelConfig(base_model=str(folder), threads=MODEL.threads)
        baseline = Baseline(folder)
        with embedded_server(Path(data), model, works=False) as address:
            yield from skewed(address, baseline)


if __name__ == "__main__":
    report(measure)
