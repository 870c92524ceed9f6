"""What callers feel while PPO trains in the same process, and what PPO feels of them: p50 and p99, without and with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.config.run import RunConfig
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.sandbox.sandbox import Sandbox
from services.client.client import CharterClient
from tests.benchmarks.probe import Probe
from tests.benchmarks.rows import Row, report, row
from tests.benchmarks.serving import POLICY, Served, percentile, served

SECONDS, TOKENS, PAUSE_SECONDS = 15.0, 24, 0.05
"""Of one measurement; of one answer; between two calls, as somebody who types makes it."""


def generate(client: CharterClient, prompt: Prompt, seed: int) -> None:
    client.policy.generate([prompt], policy_version=POLICY, max_tokens=TOKENS, seed=seed)


def score(client: CharterClient, prompt: Prompt, reward_model: str) -> None:
    sample = Sample(id="s", prompt=prompt, response="Wipe it with a damp cloth.", policy_version="base")
    client.reward.score([sample], [reward_model])


def called(client: CharterClient, server: Served) -> dict[str, list[float]]:
    """Milliseconds of one caller's answers, for as long as a measurement lasts."""
    prompts: list[Prompt] = list(Sandbox().prompts)
    times: dict[str, list[float]] = {"generate": [], "score": []}
    until, number = time.perf_counter() + SECONDS, 0
    while time.perf_counter() < until:
        prompt = prompts[number % len(prompts)]
        calls = {
            "generate": partial(generate, client, prompt, number),
            "score": partial(score, client, prompt, server.reward_models[0]),
        }
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(1000 * (time.perf_counter() - started))
            time.sleep(PAUSE_SECONDS)
        number += 1
    return times


def watched(client: CharterClient, server: Served) -> dict[str, list[float]]:
    """The same with the health of the server meanwhile."""
    probe = Probe(server.address)
    times = called(client, server)
    return times | {"health": probe.stop()}


def pace(client: CharterClient, run_id: str, until_step: int) -> float:
    """Seconds that each step takes, from the next one on to the one given."""
    first = wait_for(client, run_id, 0)
    began = time.perf_counter()
    last = wait_for(client, run_id, until_step - 1)
    return (time.perf_counter() - began) / (last - first)


def wait_for(client: CharterClient, run_id: str, step: int) -> int:
    """The step that the run has come to, once it is beyond the one given."""
    while (run := client.trainer.get_run(run_id)).step <= step:
        assert run.state in ("QUEUED", "RUNNING"), run.error
        time.sleep(0.02)
    return run.step


def measure() -> Iterator[Row]:
    with served() as server, CharterClient.connect(server.address) as client:
        before = watched(client, server)
        ppo = PpoConfig(steps=500, checkpoint_every=500, eval_every=500, ptx_coef=0.0)
        run = client.trainer.create_run(RunConfig(kind="ppo", from_run=server.run_id, ppo=ppo))
        alone = pace(client, run.id, until_step=5)
        first, began = client.trainer.get_run(run.id).step, time.perf_counter()
        beside = watched(client, server)
        took, steps = time.perf_counter() - began, client.trainer.get_run(run.id).step - first
        client.trainer.cancel_run(run.id)
    for name in before:
        for label, share in (("p50", 0.5), ("p99", 0.99)):
            ours, baseline = percentile(beside[name], share), percentile(before[name], share)
            yield row(f"{name} {label} while PPO trains against no run", ours, baseline, "ms")
    yield row("PPO step while one caller asks against nobody", took / max(1, steps), alone, "s")


if __name__ == "__main__":
    report(measure)
