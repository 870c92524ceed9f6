"""Filters of the rollout explorer and the first page of runs on a large store, against their targets.

The baseline of each row is what it may take: 300 ms of a filter, 1 s of the runs. One run has half of the samples, the
others a thousand each. EXPLORE_SAMPLES and EXPLORE_RUNS make the store smaller; EXPLORE_STORE keeps it in a folder, or
takes it from there.
"""

from __future__ import annotations

import itertools
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, get_args

import httpx2

from rlhf_core.records.exploration import Between, SampleFilter
from rlhf_core.records.feedback import Critique, Revision, Verdict
from rlhf_core.records.models import Score
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.store.store import Store
from services.server.config import WITHOUT_MODEL, ConsoleConfig, ServeConfig
from tests.benchmarks.rows import Row, report, row
from tests.services.apps import started

SAMPLES = int(os.environ.get("EXPLORE_SAMPLES", "1000000"))
RUNS = int(os.environ.get("EXPLORE_RUNS", "100000"))
BATCH, PAGE, ROUNDS = 1000, 50, 7
FILTER_MS, PAGE_MS = 300.0, 1000.0
LARGE = "the large one"
"""Name of the run with half of the samples."""
OBJECTIVES = ("helpful", "harmless")
WORDS = ("wash", "rinse", "dry", "scrub", "wipe", "soak", "open", "close", "carefully", "slowly", "vinegar", "soap")

FILTERS: dict[str, SampleFilter] = {
    "no filter": SampleFilter(),
    "a stage": SampleFilter(stage="ppo"),
    "the last stage": SampleFilter(stage="evaluate"),
    "one in ten of scores": SampleFilter(objective="harmless", score=Between(high=-1.28)),
    "one in thousands of scores": SampleFilter(objective="harmless", score=Between(high=-3.5)),
    "both, which hardly meet": SampleFilter(stage="evaluate", objective="harmless", score=Between(high=-3)),
    "KL above 9 nats": SampleFilter(kl=Between(low=9)),
    "violates": SampleFilter(verdict="violates"),
    "violates one principle": SampleFilter(verdict="violates", principle_id="no-fumes"),
    "a frequent word": SampleFilter(text="vinegar"),
    "a word that is nowhere": SampleFilter(text="zeppelin"),
    "a word that is nowhere, in a stage": SampleFilter(stage="ppo", text="zeppelin"),
    "all at once": SampleFilter(
        stage="ppo", objective="harmless", score=Between(high=-1), kl=Between(low=2), text="soap"
    ),
}


def fill(store: Store) -> str:
    """The store's samples and runs; the id of the run with half of the samples."""
    draw = random.Random(0)
    prompts = [Prompt.of(f"How do I clean window {number}?") for number in range(2000)]
    large = store.runs.create("pipeline", "{}", "k", "large", LARGE).id
    numbers = itertools.count()
    for start in range(0, SAMPLES, BATCH):
        run = large if start < SAMPLES // 2 else f"run-small-{start}"
        stage = "evaluate" if run == large and start >= SAMPLES // 2 - 2 * BATCH else "ppo" if start else "critique"
        made = [_sample(next(numbers), draw, prompts, run, stage) for _ in range(BATCH)]
        with store.transaction():
            store.samples.add(made)
            store.scores.add(
                Score(sample_id=sample.id, objective=name, reward_model=f"rm-{name}", score=draw.gauss(0, 1))
                for sample in made
                for name in OBJECTIVES
            )
            store.revisions.add(_critiques(made, draw, run) if stage == "critique" or start % 10_000 == 0 else [])
    for start in range(0, RUNS, BATCH):
        with store.transaction():
            for number in range(start, start + BATCH):
                store.runs.create("pipeline", "{}", "k", f"q{number}", tags={"sweep": str(number % 50)})
    return large


