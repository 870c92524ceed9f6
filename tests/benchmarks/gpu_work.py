"""The model and the work that `tests.benchmarks.gpu` measures, and how many bytes and operations the work takes."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config

from rlhf_core.config.run import LoraConfig, ModelConfig, PassesConfig
from rlhf_core.inference.sequence import SamplingParams, TokenMeaning, TokenSequence
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import Batch, make_batch
from rlhf_core.models.policy import Policy
from rlhf_core.models.self_checks import check_packing
from rlhf_core.records.samples import BASE_POLICY, Prompt
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.training.optimizer import Optimizer
from rlhf_core.training.ppo.losses import masked_mean
from tests.benchmarks.ppo_once import word_tokenizer

POLICY = "policy"
MOST_REPEATS = 5
Dtype = Literal["float32", "bfloat16"]


class Shape(NamedTuple):
    """A Qwen3, and how much of what is asked of it."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    vocabulary: int
    batch: int
    prompt: int
    response: int
    micro: int
    """Rows of a pass with gradients."""
    objectives: int = 4
    rank: int = 16
    copied: int = 2**30
    """Bytes of the copy, and rows of the matrices, whose speed is the most that this device reaches."""
    product: int = 8192

    @property
    def linear(self) -> int:
        """Weights of the linear layers below the head."""
        attention = self.hidden * self.head_size * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.inner)

    @property
    def adapter(self) -> int:
        """Weights of an adapter."""
        sides = 2 * self.hidden + 2 * self.head_size * self.heads + 2 * (self.hidden + self.kv_heads * self.head_size)
        return self.layers * self.rank * (sides + 3 * (self.hidden + self.inner))

    def pass_flops(self, tokens: int, length: float) -> float:
        """Operations of a pass forward over tokens of rows that are so long on average, the head left out."""
        attention = 2 * self.layers * self.heads * self.head_size * length  # half of all pairs, two products
        return tokens * (2 * (self.linear + self.adapter) + attention)

    def update_flops(self, tokens: int, responses: int, length: float) -> float:
        """Operations of a pass forward and back: frozen weights take no gradients, adapters and attention do."""
        attention = 2 * self.layers * self.heads * self.head_size * length
        head = 4 * responses * self.hidden * self.vocabulary
        return tokens * (4 * self.linear + 6 * self.adapter + 3 * attention) + head

    def step_bytes(self, rows: int, seen: float, size: int) -> float:
        """Bytes that a decode step cannot do without: all weights, and keys and values of what rows have so far."""
        cached = 2 * self.layers * self.kv_heads * self.head_size * size
        weights = (self.linear + self.vocabulary * self.hidden) * size + self.adapter * 4
        return weights + rows * (seen + 1) * cached


SHAPES = {
    "qwen3-0.6b": Shape(28, 1024, 16, 8, 128, 3072, 151_936, batch=256, prompt=128, response=128, micro=64),
    "small": Shape(
        *(6, 256, 8, 4, 32, 768, 4096), batch=32, prompt=32, response=32, micro=16, copied=2**26, product=1024
    ),
    "tiny": Shape(
        *(2, 32, 4, 2, 8, 64, 512), batch=8, prompt=8, response=8, micro=4, rank=4, copied=2**16, product=64
    ),
}  # fmt: skip


@cache
def _tokenizer(size: int) -> PreTrainedTokenizerFast:
    return word_tokenizer(size)


def settings_of(shape: Shape) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_size,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def build(shape: Shape, device: str, dtype: Dtype, passes: PassesConfig, judged: bool = False) -> Backbone:
    """A model with random weights and the policy's adapter; where it is `judged`, one for each objective too."""
    with torch.device(device):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(settings_of(shape), dtype=getattr(torch, dtype))
    lora = LoraConfig(rank=shape.rank, alpha=2 * shape.rank)
    config = ModelConfig(base_model="noise", device=device, dtype=dtype, lora=lora, passes=passes)
    backbone = Backbone("noise", model, _tokenizer(shape.vocabulary), config)
    if passes.packing:
        check_packing(backbone, range(4, shape.vocabulary))
    for seed, name in enumerate((POLICY, *(objectives(shape) if judged else ()))):
        backbone.adapters.add(name, seed)
        with torch.no_grad():
            for parameter in backbone.adapters.parameters(name):
                parameter.add_(0.01 * torch.randn_like(parameter))
    return backbone


