"""PPO whose next step is written by another process while this one is learned: seconds a step, and what it gains.

    python -m tests.benchmarks.bench_overlap [rows.json]

On the sandbox, paid by its own graders, with two reward models of no weight so that scoring costs what it does. Five
ways take turns, each in a process of its own, for as many SEEDS (1 unless set) of STEPS steps (12 unless set); WAYS
names some of them, with commas between:

    ahead         `ppo.overlap: rollouts`: a learner and a sampler, one thread each
    in turn       the same two processes and the same staleness, but neither works while the other does
    one thread    `ppo.overlap: none`, one process with one thread
    two threads   the same with two
    uncorrected   as ahead, but a token of the older policy counts once, however likely the learner finds it

Seconds are medians over the steps from the third on, those of the processor means: of the busier process where the two
work at once, of both together where they do not. What is gained is weighed gold, in standard deviations of the
shipped model's, of samples to held-out prompts after the last step less before the first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any
from unittest import mock

import numpy as np
import torch

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.evaluation.norm_pack import build_norm_pack
from rlhf_core.inference.generate import generate
from rlhf_core.inference.own_sampler import OwnSampler
from rlhf_core.inference.remote_sampler import RemoteSampler
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.kernels.malloc import keep_buffers
from rlhf_core.models.policy import Policy
from rlhf_core.records.models import NormPack
from rlhf_core.records.samples import Prompt
from rlhf_core.reward_models.reward_model import RewardModel, Scorer, mean_scores
from rlhf_core.sandbox.sandbox import MODEL_FOLDER
from rlhf_core.sandbox.world import prompts as world_prompts
from rlhf_core.training.ppo import ahead, targets
from rlhf_core.training.ppo.trainer import train_ppo
from tests.benchmarks.ladder import GoldScorer
from tests.benchmarks.rows import Row, report, row

ROOT = Path(__file__).parents[2]
SEEDS, STEPS = int(os.environ.get("SEEDS", "1")), int(os.environ.get("STEPS", "12"))
ALL = ("ahead", "in turn", "one thread", "two threads", "uncorrected")
WAYS = tuple(way for way in ALL if way in os.environ.get("WAYS", ",".join(ALL)).split(","))
PAYS, COSTS = ("helpful", "harmless"), ("first", "second")
ASKED, TOKENS, TEMPERATURE, RATE = 128, 48, 1.2, 3e-3
"""At this temperature the shipped model slips often enough to have something to learn, and the rate moves it far enough
in a step that the age of a response matters."""
LEFT_OUT = 2
"""Steps at the beginning whose time says nothing: what is loaded is loaded then."""


class AtOnce:
    """A thread whose work is done before anything else goes on."""

    def __init__(self, target: Callable[..., None], args: tuple[object, ...], **_: object):
        self._work = partial(target, *args)

    def start(self) -> None:
        self._work()

    def join(self) -> None:
        pass

    def is_alive(self) -> bool:
        return False


def scorers_of(backbone: Backbone) -> list[Scorer]:
    backbone.adapters.add("trunk", 0)
    models = [RewardModel(backbone, "trunk", name, members=1, seed=i) for i, name in enumerate(COSTS)]
    return [*(GoldScorer(name) for name in PAYS), *models]


def conversations(policy: Policy, prompts: list[Prompt], seed: int) -> tuple[list[tuple[Prompt, str]], list[int]]:
    """The policy's samples, and their lengths."""
    backbone = policy.backbone
    ids = [backbone.render(prompt.messages) for prompt in prompts]
    with backbone.adapters.using(policy.adapter):
        rows = generate(backbone, ids, n=1, temperature=TEMPERATURE, max_tokens=TOKENS, seed=seed)
    return [(p, backbone.decode(r.tokens)) for p, r in zip(prompts, rows, strict=True)], [len(r.tokens) for r in rows]


def worth(policy: Policy, pack: NormPack, prompts: list[Prompt]) -> float:
    """Weighed gold of samples, in the pack's standard deviations."""
    scores = mean_scores([GoldScorer(name) for name in PAYS], conversations(policy, prompts, 9)[0]).mean(1)
    return mean((float(score) - m) / sd for score, m, sd in zip(scores, pack.mean, pack.sd, strict=False))


