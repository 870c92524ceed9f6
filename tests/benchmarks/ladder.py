"""Which link of the chain is weak: the same PPO from the same fine-tuned policy, paid by four things.

    python -m tests.benchmarks.ladder --data /tmp/ladder --seeds 0 1 2
    python -m tests.benchmarks.ladder --data /tmp/ladder --rungs judged nothing --harmless 0 .25 .5 .75 1

    gold      the world's own graders
    taught    reward models trained on gold labels of the lines of the replies that the run labelled
    judged    the run's own reward models, which learned from the AI's labels
    nothing   no score at all, as PPO's control

Each is PPO as the run has it; gold pays and teaches here and nowhere else. Prints and writes (ladder.json) helpful and
harmless gold of greedy answers to held-out and to training prompts, and the part of the way from the shipped model to
the best possible, with its 95 % interval. What an earlier call began goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import rlhf_core.sandbox
from rlhf_core.config.run import RunConfig
from rlhf_core.data.prompt_draws import draw
from rlhf_core.data.reward_examples import GradedLines
from rlhf_core.evaluation.evaluate import evaluate
from rlhf_core.evaluation.norm_pack import build_norm_pack
from rlhf_core.evaluation.policy_rows import PolicyRows, gold_sd
from rlhf_core.inference.generate import generate
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.policy import Policy
from rlhf_core.models.reward_inputs import lines_of
from rlhf_core.records.base import Stage
from rlhf_core.records.models import GoldScore, NormPack
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.reward_models.ensemble import Scoring
from rlhf_core.reward_models.reward_model import RewardModel, Scorer, mean_scores
from rlhf_core.sandbox.gold import MISTAKE, THIRDS, SandboxGold
from rlhf_core.sandbox.world import prompts as world_prompts
from rlhf_core.store.store import Store
from rlhf_core.training.ppo.trainer import train_ppo
from rlhf_core.training.reward.trainer import train_reward_models
from tests.benchmarks.hacking import charter

RUNGS = ("gold", "taught", "judged", "nothing")
POLICY, REFERENCE = "ladder-policy", "ladder-reference"
ASKED = 256
"""Prompts of each split that every policy answers."""
EVEN = {"helpful": 0.5, "harmless": 0.5}
GOLD = SandboxGold()


class GoldScorer(NamedTuple):
    """Pays what the world says a reply is worth."""

    objective: str

    def score(self, conversations: Sequence[tuple[Prompt, str]]) -> Tensor:
        return torch.tensor([[GOLD.score(prompt, reply)[self.objective]] for prompt, reply in conversations])

    def score_lines(self, conversations: Sequence[tuple[Prompt, str]]) -> list[tuple[float, ...]]:
        return [tuple(self._line(prompt, reply)) for prompt, reply in conversations]

    def _line(self, prompt: Prompt, reply: str) -> Iterator[float]:
        whole = THIRDS * sum(GOLD.task(prompt).importance)
        for line, worth in GOLD.worth_of_lines(prompt, reply):
            if self.objective == "helpful":
                yield -MISTAKE if worth is None else worth / whole
            else:
                yield -sum(GOLD.harm_by_kind(prompt, line).values())


class Start(NamedTuple):
    """A finished run, whose policies and labels every rung starts from."""

    store: Store
    run: str
    config: RunConfig
    results: Mapping[Stage, StageResult]
    backbone: Backbone


class Asked(NamedTuple):
    """The prompts that all policies answer, of each split."""

    heldout: list[Prompt]
    train: list[Prompt]


def asked_of(seed: int) -> Asked:
    """The prompts on which the run of this seed evaluates, too."""
    held, train = (sorted(world_prompts(split), key=lambda prompt: prompt.id) for split in ("heldout", "train"))
    return Asked(*(draw(prompts, ASKED, seed, "evaluate") for prompts in (held, train)))


@contextlib.contextmanager
def opened(data: Path, run: str, threads: int) -> Iterator[Start]:
    torch.set_num_threads(threads)
    with contextlib.closing(Store.open(data)) as store:
        config = RunConfig.model_validate_json(store.runs.get(run).config)
        folder = Path(rlhf_core.sandbox.__file__).parent / "model"
        backbone = Backbone.load(str(folder), config.model)
        results = store.stage_results.of_run(run)
        backbone.adapters.load(REFERENCE, store.artifacts.get_folder(_artifact(store, results["sft"].policy_version)))
        yield Start(store, run, config, results, backbone)


def _artifact(store: Store, version: str) -> str:
    return store.policy_versions.get(version).artifact


def paid_by(start: Start, rung: str) -> tuple[list[Scorer], NormPack]:
    """The scorers of a rung, and their scale on the samples that the run's own scale is from."""
    pack = start.store.norm_packs.get(start.results["norm_pack"].norm_pack)
    if rung in ("judged", "nothing"):
        versions = [start.store.reward_models.get(name) for name in pack.reward_models]
        folders = [start.store.artifacts.get_folder(version.artifact) for version in versions]
        both = zip(versions, folders, strict=True)
        return [RewardModel.load(start.backbone, f"judged-{v.artifact}", f, v.objective) for v, f in both], pack
    scorers: list[Scorer] = [GoldScorer(name) for name in pack.objectives]
    if rung == "taught":
        scorers = [taught(start, name) for name in pack.objectives]
    samples = start.store.samples.of_run(start.results["norm_pack"].run_id, stage="norm_pack")
    scores = mean_scores(scorers, [(sample.prompt, sample.response) for sample in samples]).numpy()
    lengths = np.array([sample.tokens for sample in samples], dtype=float)
    return scorers, build_norm_pack(start.run, pack.policy_version, pack.objectives, pack.objectives, scores, lengths)