def _sample(number: int, draw: random.Random, prompts: list[Prompt], run: str, stage: str) -> Sample:
    return Sample(
        id=f"sample-{number}",
        prompt=prompts[number % len(prompts)],
        response=" ".join(draw.choices(WORDS, k=45)),
        policy_version=f"policy-{run}-{stage}",
        run_id=run,
        stage=stage,
        kl=draw.expovariate(1) if stage == "ppo" else None,
    )


def _critiques(samples: list[Sample], draw: random.Random, run: str) -> list[Revision]:
    critique: dict[str, Any] = {
        "principle_hash": "h",
        "constitution_hash": "k",
        "template_hash": "t",
        "critic": "c",
        "text": "Said.",
    }
    found = []
    for sample in samples:
        verdict = draw.choice(get_args(Verdict))
        principle = draw.choice(["no-fumes", "no-burns"])
        said = Critique(sample_id=sample.id, principle_id=principle, verdict=verdict, **critique)
        plain = {"sample_id": sample.id, "run_id": run, "critique": said, "before": sample.response}
        found.append(Revision(id=f"r-{sample.id}", round=0, after=sample.response, accepted=False, **plain))
    return found


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Median and slowest of several times, in milliseconds."""
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken), max(taken)


def searches(store: Store, run: str) -> Iterator[Row]:
    """What the store itself takes."""
    for name, wanted in FILTERS.items():
        taken, slowest = timed(partial(store.sample_search.find, run, wanted, PAGE))
        print(f"  {name}: slowest of {ROUNDS} {slowest:.0f} ms", flush=True)
        yield row(f"store, {name}", taken, FILTER_MS, "ms")
    yield row("store, what there is to choose from", timed(partial(store.sample_search.terms, run))[0], FILTER_MS, "ms")


def pages(folder: Path, run: str) -> Iterator[Row]:
    """What a browser waits for: the whole page, through the console and gRPC."""
    replies = f"/runs/{run}/samples"
    asked = {
        "first page of runs": ("/runs", PAGE_MS),
        "runs of a tag": ("/runs?tag=sweep%3D7", PAGE_MS),
        "a run": (f"/runs/{run}", PAGE_MS),
        "replies, no filter": (replies, FILTER_MS),
        "replies, one in thousands of scores": (f"{replies}?objective=harmless&max_score=-3.5", FILTER_MS),
        "replies, KL above 9 nats": (f"{replies}?min_kl=9", FILTER_MS),
        "replies, violates": (f"{replies}?verdict=violates", FILTER_MS),
        "replies, a word that is nowhere": (f"{replies}?text=zeppelin", FILTER_MS),
        "one reply": (f"{replies}/sample-1", FILTER_MS),
    }
    with tempfile.TemporaryDirectory() as socket:
        address, console = f"unix:{socket}/s", ConsoleConfig(address="127.0.0.1:0")
        config = ServeConfig(address=address, data=folder, only=WITHOUT_MODEL, console=console)
        with started(config) as app, httpx2.Client(base_url=app.console_address, timeout=60) as http:
            for name, (path, most) in asked.items():
                assert http.get(path).status_code == 200, path
                taken, slowest = timed(partial(http.get, path))
                print(f"  {name}: slowest of {ROUNDS} {slowest:.0f} ms", flush=True)
                yield row(f"page, {name}", taken, most, "ms")


def measure() -> Iterator[Row]:
    with ExitStack() as stack:
        given = os.environ.get("EXPLORE_STORE")
        folder = Path(given or stack.enter_context(tempfile.TemporaryDirectory()))
        begun, whole = time.perf_counter(), folder / "whole"
        with closing(Store.open(folder)) as store:
            run = store.runs.find(LARGE).id if whole.exists() else fill(store)
            whole.touch()
            print(f"  {SAMPLES:,} samples and {RUNS:,} runs, after {time.perf_counter() - begun:.0f} s", flush=True)
            yield from searches(store, run)
        yield from pages(folder, run)


if __name__ == "__main__":
    report(measure)