def clocks_of(sampler: OwnSampler | None) -> tuple[float, float, float]:
    """Seconds by the clock, and of the processor in this process and in the sampler's."""
    ticks = 0
    if sampler is not None and sampler.pid is not None:
        fields = Path(f"/proc/{sampler.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
    return time.perf_counter(), time.process_time(), ticks / os.sysconf("SC_CLK_TCK")


def train(way: str, seed: int, steps: int, folder: Path) -> dict[str, Any]:
    """PPO one way: seconds of each step and of waiting, and what was gained."""
    torch.set_num_threads(2 if way == "two threads" else 1)
    keep_buffers()
    base = str(MODEL_FOLDER)
    model = ModelConfig(base_model=base, lora=LoraConfig(), threads=1)
    backbone = Backbone.load(base, model)
    scorers = scorers_of(backbone)
    backbone.adapters.add("policy", seed)
    policy = Policy(backbone, "policy", (*PAYS, *COSTS))
    known = sorted(world_prompts("train"), key=lambda prompt: prompt.id)
    held = sorted(world_prompts("heldout"), key=lambda prompt: prompt.id)[:ASKED]
    told, lengths = conversations(policy, known[: 2 * ASKED], 7)
    scores = mean_scores(scorers, told).numpy()
    pack = build_norm_pack("bench", "base", policy.objectives, policy.objectives, scores, np.array(lengths, float))
    alone = way in ("one thread", "two threads")
    config = PpoConfig(
        steps=steps, overlap="none" if alone else "rollouts", temperature=TEMPERATURE, learning_rate=RATE
    )
    weights = dict.fromkeys(PAYS, 0.5) | dict.fromkeys(COSTS, 0.0)
    begun = worth(policy, pack, held)
    with ExitStack() as stack:
        sampler = process = None
        if not alone:
            process = stack.enter_context(closing(OwnSampler(backbone, model, folder)))
            sampler = stack.enter_context(closing(RemoteSampler(process, backbone, folder, 0.1)))
        if way == "in turn":
            stack.enter_context(mock.patch.object(ahead, "Thread", AtOnce))
        if way == "uncorrected":
            stack.enter_context(mock.patch.object(targets, "importance_ratio", lambda now, *_: torch.ones_like(now)))
        clocks, values = [clocks_of(None)], []
        for step in train_ppo(policy, scorers, pack, known, weights, config, TOKENS, seed, sampler=sampler):
            if step is not None:
                clocks.append(clocks_of(process))
                values.append(step.metrics.values)
    seconds, learner, writer = np.diff(clocks, axis=0)[LEFT_OUT:].T.tolist()
    return {
        "seconds": median(seconds),
        "learner": mean(learner),
        "writer": mean(writer),
        "waited": median([one.get("sampler/waited_seconds", 0.0) for one in values][LEFT_OUT:]),
        "written": median([one.get("sampler/tokens_per_second", 0.0) for one in values][LEFT_OUT:]),
        "gained": worth(policy, pack, held) - begun,
        "kl": values[-1]["kl"],
        "ratio": values[-1].get("sampler/ratio"),
        "mismatch": values[-1].get("sampler/kl"),
        "truncated": values[-1].get("sampler/truncated"),
        "rewards": [round(one["reward"], 3) for one in values],
    }


def result_of(way: str, seed: int) -> dict[str, Any]:
    """One training, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.benchmarks.bench_overlap", "--train", way, str(seed), folder]
        own = {"OMP_NUM_THREADS": "2" if way == "two threads" else "1"}
        done = subprocess.run(command, cwd=ROOT, env=os.environ | own, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{way} failed:\n{done.stderr[-3000:]}")
    found = json.loads(next(line[7:] for line in done.stdout.splitlines() if line.startswith("RESULT ")))
    print(f"  seed {seed}, {way}: {json.dumps(found)}", file=sys.stderr, flush=True)
    return found


def measure() -> Iterator[Row]:
    """Every way in turn, seed by seed; each is set beside the rollouts that are written ahead."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    first = int(os.environ.get("FIRST_SEED", "0"))
    for seed in range(first, first + SEEDS):
        for way in WAYS:
            found[way].append(result_of(way, seed))
    own = found["ahead"]
    for way in WAYS[1:]:
        if way != "uncorrected":
            name = f"ppo step, rollouts ahead against {way}, by the clock"
            yield row(name, middle(own, "seconds"), middle(found[way], "seconds"), "s")
        if way in ("in turn", "one thread"):
            # Where other work has the processor, what the busier process takes of it is what a step would take without.
            busier = max(middle(own, "learner"), middle(own, "writer"))
            both = middle(found[way], "learner") + middle(found[way], "writer")
            yield row(f"ppo step, rollouts ahead against {way}, by the processor", busier, both, "s")
        gains = (mean(one["gained"] for one in results) for results in (own, found[way]))
        yield row(f"gold gained in {STEPS} steps, ahead against {way}", next(gains), next(gains), "sd")


def middle(results: list[dict[str, Any]], key: str) -> float:
    return median(one[key] for one in results)


if __name__ == "__main__":
    if "--train" in sys.argv:
        asked = argparse.ArgumentParser()
        asked.add_argument("--train", nargs=3)
        given = asked.parse_args().train
        print("RESULT " + json.dumps(train(given[0], int(given[1]), STEPS, Path(given[2]))), flush=True)
    else:
        report(measure)
