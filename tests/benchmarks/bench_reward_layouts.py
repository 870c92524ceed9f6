"""Scores of four objectives: one trunk with heads, and one adapter each, against four separate models; and memory."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Prompt
from rlhf_core.reward_models.reward_model import RewardModel, score_all
from tests.benchmarks.rows import Row, report, row

OBJECTIVES = ("helpful", "harmless", "honest", "brief")
MEMBERS, ROUNDS = 3, 5
CONVERSATIONS = [(Prompt.of("How do I clean it? " * (2 + i % 3)), "Take a cloth. " * (2 + i % 4)) for i in range(16)]


def save_model(folder: Path) -> None:
    """A random model of 6 layers and 512 dimensions, 20 million parameters, that reads bytes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.conftest import save_tokenizer

    shape = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 8}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=264, max_position_embeddings=512, **shape)).save_pretrained(folder)
    save_tokenizer(folder)


def load(folder: Path) -> Backbone:
    return Backbone.load(str(folder), ModelConfig(base_model=str(folder), threads=1, lora=LoraConfig()))


def models(layout: str, folder: Path) -> list[RewardModel]:
    """Four models as they lie in memory in each layout; `one` is a single model."""
    if layout == "separate":
        return [RewardModel.create(load(folder), "reward", name, MEMBERS, 0) for name in OBJECTIVES]
    base = load(folder)
    if layout == "adapters":
        return [RewardModel.create(base, name, name, MEMBERS, 0) for name in OBJECTIVES]
    base.adapters.add("trunk", 0)
    names = OBJECTIVES[:1] if layout == "one" else OBJECTIVES
    return [RewardModel(base, "trunk", name, MEMBERS, index) for index, name in enumerate(names)]


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def speeds(folder: Path) -> Iterator[Row]:
    """Medians of alternating rounds."""
    ready = {layout: models(layout, folder) for layout in ("separate", "adapters", "trunk")}
    result: dict[str, list[float]] = {layout: [] for layout in ready}
    for number in range(ROUNDS + 1):
        for layout, scorers in ready.items():
            taken = seconds(lambda scorers=scorers: score_all(scorers, CONVERSATIONS))
            if number:  # the first round warms up
                result[layout].append(taken)
    median = {layout: len(CONVERSATIONS) / statistics.median(times) for layout, times in result.items()}
    for layout in ("trunk", "adapters"):
        name = f"samples scored by 4 objectives: {layout} against 4 separate models"
        yield row(name, median[layout], median["separate"], "samples/s")


def memory(layout: str, folder: Path) -> float:
    """Megabytes that models of a layout add to a process at its peak, while they score."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_reward_layouts", "--memory", layout, str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def _memory(layout: str, folder: Path) -> float:
    torch.set_num_threads(1)
    before = _peak()
    score_all(models(layout, folder), CONVERSATIONS)
    return _peak() - before


def _peak() -> float:
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    # The kernel's ru_maxrss begins at what the process that started this one held.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10


def measure() -> Iterator[Row]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(folder)
        yield from speeds(folder)
        one = memory("one", folder)
        for layout in ("trunk", "adapters", "separate"):
            yield row(f"memory of 4 objectives: {layout} against one model", memory(layout, folder), one, "MB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        print(_memory(sys.argv[2], Path(sys.argv[3])))
    else:
        report(measure)
