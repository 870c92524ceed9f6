"""Trains the sandbox's language model from scratch: `python -m rlhf_core.sandbox.pretrain`, minutes on one core."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rlhf_core.sandbox.corpus import Corpus, Document
from rlhf_core.sandbox.forward import hidden_states
from rlhf_core.sandbox.tokenizer import MAX_LENGTH, ROLES, train_tokenizer
from rlhf_core.sandbox.world import load_world

STEPS = 2000
DOCUMENTS = 64
"""Documents in a step; they are sorted by length and run in GROUPS, so that little is padding."""
GROUPS = 3
MIXTURE = {"entry": 0.16, "question": 0.12, "criticism": 0.38, "judgement": 0.34}
LETTER_WEIGHT = 24.0
"""Loss weight of a judge's letter against 1 for any other token."""
LEARNING_RATE = 2e-3
MUON_LEARNING_RATE = 0.02
WARMUP = 50


class Target(NamedTuple):
    """The token that the model should give after `position`, and its weight in the loss."""

    position: int
    token: int
    weight: float


class Example(NamedTuple):
    tokens: list[int]
    targets: list[Target]


class Encoder:
    """Turns documents into tokens and targets."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        self.tokenizer = tokenizer
        self.end = tokenizer.eos_token_id
        self.role = {role: tokenizer.convert_tokens_to_ids(token) for role, token in ROLES.items()}
        self.a, self.b = (tokenizer.convert_tokens_to_ids(label) for label in "AB")
        self._cache: dict[str, list[int]] = {}

    def __call__(self, document: Document) -> Example:
        if document.text:
            tokens = [*self._encode(document.text), self.end]
            return Example(tokens, [Target(i, token, 1.0) for i, token in enumerate(tokens[1:])])
        tokens, targets = [], []
        for place, turn in enumerate(document.turns):
            content = [*self._encode(turn.content), self.end]
            if place in document.learned:
                targets += [Target(len(tokens) + i, token, 1.0) for i, token in enumerate(content)]
            tokens += [self.role[turn.role], *content]
        if document.p_a is not None:
            letter, end = targets
            targets = [
                Target(letter.position, self.a, LETTER_WEIGHT * document.p_a),
                Target(letter.position, self.b, LETTER_WEIGHT * (1 - document.p_a)),
                end,
            ]
        return Example(tokens, targets)

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)


def sample_texts(corpus: Corpus, n: int) -> Iterator[str]:
    """Texts of n documents of each sort, for the tokenizer."""
    for sort in MIXTURE:
        for _ in range(n):
            document = getattr(corpus, sort)()
            yield document.text
            yield from (turn.content for turn in document.turns)


def new_model(tokenizer: PreTrainedTokenizerFast, hidden: int = 128, layers: int = 4, heads: int = 4) -> LlamaForCausalLM:
    """A randomly initialised Llama of about a million parameters."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config)


def loss_sum(model: LlamaForCausalLM, examples: list[Example]) -> Tensor:
    """Weighted sum of the targets' negative log-likelihoods over one padded batch."""
    width = max(len(example.tokens) for example in examples)
    tokens = torch.zeros(len(examples), width, dtype=torch.long)
    rows, positions, wanted, weights = [], [], [], []
    for row, example in enumerate(examples):
        tokens[row, : len(example.tokens)] = torch.tensor(example.tokens)
        rows += [row] * len(example.targets)
        positions += [target.position for target in example.targets]
        wanted += [target.token for target in example.targets]
        weights += [target.weight for target in example.targets]
    hidden = hidden_states(model, tokens, torch.bfloat16)[rows, positions].bfloat16()
    logits = functional.linear(hidden, model.lm_head.weight.bfloat16())
    losses = functional.cross_entropy(logits.float(), torch.tensor(wanted), reduction="none")
    return (losses * torch.tensor(weights)).sum()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=str(Path(__file__).with_name("model")))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--docs", type=int, default=DOCUMENTS)
    parser.add_argument("--mlr", type=float, default=MUON_LEARNING_RATE)
    parser.add_argument("--lr", type=float, default=LEARNING_RATE)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    corpus = Corpus(load_world(), rng)
    tokenizer = train_tokenizer(sample_texts(corpus, 2000))
    encoder = Encoder(tokenizer)
    model = new_model(tokenizer, args.hidden, args.layers)
    print(len(tokenizer), sum(p.numel() for p in model.parameters()), flush=True)
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "embed" not in n)]
    opts = [
        torch.optim.Muon(matrices, lr=args.mlr, momentum=0.95, weight_decay=0.01, adjust_lr_fn="original"),
        torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    base = [args.mlr, args.lr]
    sorts, shares = list(MIXTURE), list(MIXTURE.values())
    ntok = 0
    run = {}
    t0 = time.process_time()
    for step in range(args.steps):
        names = rng.choice(sorts, size=args.docs, p=shares)
        docs = [(n, getattr(corpus, n)()) for n in names]
        ex = sorted([encoder(d) for n, d in docs], key=lambda e: len(e.tokens))
        total = sum(t.weight for e in ex for t in e.targets)
        loss_v = 0.0
        for g in range(GROUPS):
            part = ex[g * len(ex) // GROUPS : (g + 1) * len(ex) // GROUPS]
            ntok += sum(len(e.tokens) for e in part)
            loss = loss_sum(model, part) / total
            loss.backward()
            loss_v += loss.item()
        f = min(1, (step + 1) / WARMUP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / args.steps)))
        for o, b in zip(opts, base):
            for gr in o.param_groups:
                gr["lr"] = b * f
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for o in opts:
            o.step()
            o.zero_grad(set_to_none=True)
        if (step + 1) % 25 == 0:
            c = time.process_time() - t0
            print(f"step {step + 1} loss {loss_v:.4f} cpu {c:.0f}s {ntok / c:.0f} tok/s", flush=True)
        if args.steps >= 200 and (step + 1) % (args.steps // 8) == 0:
            model.save_pretrained(args.out)
            tokenizer.save_pretrained(args.out)
    print("cpu", time.process_time())


if __name__ == "__main__":
    main()
