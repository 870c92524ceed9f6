"""Trains the sandbox's language model from scratch: `python -m rlhf_core.sandbox.pretrain`, minutes on one core."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rlhf_core.config.run import ModelConfig
from rlhf_core.constitution.load import load_constitution
from rlhf_core.errors import TrainingFailed
from rlhf_core.inference.choice_logprobs import choose
from rlhf_core.inference.generate import chat
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.base import Record
from rlhf_core.sandbox.corpus import Corpus, Document
from rlhf_core.sandbox.documents import Encoder, Example
from rlhf_core.sandbox.forward import hidden_states
from rlhf_core.sandbox.skills import Skill, SkillReport, measure_skills
from rlhf_core.sandbox.tokenizer import END, MAX_LENGTH, PAD, train_tokenizer
from rlhf_core.sandbox.world import load_world

MODEL = Path(__file__).with_name("model")
"""Where the shipped model is."""
STEPS = 1200
DOCUMENTS = 48
"""Documents in a step."""
GROUPS = 6
"""A step's documents are sorted by length and run in this many batches, so that little of them is padding."""
WIDTHS, COUNTS = 16, 64
"""A batch's width and its number of targets are rounded up to multiples of these: few shapes, as oneDNN prepares each
new one anew, which took a sixth of a step."""
MIXTURE = {
    "entry": 0.20,
    "copying": 0.05,
    "question": 0.10,
    "criticism": 0.34,
    "judgement": 0.23,
    "summing_up": 0.08,
}
"""Shares of the sorts of documents, by the method of `Corpus` that draws them."""
LAYERS, WIDTH, HEADS = 5, 112, 4
MATRIX_LEARNING_RATE = 0.02
LEARNING_RATE = 2e-3
WARMUP = 50
PROBE_ITEMS, FINAL_ITEMS = 32, 256


class ModelCard(Record):
    """What made the model beside it, and what the model can do on tasks held out."""

    description: str = "A test bed's language model: household tasks of the Charter sandbox, nothing else."
    seed: int
    steps: int
    parameters: int
    documents: int
    cpu_seconds: float
    """Processor time of the whole training, all threads together."""
    torch_version: str
    skills: SkillReport


def pretrain(seed: int, steps: int, out: Path) -> ModelCard:
    """Train on documents drawn by the seed, print skills on the way, save model, tokenizer and card to the folder."""
    torch.manual_seed(seed)
    corpus = Corpus(load_world(), np.random.default_rng(seed))
    tokenizer = train_tokenizer(text for _ in range(4000) for text in _texts(_draw(corpus)))
    encoder, model = Encoder(tokenizer), new_model(tokenizer)
    optimizers = _optimizers(model)
    probing = 0.0
    for step in range(steps):
        for optimizer, peak in zip(optimizers, (MATRIX_LEARNING_RATE, LEARNING_RATE), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * _schedule(step, steps)
        loss = _step(model, optimizers, [encoder(_draw(corpus)) for _ in range(DOCUMENTS)])
        if (step + 1) % 25 == 0:
            print(f"step {step + 1}/{steps}  loss {loss:.3f}  cpu {time.process_time() - probing:.0f} s", flush=True)
        if (step + 1) % max(steps // 6, 1) == 0 and step + 1 < steps:
            started = time.process_time()
            _save(model, tokenizer, out)
            print(summary(skills_of(out, PROBE_ITEMS, seed)), flush=True)
            probing += time.process_time() - started
    _save(model, tokenizer, out)
    card = ModelCard(
        seed=seed,
        steps=steps,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        documents=steps * DOCUMENTS,
        cpu_seconds=round(time.process_time() - probing, 1),
        torch_version=torch.__version__,
        skills=skills_of(out, FINAL_ITEMS, seed),
    )
    (out / "card.json").write_text(card.model_dump_json(indent=2) + "\n")
    return card


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Make a randomly initialised Llama of about a million parameters."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.vocab[PAD],
        eos_token_id=tokenizer.vocab[END],
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)


def loss_sum(model: LlamaForCausalLM, examples: Sequence[Example]) -> Tensor:
    """Sum the targets' weighted negative log-likelihoods over one right-padded batch, in nats."""
    width = _rounded_up(max(len(example.tokens) for example in examples), WIDTHS)
    tokens = torch.tensor([example.tokens + [0] * (width - len(example.tokens)) for example in examples])
    targets = [(row, *target) for row, example in enumerate(examples) for target in example.targets]
    targets += [(0, 0, 0, 0.0)] * (_rounded_up(len(targets), COUNTS) - len(targets))
    rows, positions, wanted, weights = zip(*targets, strict=True)
    hidden = hidden_states(model, tokens, torch.bfloat16)[list(rows), list(positions)].bfloat16()
    logits = functional.linear(hidden, model.lm_head.weight.bfloat16())
    losses = functional.cross_entropy(logits.float(), torch.tensor(wanted), reduction="none")
    return (losses * torch.tensor(weights)).sum()


def skills_of(folder: Path, items: int, seed: int) -> SkillReport:
    """Measure the skills of the model in the folder, as the services would use it."""
    backbone = Backbone.load(str(folder), ModelConfig())
    return measure_skills(
        lambda conversations: chat(backbone, conversations, ModelConfig().feedback_tokens),
        lambda conversations, labels: choose(backbone, conversations, labels),
        load_constitution("household"),
        items,
        seed,
    )


def summary(skills: SkillReport) -> str:
    """Write the report on one line."""
    single = {name: value for name, value in skills if isinstance(value, Skill)}
    both = {f"judge {name}": value for name, value in skills.judge.items()}
    gaps = {f"gap {name}": value for name, value in skills.position_gap.items()}
    return "  ".join(f"{name} {skill.mean:.2f}" for name, skill in {**single, **both, **gaps}.items())


def _optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the layers' matrices, AdamW for embeddings and norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim < 2] + [model.lm_head.weight]
    return [
        torch.optim.Muon(matrices, weight_decay=0.01, adjust_lr_fn="original"),
        torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to 2 %."""
    return min(1, (step + 1) / WARMUP) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))


def _step(model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer], examples: list[Example]) -> float:
    examples = sorted(examples, key=lambda example: len(example.tokens))
    total = sum(target.weight for example in examples for target in example.targets)
    loss = 0.0
    for group in range(GROUPS):
        batch = examples[group * DOCUMENTS // GROUPS : (group + 1) * DOCUMENTS // GROUPS]
        part = loss_sum(model, batch) / total
        part.backward()
        loss += part.item()
    if not math.isfinite(loss):
        raise TrainingFailed(f"the loss became {loss}")
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss


def _rounded_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _draw(corpus: Corpus) -> Document:
    sort = corpus.rng.choice(list(MIXTURE), p=list(MIXTURE.values()))
    return getattr(corpus, sort)()


def _texts(document: Document) -> Iterator[str]:
    yield from document.pieces
    yield from (turn.content for turn in document.turns)


def _save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=MODEL)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    card = pretrain(options.seed, options.steps, options.out)
    print(f"{card.parameters} parameters, {card.cpu_seconds} CPU seconds, saved to {options.out}")
    print(summary(card.skills))


if __name__ == "__main__":
    main()