def taught(start: Start, objective: str) -> RewardModel:
    """A reward model like the run's own, from what gold says of the lines of the replies that the run labelled."""
    settings = start.config.reward
    pairs = start.store.comparisons.of_run(start.results["label"].run_id)
    replies = dict.fromkeys((pair.prompt, sample.response) for pair in pairs for sample in (pair.a, pair.b))
    worth = GoldScorer(objective).score_lines(list(replies))
    both = zip(replies, worth, strict=True)
    labels = [
        GradedLines(prompt, reply, grades, source="data")
        for (prompt, reply), grades in both
        if len(grades) == len(lines_of(reply))
    ]
    adapter = f"taught-{objective}"
    if adapter in start.backbone.adapters:
        start.backbone.adapters.delete(adapter)
    start.backbone.adapters.add(adapter, start.config.seed)
    scoring = Scoring(
        process=settings.reads_lines(objective),
        step_pool=settings.step_pool,
        aggregate=settings.aggregate,
        uwo_coef=settings.uwo_coef,
        max_tokens=settings.max_tokens,
        reference_tokens=start.config.model.max_tokens if settings.reference else 0,
    )
    model = RewardModel(start.backbone, adapter, objective, settings.members, start.config.seed, scoring)
    for _ in train_reward_models([model], [labels], settings, start.config.seed):
        pass
    return model


def climbed(
    start: Start, rung: str, weights: Mapping[str, float], asked: Asked, overrides: Mapping[str, str]
) -> dict[str, Any]:
    """Train by one rung under weights, and grade what comes out."""
    own = {"ptx_coef": 0.0, "pays": rung != "nothing"}
    ppo = start.config.ppo.model_validate({**start.config.ppo.model_dump(), **overrides, **own})
    scorers, pack = paid_by(start, rung)
    backbone = start.backbone
    if POLICY in backbone.adapters:
        backbone.adapters.delete(POLICY)
    if ppo.tune == "full":
        backbone.adapters.add_dense(POLICY, REFERENCE)
    else:
        backbone.adapters.copy(REFERENCE, POLICY)
    policy = Policy(backbone, POLICY, pack.objectives, REFERENCE)
    ordered = {name: float(weights.get(name, 0.0)) for name in pack.objectives}
    length, seed = start.config.model.max_tokens, start.config.seed
    prompts = sorted(world_prompts("train"), key=lambda prompt: prompt.id)
    for step in train_ppo(policy, scorers, pack, prompts, ordered, ppo, length, seed):
        if step and step.metrics.step % 10 == 0:
            values = step.metrics.values
            print(
                f"  {rung}, step {step.metrics.step}: reward {values['reward']:.2f}, KL {values['kl']:.2f}", flush=True
            )
    return row_of(start, rung, ordered, asked, POLICY)


