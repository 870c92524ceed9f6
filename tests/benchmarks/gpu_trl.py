"""TRL's RLOO on the work of `tests.benchmarks.gpu`, if TRL is installed: prints `RESULT {json}`, a line of its table.

    python -m tests.benchmarks.gpu_trl DEVICE DTYPE SHAPE_AS_JSON

As TRL has them, every objective's reward model is a whole model of the same shape.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from itertools import pairwise
from statistics import median

import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import (
    GenerationConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3ForSequenceClassification,
    TrainerCallback,
)

from tests.benchmarks.gpu_work import Shape, peak_gb, settings_of, texts, words
from tests.benchmarks.ppo_once import word_tokenizer

STEPS, GROUP = 4, 4


class Clock(TrainerCallback):
    """The time at the end of each step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        self.ends.append(time.perf_counter())


def reward_model(settings: Qwen3Config, name: str, dtype: torch.dtype) -> Qwen3ForSequenceClassification:
    settings.num_labels = 1
    model = Qwen3ForSequenceClassification(settings).to(dtype)
    model.config._name_or_path = name  # TRL calls reward models so
    return model


def measure(device: str, dtype: str, shape: Shape) -> dict[str, object]:
    """The middle of the steps after the first."""
    tokenizer = word_tokenizer(shape.vocabulary)
    tokenizer.padding_side, half = "left", dtype == "bfloat16"
    policy = Qwen3ForCausalLM(settings_of(shape)).to(getattr(torch, dtype))
    policy.generation_config = GenerationConfig(pad_token_id=0, bos_token_id=1, eos_token_id=2)
    clock = Clock()
    passes = shape.batch // shape.micro
    options = trl.RLOOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=shape.micro,
        gradient_accumulation_steps=passes,
        steps_per_generation=passes,
        num_generations=GROUP,
        num_iterations=1,
        max_completion_length=shape.response,
        max_steps=STEPS,
        beta=0.05,
        temperature=1.0,
        learning_rate=1e-6,
        bf16=half,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not device.startswith("cuda"),
    )
    judges = [reward_model(settings_of(shape), f"rm{i}", getattr(torch, dtype)) for i in range(shape.objectives)]
    trainer = trl.RLOOTrainer(
        model=policy,
        reward_funcs=judges,
        reward_processing_classes=[tokenizer] * len(judges),
        args=options,
        train_dataset=Dataset.from_dict({"prompt": texts(words(shape, shape.batch, shape.prompt, 1))}),
        processing_class=tokenizer,
        callbacks=[clock],
        peft_config=LoraConfig(
            r=shape.rank, lora_alpha=2 * shape.rank, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    trainer.train()
    seconds = median(later - sooner for sooner, later in pairwise(clock.ends))
    return {
        "variant": f"TRL {trl.__version__}, RLOO",
        "seconds": round(seconds, 6),
        "tokens_per_second": round(shape.batch * (shape.prompt + shape.response) / seconds, 1),
        "peak_gb": peak_gb(device),
        "note": f"{shape.objectives} reward models of the policy's size",
    }


if __name__ == "__main__":
    device, dtype, shape = sys.argv[1:]
    print("RESULT " + json.dumps(measure(device, dtype, Shape(**json.loads(shape)))))
