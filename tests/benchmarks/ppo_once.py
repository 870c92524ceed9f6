"""One measurement of PPO in this process: samples per second, peak memory. Prints `RESULT {json}`.

The work is that of a script that measures TRL: prompts of 16 tokens, responses of 32 (random weights never end one),
batches of 32, 4 epochs of one minibatch.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rlhf_core.config import LoraConfig, ModelConfig
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.policy import Policy
from rlhf_core.models.reward_model import RewardModel
from rlhf_core.ppo_config import PpoConfig
from rlhf_core.records import Prompt
from rlhf_core.run_records import NormPack
from rlhf_core.training.ppo_trainer import train_ppo


def save_base(folder: Path, options: argparse.Namespace) -> None:
    """A Llama with random weights, and a tokenizer of one word per token whose template is the content itself."""
    words = {"[PAD]": 0, "<s>": 1, "</s>": 2, "[UNK]": 3} | {f"w{i}": i for i in range(4, options.vocab)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", eos_token="</s>", unk_token="[UNK]")
    fast.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=options.vocab,
        hidden_size=options.hidden,
        intermediate_size=3 * options.hidden,
        num_hidden_layers=options.layers,
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


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Steps of our PPO in this process; the first is left out, as by the script of TRL."""
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        save_base(Path(folder), options)
        lora = LoraConfig(rank=8, alpha=16)
        backbone = Backbone.load(folder, ModelConfig(base_model=folder, dtype=options.dtype, lora=lora))
    names = [f"objective-{i}" for i in range(options.objectives)]
    judges = [RewardModel.create(backbone, name, name, members=1, seed=i) for i, name in enumerate(names)]
    if options.tune == "full":
        backbone.add_dense_adapter("policy", None)
    else:
        backbone.add_adapter("policy", 0)
    policy = Policy(backbone, "policy", tuple(names))
    words = torch.randint(4, options.vocab, (256, 16), generator=torch.Generator().manual_seed(0)).tolist()
    prompts = [Prompt.of(" ".join(f"w{i}" for i in row)) for row in words]
    config = PpoConfig(
        steps=options.steps, prompts_per_step=32, minibatch_size=32, epochs=4, learning_rate=3e-6, tune=options.tune
    )
    started, ends = time.process_time(), [time.perf_counter()]
    for unit in train_ppo(policy, judges, scale(names), prompts, dict.fromkeys(names, 1.0), config, 32, 0):
        if unit is not None:
            ends.append(time.perf_counter())
    seconds = [after - before for before, after in pairwise(ends[1:])]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu = time.process_time() - started
    return {"samples_per_s_steady": 32 / statistics.median(seconds), "peak_rss_mb": peak, "cpu_s": cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tune", choices=["lora", "full"], default="lora")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    options = (("objectives", 1), ("steps", 5), ("threads", 2), ("layers", 4), ("hidden", 256), ("vocab", 4096))
    for name, default in options:
        parser.add_argument(f"--{name}", type=int, default=default)
    print("RESULT " + json.dumps(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
