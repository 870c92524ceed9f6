"""The same decode loop in memory that does not move, so that a GPU can record a step once and then repeat it.

A step of a small model is a thousand kernels of a few microseconds each, which cost more to start than to run; a CUDA
graph starts them all at once. Shapes and places must be the same each time, so rows and columns come in steps.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from rlhf_core.errors import InvalidInput
from rlhf_core.inference.engines.native import prefill
from rlhf_core.inference.kv_cache import attention_of, prompt_cache, states_of
from rlhf_core.inference.sampling import draw_noise, write
from rlhf_core.inference.sequence import SamplingParams, TokenMeaning, TokenSequence
from rlhf_core.models.adapters.adapters import Adapters
from rlhf_core.models.adapters.lora_linear import RoundedFactors
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import make_batch
from rlhf_core.models.logprobs import response_logprobs
from rlhf_core.models.self_checks import tolerance_of
from rlhf_core.records.samples import BASE_POLICY

FIELD = "model.passes.fixed_cache"
ROWS, COLUMNS = 8, 64
"""Buffers have multiples of so many; a pass reads a multiple of so many columns."""
TRIED = ((3, 1, 4, 1, 5), (9, 2, 6, 5, 3, 5, 8, 9, 7))
"""Places in the vocabulary of the prompts that are tried."""
TRIED_TOKENS = 6


class Steps(NamedTuple):
    """How much of the buffers a pass sees: the first so many rows and columns."""

    rows: int
    columns: int


class FixedCache:
    """Buffers of keys and values, and of what a pass is given: all stay where they are from step to step."""

    def __init__(self, backbone: Backbone, states: Sequence[Tensor], rows: int, columns: int):
        """`states` are keys and values of each layer, of any number of rows and columns."""
        device, dtype = backbone.device, states[0].dtype
        self.size = Steps(rows, columns)
        self.states = [part.new_zeros(rows, part.shape[1], columns, part.shape[3]) for part in states]
        self.masked_value = torch.finfo(dtype).min
        self.mask = torch.full((rows, 1, 1, columns), self.masked_value, dtype=dtype, device=device)
        self.last, self.positions = (torch.zeros(rows, 1, dtype=torch.long, device=device) for _ in range(2))
        self.column = torch.zeros(1, dtype=torch.long, device=device)
        """Where the pass writes."""
        self.sees = self.size
        self.layers = prompt_cache(backbone.model.config)
        for index, layer in enumerate(attention_of(self.layers)):
            self.layers.layers[self.layers.layers.index(layer)] = _Layer(self, 2 * index)
        self.graphs: dict[Steps, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self._adapter: tuple[str | None, int] = (None, 0)
        """The one that the graphs were recorded with."""
        self.rounded: RoundedFactors | None = None
        """Of that adapter."""

    def turn_to(self, adapters: Adapters) -> None:
        """Take the active adapter as it is now; graphs of another, or of one that may have moved, are dropped."""
        now = (adapters.active, adapters.changes)
        if self._adapter != now:
            self.graphs.clear()
            self._adapter, self.rounded = now, adapters.rounded()
        elif self.rounded is not None:
            self.rounded.refresh()

    def fill(self, prompts: Cache, mask: Tensor, source: Tensor) -> None:
        """Take rows `source` of a cache of prompts, and of their mask (B, P), as the first rows and columns."""
        rows, width = len(source), mask.shape[1]
        self.mask.fill_(self.masked_value)
        self.mask[:rows, 0, 0, :width] = torch.where(mask[source].bool(), 0.0, self.masked_value).to(self.mask.dtype)
        self.positions[:rows] = mask[source].sum(1, keepdim=True)
        for buffer, part in zip(self.states, states_of(prompts), strict=True):
            buffer.zero_()  # what another batch left may be no numbers, which no mask would hide
            buffer[:rows, :, :width] = part[source]

    def keep(self, places: Sequence[int], width: int) -> None:
        """Move these rows to the front, in this order."""
        index = torch.tensor(places, device=self.mask.device)
        for buffer in (*self.states, self.mask):
            buffer[: len(places), ..., :width, :] = buffer[index, ..., :width, :]
        for buffer in (self.last, self.positions):
            buffer[: len(places)] = buffer[index]


class _Layer(DynamicLayer):
    """One layer's buffers; `update` writes the column that the cache names and returns what the pass sees."""

    def __init__(self, cache: FixedCache, index: int):
        super().__init__()
        self._cache, self._index = weakref.proxy(cache), index

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        cache, (rows, columns) = self._cache, self._cache.sees
        keys, values = (buffer[:rows] for buffer in cache.states[self._index : self._index + 2])
        keys.index_copy_(2, cache.column, key_states)
        values.index_copy_(2, cache.column, value_states)
        return keys[:, :, :columns], values[:, :, :columns]

    def get_seq_length(self) -> int:
        return self._cache.sees.columns - 1


