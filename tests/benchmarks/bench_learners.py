"""PPO by two learner processes with one thread each, against one with one thread: speed, and the same adapter.

    python -m tests.benchmarks.bench_learners [rows.json]

The two take turns (PAIRS, 3 unless set), on a random model of 6 layers and 384 dimensions. Processor seconds are those
of the busiest process: on a machine with other work they say more than the clock's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.kernels.malloc import keep_buffers
from rlhf_core.models.policy import Policy
from rlhf_core.records.samples import Prompt
from rlhf_core.training.parallel import Ranks, joined
from rlhf_core.training.ppo.trainer import train_ppo
from tests.benchmarks.ppo_once import Work, judges, scale, settings
from tests.benchmarks.rows import Row, report, row
from tests.conftest import save_tokenizer

ROOT = Path(__file__).parents[2]
PAIRS = int(os.environ.get("PAIRS", "3"))
STEPS = 3
WORK = Work(advantage="rloo", objectives=2, batch=32, steps=STEPS, threads=1)
NAMES = ["first", "second"]
PARTS = ("rollout", "targets", "update")
ADAPTER = "adapter.safetensors"


def save_base(folder: Path) -> None:
    """A random model of 6 layers and 384 dimensions, 11 million parameters, that reads bytes."""
    shape = {"hidden_size": 384, "intermediate_size": 1152, "num_hidden_layers": 6, "num_attention_heads": 4}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=264, max_position_embeddings=512, **shape)).save_pretrained(folder)
    save_tokenizer(folder)


def train(folder: Path, ranks: Ranks) -> dict[str, float]:
    """Steps of PPO; returns the middle one's seconds by part, by the clock and of the processor, and writes the policy.

    The first step is left out.
    """
    torch.set_num_threads(WORK.threads)
    keep_buffers()
    base = str(folder / "base")
    backbone = Backbone.load(base, ModelConfig(base_model=base, lora=LoraConfig(rank=8, alpha=16)))
    scorers = judges(backbone, NAMES, WORK)
    backbone.adapters.add("policy", 0)
    policy = Policy(backbone, "policy", tuple(NAMES))
    begun = weights_of(policy)
    prompts = [Prompt.of(f"say {i}") for i in range(256)]
    config = settings(WORK).model_copy(update={"learning_rate": 1e-3, "epochs": 2})
    weights = dict.fromkeys(NAMES, 1.0)
    marks = [[clocks()]]
    units = train_ppo(policy, scorers, scale(NAMES), prompts, weights, config, WORK.response, 0, ranks=ranks)
    for done in units:
        marks[-1].append(clocks())
        if done is not None:
            marks.append([clocks()])
    found: dict[str, float] = {}
    for k, kind in enumerate(("clock", "processor")):
        # A step's marks: its begin, rolled out, targets fixed, one after each update, its end.
        for part, (first, last) in zip((*PARTS, "step"), ((0, 1), (1, 2), (2, -1), (0, -1)), strict=True):
            found[f"{part} {kind}"] = median(step[last][k] - step[first][k] for step in marks[1:STEPS])
    each = ranks.gather(found)
    if ranks.is_first:
        state = {"begun": begun, "ended": weights_of(policy)}
        save_file(state, folder / f"{ranks.size}-{ADAPTER}")
    return {name: max(one[name] for one in each) for name in found}


def clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def weights_of(policy: Policy) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in policy.backbone.adapters.parameters("policy")])


def results_of(processes: int, folder: Path) -> dict[str, Any]:
    """One training by so many processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "tests.benchmarks.bench_learners", "--train", str(folder)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        told = done.stderr[done.stderr.find("Traceback") :]
        sys.exit(f"{processes} processes failed:\n{told[:3000]}")
    return json.loads(next(line[7:] for line in done.stdout.splitlines() if line.startswith("RESULT ")))


def measure() -> Iterator[Row]:
    """One process and two in turn; a ratio above 1 is how many times as fast two are."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_base(folder / "base")
        pairs = []
        for number in range(1, PAIRS + 1):
            pairs.append((results_of(1, folder), results_of(2, folder)))
            one, two = pairs[-1]
            ratios = {part: round(one[f"{part} clock"] / two[f"{part} clock"], 2) for part in ("step", *PARTS)}
            print(f"  pair {number} of {PAIRS}, times as fast: {ratios}", file=sys.stderr, flush=True)
        for part in ("update", "step", "rollout"):
            for kind in ("clock", "processor"):
                alone, together = (median(pair[i][f"{part} {kind}"] for pair in pairs) for i in (0, 1))
                rate = WORK.batch / together, WORK.batch / alone
                yield row(f"ppo {part}, 2 processes against 1, by the {kind}", *rate, "samples/s")
        one, two = (load_file(folder / f"{count}-{ADAPTER}") for count in (1, 2))
        for what, length in (("length", one["ended"].norm()), ("change", (one["ended"] - one["begun"]).norm())):
            far = 1e6 * float((one["ended"] - two["ended"]).norm() / length)
            yield row(f"adapter by 2 processes from that by 1, by its {what}; allowed 10", far, 10.0, "millionths")


if __name__ == "__main__":
    if "--train" in sys.argv:
        with joined() as ranks:
            result = train(Path(sys.argv[-1]), ranks)
            if ranks.is_first:
                print("RESULT " + json.dumps(result), flush=True)
    else:
        report(measure)
