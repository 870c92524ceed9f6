"""Measurements of PPO in this process: samples per second, peak memory. Prints `RESULT {json}`.

The work is that of a script that measures TRL: prompts of 16 tokens, responses of 32 (random weights never end one),
batches of 32, 4 epochs of one minibatch; with rloo, 4 responses to each of 8 prompts. `--growth` prints one result for
each of several sizes, measured one after the other.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.kernels.malloc import keep_buffers
from rlhf_core.models.policy import Policy
from rlhf_core.records.models import NormPack
from rlhf_core.records.samples import Prompt
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.training.ppo.trainer import train_ppo


class Work(NamedTuple):
    """What is measured; the defaults are those of the script for TRL."""

    tune: Literal["lora", "full"] = "lora"
    dtype: Literal["float32", "bfloat16"] = "float32"
    advantage: Literal["gae", "rloo"] = "gae"
    targets: Literal["attention", "all"] = "attention"
    layout: Literal["adapters", "trunk"] = "trunk"
    objectives: int = 1
    steps: int = 4
    threads: int = 2
    layers: int = 4
    hidden: int = 256
    vocab: int = 4096
    batch: int = 32
    micro: int = 0
    """Rows of a pass; 0 is a whole minibatch."""
    response: int = 32


GROWTH = (
    *(Work(objectives=count, layout=layout) for layout in ("trunk", "adapters") for count in (1, 2, 4, 8)),
    *(Work(batch=batch) for batch in (16, 64)),
    *(Work(response=tokens) for tokens in (16, 64)),
    *(Work(layers=layers, hidden=hidden) for layers, hidden in ((2, 128), (6, 384))),
)


def word_tokenizer(size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of one word per token whose template adds the ends of replies."""
    words = {"[PAD]": 0, "<s>": 1, "</s>": 2, "[UNK]": 3} | {f"w{i}": i for i in range(4, size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", eos_token="</s>", unk_token="[UNK]")
    fast.chat_template = "{% for m in messages %}{{ m.content }}{{ '</s>' if m.role == 'assistant' }}{% endfor %}"
    return fast


def save_base(folder: Path, work: Work) -> None:
    """A Llama with random weights, and its tokenizer."""
    word_tokenizer(work.vocab).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=work.vocab,
        hidden_size=work.hidden,
        intermediate_size=3 * work.hidden,
        num_hidden_layers=work.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def scale(objectives: Sequence[str]) -> NormPack:
    count = len(objectives)
    unit = tuple(tuple(float(i == j) for j in range(count)) for i in range(count))
    return NormPack(
        id="pack",
        run_id="bench",
        policy_version="base",
        objectives=tuple(objectives),
        reward_models=tuple(objectives),
        mean=(0.0,) * count,
        sd=(1.0,) * count,
        quantiles=((0.0,) * 6,) * count,
        correlation=unit,
        length_slope=(0.0,) * count,
        mean_length=32.0,
        n=64,
    )


def settings(work: Work) -> PpoConfig:
    """Everything that costs time is written out, so that other defaults of PPO do not change what is measured."""
    samples = 4 if work.advantage == "rloo" else 1
    return PpoConfig(
        steps=work.steps,
        tune=work.tune,
        advantage=work.advantage,
        prompts_per_step=work.batch // samples,
        samples_per_prompt=samples,
        minibatch_size=work.batch,
        micro_batch_size=work.micro or None,
        epochs=4,
        learning_rate=3e-6,
        kl_coef=0.05,
        entropy_coef=0.0,
        ptx_coef=0.0,
        temperature=1.0,
        missing_eos_penalty=1.0,
        max_update_kl=None,
        max_ratio=None,
    )


def judges(backbone: Backbone, names: Sequence[str], work: Work) -> list[RewardModel]:
    """One reward model for each objective: on one trunk, or an adapter each."""
    if work.layout == "adapters":
        return [RewardModel.create(backbone, name, name, members=1, seed=i) for i, name in enumerate(names)]
    backbone.adapters.add("trunk", 0)
    return [RewardModel(backbone, "trunk", name, members=1, seed=i) for i, name in enumerate(names)]


def measure(work: Work) -> dict[str, float]:
    """Steps of our PPO in this process; the first is left out, as by the script of TRL."""
    torch.set_num_threads(work.threads)
    keep_buffers()  # as the processes that train do
    with tempfile.TemporaryDirectory() as folder:
        save_base(Path(folder), work)
        targets = () if work.targets == "all" else ("q_proj", "v_proj")
        lora = LoraConfig(rank=8, alpha=16, targets=targets)
        backbone = Backbone.load(folder, ModelConfig(base_model=folder, dtype=work.dtype, lora=lora))
    names = [f"objective-{i}" for i in range(work.objectives)]
    scorers = judges(backbone, names, work)
    if work.tune == "full":
        backbone.adapters.add_dense("policy", None)
    else:
        backbone.adapters.add("policy", 0)
    policy = Policy(backbone, "policy", tuple(names))
    words = torch.randint(4, work.vocab, (256, 16), generator=torch.Generator().manual_seed(0)).tolist()
    prompts = [Prompt.of(" ".join(f"w{i}" for i in row)) for row in words]
    clocks = [(time.perf_counter(), time.process_time())]
    weights = dict.fromkeys(names, 1.0)
    for done in train_ppo(policy, scorers, scale(names), prompts, weights, settings(work), work.response, 0):
        if done is not None:
            clocks.append((time.perf_counter(), time.process_time()))
    wall, busy = zip(*(((b[0] - a[0]), (b[1] - a[1])) for a, b in pairwise(clocks[1:])), strict=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds, cpu = statistics.median(wall), statistics.median(busy)
    return {"samples_per_s_steady": work.batch / seconds, "peak_rss_mb": peak, "step_cpu_s": cpu}


def growth(threads: int, steps: int) -> Iterator[dict[str, object]]:
    """Each size's result with its name."""
    for work in GROWTH:
        changed = {key: value for key, value in work._asdict().items() if value != getattr(Work(), key)}
        yield measure(work._replace(threads=threads, steps=steps)) | {"changed": changed, "batch": work.batch}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in Work._field_defaults.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--growth", action="store_true")
    options = vars(parser.parse_args())
    if options.pop("growth"):
        for result in growth(options["threads"], options["steps"]):
            print("RESULT " + json.dumps(result), flush=True)
    else:
        print("RESULT " + json.dumps(measure(Work(**options))))


if __name__ == "__main__":
    main()