class FixedDecoder:
    """Writes a batch that nobody joins; what it holds stays for the next batch of the same model."""

    def __init__(self, backbone: Backbone):
        self._backbone = backbone
        self._rows: list[TokenSequence] = []
        self._end = 0
        """The column that is written next."""
        self._bucket = 0

    @property
    def rows(self) -> Sequence[TokenSequence]:
        return [row for row in self._rows if not row.ended]

    @torch.inference_mode()
    def join(self, rows: Sequence[TokenSequence]) -> None:
        """Compute the prompts, and write each row's first token."""
        unique = {prompt: index for index, prompt in enumerate(dict.fromkeys(row.prompt for row in rows))}
        prompts = prompt_cache(self._backbone.model.config)
        logits, mask = prefill(self._backbone, list(unique), prompts, max(row.reach for row in rows))
        source = torch.tensor([unique[row.prompt] for row in rows], device=logits.device)
        self._rows, self._end = list(rows), mask.shape[1]
        columns = self._end + max(row.params.max_tokens for row in rows)
        self._cache = _cache_for(self._backbone, states_of(prompts), len(rows), columns)
        self._cache.fill(prompts, mask, source)
        self._cache.turn_to(self._backbone.adapters)
        self._bucket = _up(len(rows), ROWS)
        draw_noise(rows)
        self._cache.last[: len(rows), 0] = write(rows, logits[source])
        self._shrink()

    @torch.inference_mode()
    def step(self) -> None:
        """Write one more token in each row."""
        cache, count = self._cache, len(self._rows)
        logits = self.compute()
        cache.positions += 1
        self._end += 1
        cache.last[:count, 0] = write(self._rows, logits[:count])
        self._shrink()

    def compute(self) -> Tensor:
        """Pass the last tokens through the model; returns logits (places, V), and may be done again until a step."""
        cache = self._cache
        self._backbone.before_pass()
        cache.sees = Steps(self._bucket, min(_up(self._end + 1, COLUMNS), cache.size.columns))
        cache.column.fill_(self._end)
        cache.mask[: self._bucket, ..., self._end] = 0.0
        return self._repeated() if self._backbone.device.type == "cuda" else self._pass()

    def _shrink(self) -> None:
        """Leave out rows that have ended once the others fit half of the places: each number of places is a graph."""
        live = [place for place, row in enumerate(self._rows) if not row.ended]
        if not live:
            _caches[self._backbone] = self._cache
        bucket = self._bucket
        while bucket % (2 * ROWS) == 0 and len(live) <= bucket // 2:
            bucket //= 2
        if live and bucket < self._bucket:
            self._cache.keep(live, self._end)
            self._rows, self._bucket = [self._rows[place] for place in live], bucket

    def _pass(self) -> Tensor:
        """Logits (rows, V); nothing here looks at a value, so that it can be recorded."""
        cache, (rows, columns) = self._cache, self._cache.sees
        mask = cache.mask[:rows, ..., :columns]
        with cache.rounded.used() if cache.rounded else nullcontext():
            return self._backbone.next_logits(cache.last[:rows], cache.positions[:rows], mask, cache.layers)

    def _repeated(self) -> Tensor:
        """The same by a graph, recorded when so many rows and columns are first seen by this adapter."""
        cache = self._cache
        if cache.sees not in cache.graphs:
            with torch.cuda.device(self._backbone.device):
                cache.graphs[cache.sees] = self._recorded()
        graph, logits = cache.graphs[cache.sees]
        graph.replay()
        return logits

    def _recorded(self) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        # Libraries make room for themselves in a first pass, on another stream as PyTorch's notes on graphs want it. A
        # pass writes the same keys and values into the same column, however often.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._pass()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = self._pass()
        return graph, logits


_caches: WeakKeyDictionary[Backbone, FixedCache] = WeakKeyDictionary()
"""Those that no batch uses: between two steps of one, others may write a batch of their own."""
_tried: WeakKeyDictionary[Backbone, bool] = WeakKeyDictionary()


def suits(backbone: Backbone, reach: int) -> bool:
    """Tell whether rows of so many positions are written in memory that does not move.

    Raises: InvalidInput where that was asked for, and this model writes something else there.
    """
    whole = backbone.window is None or reach <= backbone.window
    if not backbone.passes.fixed_cache or backbone.passes_together or not whole:
        return False
    if backbone not in _tried:
        _check(backbone)
        _tried[backbone] = True
    return True


def _check(backbone: Backbone) -> None:
    """Write a few tokens, and compare their log-probs with those of plain passes over the finished rows."""
    tokens = sorted(backbone.tokenizer.get_vocab().values())
    prompts = [[tokens[place % len(tokens)] for place in row] for row in TRIED]
    meaning = TokenMeaning(backbone.decode, frozenset())
    params = SamplingParams.model_construct(temperature=1.0, max_tokens=TRIED_TOKENS)
    rows = [TokenSequence(tuple(prompt), seed, BASE_POLICY, params, meaning) for seed, prompt in enumerate(prompts)]
    decoder = FixedDecoder(backbone)
    try:
        decoder.join(rows)
        while decoder.rows:
            decoder.step()
    except RuntimeError as error:  # an operation that cannot be recorded, such as one that waits for a value
        reason = " ".join(str(error).split())
        raise InvalidInput(f"'{backbone.name}' cannot write in memory that does not move: {reason}", FIELD) from error
    expected = response_logprobs(backbone, make_batch(backbone, prompts, [row.tokens for row in rows])).cpu()
    far = float((torch.tensor([row.logprobs for row in rows]) - expected).abs().max())
    if not far <= tolerance_of(backbone.model) * float(expected.abs().max().clamp_min(1)):
        raise InvalidInput(
            f"'{backbone.name}' writes other tokens in memory that does not move: their log-probabilities differ by "
            f"{far:.2g} from those of plain passes; allowed: false",
            FIELD,
        )


def _cache_for(backbone: Backbone, states: Sequence[Tensor], rows: int, columns: int) -> FixedCache:
    """The cache that is free, if it has room, or else a larger one; it is free again when all rows have ended."""
    rows, columns = _up(rows, ROWS), _up(columns, COLUMNS)
    cache = _caches.pop(backbone, None)
    if cache is not None and cache.size.rows >= rows and cache.size.columns >= columns:
        return cache
    before = cache.size if cache else Steps(0, 0)
    del cache  # its memory goes before there is more
    return FixedCache(backbone, states, max(rows, before.rows), max(columns, before.columns))


def _up(count: int, step: int) -> int:
    return -(-count // step) * step