def row_of(start: Start, rung: str, weights: Mapping[str, float], asked: Asked, adapter: str) -> dict[str, Any]:
    shipped, now = (answers(start, asked.heldout, name) for name in (None, adapter))
    norm = start.store.samples.of_run(start.results["norm_pack"].run_id, stage="norm_pack")
    scale = gold_sd(graded(norm), GOLD.objectives)
    result = evaluate([shipped, now], objectives=GOLD.objectives, weights=weights, gold=GOLD, gold_scale=scale)
    seen = evaluate(
        [answers(start, asked.train, name) for name in (None, adapter)],
        objectives=GOLD.objectives,
        weights=weights,
        gold=GOLD,
        gold_scale=scale,
    )
    # There is no way to go where the shipped model is the best possible, as at weight 1 on help it may be.
    way, way_seen = (both.weighted and both.weighted.fraction for both in (result, seen))
    return {
        "rung": rung,
        "seed": start.config.seed,
        "weights": dict(weights),
        **{name: number.value for name, number in result.stages[-1].gold.items()},
        "fraction": way and way.value,
        "low": way and way.low,
        "high": way and way.high,
        "by_prompt": {name: [grade.score for grade in now.gold if grade.kind == name] for name in GOLD.objectives},
        "training": {name: number.value for name, number in seen.stages[-1].gold.items()}
        | {"fraction": way_seen and way_seen.value},
    }


def answers(start: Start, prompts: Sequence[Prompt], adapter: str | None) -> PolicyRows:
    backbone, name = start.backbone, adapter or "shipped"
    ids = [backbone.render(prompt.messages) for prompt in prompts]
    with backbone.adapters.using(adapter):
        written = generate(backbone, ids, n=1, temperature=0.0, max_tokens=start.config.model.max_tokens, seed=0)
    samples = [
        Sample(id=f"{name}-{i}", prompt=prompt, response=backbone.decode(result.tokens), policy_version=name)
        for i, (prompt, result) in enumerate(zip(prompts, written, strict=True))
    ]
    return PolicyRows(name, name, samples, gold=graded(samples))


def graded(samples: Sequence[Sample]) -> list[GoldScore]:
    return [
        GoldScore(sample_id=sample.id, kind=kind, score=score)
        for sample in samples
        for kind, score in GOLD.score(sample.prompt, sample.response).items()
    ]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--data", type=Path, required=True)
    asked.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked.add_argument("--rungs", nargs="+", choices=RUNGS, default=RUNGS)
    asked.add_argument("--threads", type=int, default=2)
    asked.add_argument("--harmless", type=float, nargs="+", default=[0.5], help="its share of the weights")
    asked.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the run, as of charter run")
    asked.add_argument("--ppo", action="append", default=[], metavar="KEY=VALUE", help="of every rung's PPO")
    given = asked.parse_args()
    extra, ppo = (dict(pair.split("=", 1) for pair in part) for part in (given.set, given.ppo))
    rows: list[dict[str, Any]] = []
    for seed in given.seeds:
        data = given.data / f"seed-{seed}"
        run = charter(data, "demo", {"seed": seed, "model.threads": given.threads} | extra)
        done = Done(data / "ladder.json")
        with opened(data, run, given.threads) as start:
            some = asked_of(seed)
            rows.append(done.row("SFT", 0.5) or done.add("SFT", 0.5, row_of(start, "SFT", EVEN, some, REFERENCE)))
            for rung, share in itertools.product(given.rungs, given.harmless):
                weights = {"helpful": 1 - share, "harmless": share}
                known = done.row(rung, share)
                rows.append(known or done.add(rung, share, climbed(start, rung, weights, some, ppo)))
    (given.data / "ladder.json").write_text(json.dumps({"rows": rows}, indent=2))


class Done:
    """The rows of one seed that an earlier call has measured, in a file of their own."""

    def __init__(self, file: Path):
        self._file = file
        self._rows: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}

    def row(self, rung: str, share: float) -> dict[str, Any] | None:
        return self._rows.get(f"{rung} {share}")

    def add(self, rung: str, share: float, row: dict[str, Any]) -> dict[str, Any]:
        self._rows[f"{rung} {share}"] = row
        self._file.write_text(json.dumps(self._rows))
        print({name: value for name, value in row.items() if name != "by_prompt"}, flush=True)
        return row


if __name__ == "__main__":
    main()