def objectives(shape: Shape) -> tuple[str, ...]:
    """Names of the objectives, and of their adapters."""
    return tuple(f"objective-{place}" for place in range(shape.objectives))


def judges(backbone: Backbone, shape: Shape, trunk: bool = False) -> list[RewardModel]:
    """A reward model for each objective: each with its adapter, or all on the first one's."""
    names = objectives(shape)
    return [RewardModel(backbone, names[0] if trunk else name, name, 1, seed) for seed, name in enumerate(names)]


def words(shape: Shape, rows: int, length: int, seed: int) -> list[list[int]]:
    """Rows of random tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, shape.vocabulary, (rows, length), generator=generator).tolist()


def texts(rows: Sequence[Sequence[int]]) -> list[str]:
    """The same as text, which the tokenizer reads back."""
    return [" ".join(f"w{token}" for token in row) for row in rows]


def conversations(shape: Shape, rows: int) -> list[tuple[Prompt, str]]:
    prompts, replies = (texts(words(shape, rows, n, seed)) for seed, n in ((1, shape.prompt), (2, shape.response)))
    return [(Prompt.of(prompt), reply) for prompt, reply in zip(prompts, replies, strict=True)]


def batch_of(backbone: Backbone, shape: Shape, spread: bool = False) -> Batch:
    """Prompts and responses of full length, or of a sixteenth of it and anything up to it."""
    prompts, responses = (words(shape, shape.batch, n, seed) for seed, n in ((1, shape.prompt), (2, shape.response)))
    if spread:
        shares = [(1 + place * 7 % 16) / 16 for place in range(shape.batch)]
        prompts, responses = (
            [row[: max(1, int(share * len(row)))] for row, share in zip(rows, shares, strict=True)]
            for rows in (prompts, responses)
        )
    return make_batch(backbone, prompts, responses)


def sequences(backbone: Backbone, shape: Shape) -> list[TokenSequence]:
    """Responses to be written that nothing ends before their last token."""
    params = SamplingParams.model_construct(temperature=1.0, max_tokens=shape.response)
    meaning = TokenMeaning(backbone.decode, frozenset())
    prompts = words(shape, shape.batch, shape.prompt, 1)
    return [TokenSequence(tuple(row), seed, BASE_POLICY, params, meaning) for seed, row in enumerate(prompts)]


class Learner:
    """Updates of the policy's adapter and its value heads on one batch: a pass forward and back for each part of it."""

    def __init__(self, backbone: Backbone, shape: Shape, batch: Batch, micro: int):
        self.policy = Policy(backbone, POLICY, objectives(shape))
        self._optimizer = Optimizer(self.policy.parameters(), 1e-6, updates=1000)
        self._batch, self._parts = batch, torch.arange(len(batch.ids)).split(micro)
        self._count = batch.mask.sum()

    def loss(self, rows: Tensor) -> Tensor:
        """The share of these rows in a loss of log-probs and values."""
        part = self._batch.rows(rows)
        now = self.policy.evaluate(part, train=True, entropy="none")
        values = masked_mean(now.values.square().mean(-1), part.mask, self._count)
        return values - masked_mean(now.logprobs, part.mask, self._count)

    def one_pass(self) -> Tensor:
        """A pass over the first part, with its graph."""
        return self.loss(self._parts[0])

    def update(self) -> None:
        self._optimizer.discard()
        with self.policy.backbone.adapters.using(POLICY, train=True):
            for rows in self._parts:
                self._optimizer.accumulate(self.loss(rows), "a benchmark")
            self._optimizer.apply("a benchmark")


def wait(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], object], device: str, until: float) -> float:
    """Median seconds of a few repeats after a first one, which is not counted unless the time is over by then."""
    found: list[float] = []
    while len(found) <= MOST_REPEATS:
        started = time.perf_counter()
        work()
        wait(device)
        found.append(time.perf_counter() - started)
        if time.monotonic() + found[-1] > until:
            break
    return statistics.median(found[1:] or found)


@contextmanager
def free_memory(device: str) -> Iterator[None]:
    """Begin with nothing of what was measured before, and count the most that is held from here."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield


def peak_gb(device: str) -> float | None:
    """The most memory of the GPU that tensors took; None on a CPU, which does not count it."""
    return round(torch.cuda.max_memory_allocated() / 1e9, 3) if device.startswith("cuda") else None
