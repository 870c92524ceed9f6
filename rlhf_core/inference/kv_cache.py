"""Keys and values: of a batch whose rows come and go, of prompts alone, and of beginnings that rows share."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PretrainedConfig
from transformers.cache_utils import CacheLayerMixin, DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

from rlhf_core.errors import InvalidInput

SLACK = 128
"""Columns that new buffers have to spare at least, where rows may need so many."""
LEAST_ROWS = 8


class KVCache:
    """Rows 0 to `count` - 1 of buffers (rows, heads, room, size), in columns `start` to `end`, and a mask over them.

    A decode step writes column `end` of all rows at once. New rows take the places that they are told; until rows are
    dropped, nothing that is there has to move.
    """

    def __init__(self, config: PretrainedConfig):
        """InvalidInput when the architecture keeps something else than keys and values."""
        self.layers = prompt_cache(config)
        """What a pass through the model is given."""
        self.buffers: list[Tensor] = []
        """The mask (rows, 1, room, 1), then keys and values of each layer."""
        self.count = self.start = self.end = 0
        self._rows = self._room = self._more = 0
        for index, layer in enumerate(attention_of(self.layers)):
            self.layers.layers[self.layers.layers.index(layer)] = _Layer(self, 1 + 2 * index)

    @property
    def width(self) -> int:
        """Columns that count."""
        return self.end - self.start

    @property
    def bytes(self) -> int:
        """Memory that the buffers hold."""
        return sum(buffer.nbytes for buffer in self.buffers)

    def join(
        self, prompts: DynamicCache, mask: Tensor, source: Sequence[int], places: Sequence[int], more: int
    ) -> None:
        """Copy rows `source` of a cache of prompts, and of their mask (B, width), into free or new places.

        They may need `more` columns behind those.
        """
        width, count = mask.shape[1], max(self.count, *(place + 1 for place in places))
        self._more = max(self._more, more)
        self._narrow()
        if count > self._rows or self.end < width:
            rows = max(count, 2 * self._rows) if count > self._rows else self._rows
            self._fit(rows, max(self.width, width))
        states = [mask[:, None, :, None], *states_of(prompts)]
        if not self.buffers:
            self.buffers = [part.new_zeros(self._rows, part.shape[1], self._room, part.shape[3]) for part in states]
        index, to = (torch.tensor(numbers, device=mask.device) for numbers in (source, places))
        self.buffers[0][to] = 0
        for buffer, part in zip(self.buffers, states, strict=True):
            buffer[to, :, self.end - width : self.end] = part[index]
        self.count, self.start = count, min(self.start, self.end - width)

    def next_column(self, present: Tensor) -> Tensor:
        """Make room for a column, which a pass then writes; return the mask (count, width + 1) that it is given.

        `present` (count,) is 1 where that column counts.
        """
        if self.end == self._room:
            self._fit(self._rows, self.width)
        mask = self.buffers[0][: self.count, 0, :, 0]
        mask[:, self.end] = present
        return mask[:, self.start : self.end + 1]

    def advance(self) -> None:
        """Let the column that was written count from now on."""
        self.end += 1
        self._more -= 1

    def keep(self, places: Sequence[int]) -> None:
        """Drop all rows but these, which move to the front in this order."""
        for buffer in self.buffers:
            kept = torch.tensor(places, device=buffer.device)
            buffer[: len(places), :, self.start : self.end] = buffer[kept, :, self.start : self.end]
        self.count = len(places)
        self._narrow()
        rows = max(self.count, LEAST_ROWS)
        if 4 * rows <= self._rows or 4 * (self.width + SLACK) <= self._room:
            self._fit(rows, self.width)

    def _narrow(self) -> None:
        """Leave out columns that count in no row any more, once they are more than half."""
        if self.buffers:
            columns = self.buffers[0][: self.count, 0, self.start : self.end, 0].amax(0)
            first = int(columns.argmax())
            self.start += first if 2 * first > self.width else 0

    def _fit(self, rows: int, width: int) -> None:
        """Make buffers of so many rows, for twice this width at most; what counts moves to their front."""
        room = width + min(width + SLACK, self._more)
        kept = (slice(0, self.count), slice(None), slice(self.start, self.end))
        moved = (slice(0, self.count), slice(None), slice(width - self.width, width))
        for index, buffer in enumerate(self.buffers):
            self.buffers[index] = buffer.new_zeros(rows, buffer.shape[1], room, buffer.shape[3])
            self.buffers[index][moved] = buffer[kept]
        self._rows, self._room = rows, room
        self.start, self.end = width - self.width, width


class _Layer(DynamicLayer):
    """One layer's part of the buffers; `update` returns views into them."""

    def __init__(self, cache: KVCache, index: int):
        super().__init__()
        # A cycle would keep the buffers, which may be hundreds of MB, until the garbage collector comes by.
        self._cache, self._index = weakref.proxy(cache), index

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        cache = self._cache
        keys, values = (buffer[: cache.count] for buffer in cache.buffers[self._index : self._index + 2])
        keys[:, :, cache.end], values[:, :, cache.end] = key_states[:, :, 0], value_states[:, :, 0]
        columns = slice(cache.start, cache.end + 1)
        return keys[:, :, columns], values[:, :, columns]

    def get_seq_length(self) -> int:
        return self._cache.width


def prompt_cache(config: PretrainedConfig) -> DynamicCache:
    """Return a cache that keeps every position, in layers with a sliding window too: the mask alone narrows those.

    InvalidInput when the architecture keeps something else than keys and values.
    """
    cache = DynamicCache(config=config)
    strange = [type(layer).__name__ for layer in cache.layers if type(layer) not in (*ATTENTION, DummyLayer)]
    if strange:
        raise InvalidInput(f"the model keeps a {strange[0]}; only keys and values of attention can be batched")
    cache.layers = [DynamicLayer() if type(layer) in ATTENTION else layer for layer in cache.layers]
    return cache


ATTENTION = (DynamicLayer, DynamicSlidingWindowLayer)
"""Layers that keep keys and values of their own."""


def attention_of(cache: Cache) -> list[CacheLayerMixin]:
    """Return the layers that keep keys and values, in order."""
    return [layer for layer in cache.layers if isinstance(layer, DynamicLayer)]


def states_of(cache: Cache) -> list[Tensor]:
    """Return keys and values of each layer that has its own, in order."""
    return [states for layer in attention_of(cache) for states in (layer.keys, layer.values) if states is not None]


def roomy_cache(config: PretrainedConfig, room: int) -> DynamicCache:
    """Return a cache for `room` positions. Layers of other kinds (sliding windows) keep their own way of storing."""
    cache = DynamicCache(config=config)
    cache.layers = [_RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class _RoomyLayer(DynamicLayer):
    """`keys` and `values` (B, heads, length, size) are views into buffers that are `room` positions long."""

    def __init__(self, room: int):
        super().__init__()
        self.room = room

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            shape = (*key_states.shape[:2], self.room, key_states.shape[3])
            self._key_buffer, self._value_buffer = key_states.new_empty(shape), value_states.new_empty(shape)
        start = self.get_seq_length()
        end = start + key_states.shape[2]
        self._key_buffer[:, :, start:end] = key_states
        self._value_buffer[:, :, start:end] = value_states
        self.keys, self.values = self._key_buffer[:, :, :end], self._value_buffer[:, :, :end]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        if not self.is_initialized:
            return
        end = self.get_seq_length()
        keys, values = self._key_buffer[indices, :, :end], self._value_buffer[indices, :, :end]
        self.is_initialized = False
        self.update(keys, values)
