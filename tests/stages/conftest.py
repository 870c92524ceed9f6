"""A world of numbers: a reply states its own quality, so that judges can be written by hand and their votes counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.load import parse_constitution
from rlhf_core.feedback.templates import COMPARE_HASH
from rlhf_core.feedback.voters import vote_id
from rlhf_core.records.feedback import Usage, Vote
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.stages.context import Context, Toolbox
from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process

HEAD = """
schema: constitution/v1
id: numbers
version: 1.0.0
title: Numbers
objectives:
  helpful: {default_weight: 1}
  harmless: {default_weight: 1}
principles:
"""
LAW = (
    HEAD
    + """
  - {id: big, serves: {helpful: 1}, compare: Which reply has the bigger number?}
  - {id: large, serves: {helpful: 1}, compare: Which reply is larger?}
  - {id: calm, serves: {harmless: 1}, compare: Which reply is calmer?}
"""
)


def quality(response: str) -> int:
    return int(response.split()[0])


Leans = Callable[[str, str], float]
"""Log-odds that the reply shown first is better."""


def by_number(first: str, second: str) -> float:
    return 0.05 * (quality(first) - quality(second))


class NumberJudge:
    """interfaces.Feedback of one rule; counts the votes that it is asked for, by principle."""

    def __init__(self, leans: Leans = by_number, name: str = "judge"):
        self._leans = leans
        self.name = name
        self.template_hash = COMPARE_HASH
        self.usage = Usage()
        self.asked: dict[str, int] = {}

    def compare(self, questions: Sequence[tuple[Comparison, Any]]) -> list[Vote]:
        for _, principle in questions:
            self.asked[principle.id] = self.asked.get(principle.id, 0) + 2
        return [self._vote(pair, principle, swapped) for pair, principle in questions for swapped in (False, True)]

    def _vote(self, pair: Comparison, principle: Any, swapped: bool) -> Vote:
        shown = pair.swap() if swapped else pair
        lead = self._leans(shown.a.response, shown.b.response) * (-1 if swapped else 1)
        p = 1 / (1 + math.exp(-lead))
        return Vote(
            id=vote_id(pair, principle, self.name, swapped, self.template_hash),
            comparison_id=pair.id,
            principle_id=principle.id,
            principle_hash=principle.hash,
            template_hash=self.template_hash,
            constitution_hash="",
            judge=self.name,
            swapped=swapped,
            logprob_a=math.log(p),
            logprob_b=math.log(1 - p),
            label_mass=1.0,
            run_id=pair.run_id,
        )


class NumberSampler:
    """interfaces.Sampler whose replies begin with a number from 0 to 96, all fixed by prompt and seed."""

    def __init__(self) -> None:
        self.calls = 0

    def generate(self, prompts: Sequence[Prompt], *, policy_version: str, n: int = 1, seed: int = 0, **_: Any):
        self.calls += 1
        samples = []
        for prompt in prompts:
            for k in range(n):
                drawn = int(prompt.id[-6:], 16) * (7 + seed % 13 + k)
                response = f"{drawn % 97} of {'x' * (drawn // 97 % 9)}"
                samples.append(Sample(id="drawn", prompt=prompt, response=response, policy_version=policy_version))
        return samples


class NumberGold:
    objectives = ("helpful", "harmless")

    def score(self, prompt: Prompt, response: str) -> dict[str, float]:
        return dict.fromkeys(self.objectives, float(quality(response)))


class NumberWorld:
    def __init__(self, prompts: int):
        self.prompts = tuple(Prompt.of(f"How many, {n}?") for n in range(prompts))
        self.gold = NumberGold()


class Desk:
    """Makes contexts of claimed runs on one store."""

    def __init__(self, store: Store, folder: Path):
        self.store = store
        self.folder = folder
        self.sampler = NumberSampler()
        self.notes: list[str] = []

    def context(
        self, judge: NumberJudge, config: dict[str, Any], law: str = LAW, prompts: int = 120, gold: bool = True
    ) -> Context:
        settings = RunConfig.model_validate({"weights": {"helpful": 1, "harmless": 1}, **config})
        constitution = parse_constitution(law, "numbers.yaml")
        self.store.constitutions.add(constitution.hash, constitution.id, law, "numbers.yaml")
        self.store.runs.create(settings.kind, settings.model_dump_json(), constitution.hash, "")
        run = self.store.runs.claim(this_process(), 3600)
        assert run is not None
        return Context(
            run=run,
            config=settings,
            constitution=constitution,
            weights=settings.weights,
            store=self.store,
            tools=self._tools(judge, NumberWorld(prompts) if gold else None),
            results={"sft": StageResult(run_id="sft-run", stage="sft", policy_version="policy-1")},
            report=lambda kind, body: self.notes.append(body) if kind == "note" else None,
            should_stop=lambda: False,
        )

    def _tools(self, judge: Any, world: Any) -> Toolbox:
        unused: Any = None
        base: Any = SimpleNamespace(name="base", size=0)
        return Toolbox(
            sampler=self.sampler,
            feedback=lambda law: judge,
            scorer=unused,
            backbone=base,
            base_of=unused,
            on_device=unused,
            world=world,
            runs_folder=self.folder,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    store = Store.open(tmp_path / "store")
    yield Desk(store, tmp_path)
    store.close()
