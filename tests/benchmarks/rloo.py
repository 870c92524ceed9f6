"""TRL's RLOO on three of Charter's objectives: over HTTP, against the same reward models in TRL's own process.

`python -m tests.benchmarks.rloo [rows.json]`, with a Python that has `trl` beside Charter. Runs of both take turns, and
train the sandbox's model from its beginning. Then one more run, against a server whose reward models fail on one reply
in ten, and which tells one call in ten to wait: no reward may become 0, and nothing may stop.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRL_EXPERIMENTAL_SILENCE": "1"}

import torch
from charter.integrations.trl import reward_functions

import rlhf_core.sandbox
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.base_models import Bases
from rlhf_core.records.models import Score
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.sandbox.sandbox import Sandbox
from rlhf_core.store.store import Store
from services.serving.reward_model_cache import RewardShelf
from tests.benchmarks.rows import Row, report, row
from tests.benchmarks.serving import MODEL, Served, Settings, served

FOLDER = str(Path(rlhf_core.sandbox.__file__).parent / "model")
STEPS, ROUNDS = int(os.environ.get("RLOO_STEPS", "10")), int(os.environ.get("RLOO_ROUNDS", "3"))
"""Steps of a run, and runs of each kind."""
COMPLETIONS, EACH, TOKENS = 32, 4, 32
"""Completions of a step, of each prompt, and tokens of each at most."""
ALLOWED = 1.15
"""Times as long may a step take over HTTP."""
EVERY = 10
"""One reply in so many fails."""

Function = Callable[..., list[float | None]]


class Steps(NamedTuple):
    """What a training run took and was given."""

    seconds: list[float]
    rewards: list[list[float | None]]
    """What each function gave, call by call."""


class OwnModels:
    """The server's own reward models in this process, which all functions of a call ask once."""

    def __init__(self, store: Store, models: Sequence[str]):
        backbone = Backbone.load(FOLDER, MODEL)
        self._shelf, self.models = RewardShelf(Bases(backbone, MODEL), store, "own-", len(models)), models
        self._asked: list[Any] = []
        self._scores: list[Score] = []

    def function(self, index: int) -> Function:
        """One objective's z: the scale of these models has mean 0 and deviation 1."""

        def call(prompts: list[Any], completions: list[Any], **_: Any) -> list[float | None]:
            if self._asked is not completions:
                samples = [_sample(*both) for both in zip(prompts, completions, strict=True)]
                self._asked, self._scores = completions, self._shelf.score(samples, self.models)
            rows = len(completions)
            return [score.score for score in self._scores[index * rows :][:rows]]

        call.__name__ = self.models[index]
        return call


def _sample(asked: list[dict[str, str]], said: list[dict[str, str]]) -> Sample:
    return Sample(id="", prompt=Prompt.of(asked[-1]["content"]), response=said[-1]["content"], policy_version="")


def train(functions: Sequence[Function], steps: int) -> Steps:
    import trl
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback

    clock: list[float] = []
    rewards: list[list[float | None]] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.append(time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.append(time.perf_counter())

    def noted(function: Function) -> Function:
        def call(*given: Any, **named: Any) -> list[float | None]:
            rewards.append(function(*given, **named))
            return rewards[-1]

        call.__name__ = function.__name__
        return call

    prompts = [prompt for prompt in Sandbox().prompts if prompt.split == "train"][: 4 * COMPLETIONS]
    rows = Dataset.from_list([{"prompt": [turn.model_dump() for turn in prompt.messages]} for prompt in prompts])
    with tempfile.TemporaryDirectory() as folder:
        settings = trl.RLOOConfig(
            output_dir=folder,
            per_device_train_batch_size=COMPLETIONS,
            num_generations=EACH,
            max_completion_length=TOKENS,
            max_steps=steps,
            report_to="none",
            save_strategy="no",
            logging_steps=1000,
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            seed=0,
            model_init_kwargs={"dtype": "float32"},
        )
        trainer = trl.RLOOTrainer(
            model=FOLDER,
            reward_funcs=[noted(function) for function in functions],
            train_dataset=rows,
            processing_class=AutoTokenizer.from_pretrained(FOLDER, padding_side="left"),
            args=settings,
            callbacks=[Clock()],
        )
        trainer.train()
    return Steps([later - earlier for earlier, later in pairwise(clock)], rewards)


def alternating(server: Served, steps: int, rounds: int) -> Iterator[Row]:
    with closing(Store.open(server.data)) as store:
        own = OwnModels(store, server.reward_models)
        functions = [own.function(index) for index in range(len(own.models))]
        yield from _in_turn(reward_functions(server.http, run=server.run_id), functions, steps, rounds)


def _in_turn(over_http: Sequence[Function], own: Sequence[Function], steps: int, rounds: int) -> Iterator[Row]:
    kinds = {"HTTP": over_http, "in process": own}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(rounds):
        for name in list(kinds)[:: 1 if turn % 2 else -1]:
            found = train(kinds[name], steps)
            seconds[name] += found.seconds[1:]
            print(f"  {name}: {statistics.median(found.seconds[1:]):.3f} s a step", flush=True)
    http, plain = (statistics.median(seconds[name]) for name in kinds)
    yield row(f"RLOO, {len(own)} objectives: a step over HTTP and in process", http, plain, "s")
    yield row(f"the same: over HTTP by in process, against {ALLOWED:g}", http / plain, ALLOWED, "")


def failing(steps: int) -> Iterator[Row]:
    with served(Settings(constitution="assistant", fails_every=EVERY)) as server:
        functions = reward_functions(server.http, run=server.run_id)
        found = train(functions, steps)
    given = [reward for call in found.rewards for reward in call]
    yield row("steps of RLOO with a failing judge, of those asked for", len(found.seconds), steps, "steps")
    yield row("rewards that are missing, as None, of all", given.count(None), len(given), "rewards")
    yield row("rewards that are 0", given.count(0.0), 0, "rewards")


def measure() -> Iterator[Row]:
    torch.set_num_threads(MODEL.threads)
    with served(Settings(constitution="assistant")) as server:
        yield from alternating(server, STEPS, ROUNDS)
    yield from failing(STEPS)


if __name__ == "__main__":
    report(measure)
