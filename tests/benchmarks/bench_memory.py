"""What the server keeps of a burst once nobody calls: with memory given back at rest, and with that switched off.

Each kind of call has a server of its own, which has answered a few of them before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice

from rlhf_core.constitution.load import load_constitution
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.sandbox.sandbox import Sandbox
from services.client.client import CharterClient
from services.serving.executor import REST_SECONDS
from tests.benchmarks.bench_scoring import WORDS
from tests.benchmarks.bench_soak import memory
from tests.benchmarks.rows import Row, report, row
from tests.benchmarks.serving import Served, Settings, served

BURST, FEW = 64, 4
"""Prompts of a burst, and of the calls before it."""

Call = Callable[[CharterClient, Served, list[Prompt]], object]


def sample(prompt: Prompt, number: int) -> Sample:
    """A reply of 5 to 125 words, no two lengths alike, as buffers of many sizes are what stays."""
    words = " ".join(islice(cycle(WORDS.split()), 5 + number * 53 % 121))
    return Sample(id=f"s{number}", prompt=prompt, response=words, policy_version="base")


def generate(client: CharterClient, _: Served, prompts: list[Prompt]) -> object:
    return client.policy.generate(prompts, n=1, max_tokens=64, seed=1)


def critique(client: CharterClient, _: Served, prompts: list[Prompt]) -> object:
    principle = load_constitution("household").principles[0]
    samples = [sample(prompt, number) for number, prompt in enumerate(prompts)]
    return client.critique.feedback("household").critique([(one, principle) for one in samples])


def compare(client: CharterClient, _: Served, prompts: list[Prompt]) -> object:
    principle = load_constitution("household").principles[0]
    pairs = [
        Comparison.of(sample(prompt, number), sample(prompt, number + 7), "") for number, prompt in enumerate(prompts)
    ]
    return client.critique.feedback("household").compare([(pair, principle) for pair in pairs])


def score(client: CharterClient, server: Served, prompts: list[Prompt]) -> object:
    samples = [sample(prompt, number) for number, prompt in enumerate(prompts)]
    return client.reward.score(samples, server.reward_models)


def kept(call: Call, rests: bool) -> tuple[float, float]:
    """MiB more than before the burst: at once, and once the server has had nothing to do for a while."""
    prompts = list(islice(cycle(Sandbox().prompts), BURST))
    with served(Settings(rests=rests)) as server, CharterClient.connect(server.address) as client:
        call(client, server, prompts[:FEW])
        time.sleep(REST_SECONDS + 1)
        before = memory(server.process.pid)
        call(client, server, prompts)
        after = memory(server.process.pid)
        time.sleep(REST_SECONDS + 1)
        return after - before, memory(server.process.pid) - before


def measure() -> Iterator[Row]:
    for call in (score, generate, compare, critique):
        (at_once, given_back), (_, stays) = kept(call, rests=True), kept(call, rests=False)
        yield row(f"{call.__name__}: kept of a burst of {BURST}, at rest and at once", given_back, at_once, "MiB")
        yield row(f"{call.__name__}: kept of it, given back and not", given_back, stays, "MiB")


if __name__ == "__main__":
    report(measure)
