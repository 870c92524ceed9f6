"""Key-value caches with room to spare: one whose rows come and go, and one that is filled in place."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from rlhf_core.errors import InvalidInput

SLACK = 64
LEAST_ROWS = 8


class Slab:
    """Rows 0 to `count` - 1 of buffers (rows, heads, room, size), in columns `start` to `end`.

    A decode step writes column `end` of all rows at once. Rows that leave are filled from the back, so that the
    living ones stay together and nothing else has to be moved.
    """

    def __init__(self, config: PretrainedConfig):
        self.cache = DynamicCache(config=config)
        self._layers = [_SlabLayer(self) for _ in self.cache.layers]
        self.cache.layers = list(self._layers)  # pyright: ignore[reportAttributeAccessIssue]
        self.count = self.start = self.end = 0
        self._rows = self._room = 0

    @property
    def width(self) -> int:
        return self.end - self.start

    @property
    def bytes(self) -> int:
        """Memory that the buffers hold."""
        return sum(buffer.nbytes for layer in self._layers for buffer in layer.buffers)

    def join(self, filled: DynamicCache, source: Sequence[int], width: int) -> None:
        """New rows behind the others: copies of rows `source` of a cache whose last `width` columns count."""
        rows = self.count + len(source)
        if rows > self._rows or self.end < width:
            self._fit(rows, max(self.width, width))
        for layer, new in zip(self._layers, filled.layers, strict=True):
            assert isinstance(new, DynamicLayer) and new.keys is not None and new.values is not None
            keys, values = new.keys, new.values
            index = torch.tensor(source, device=keys.device)
            if not layer.buffers:
                layer.buffers = tuple(
                    states.new_zeros((self._rows, states.shape[1], self._room, states.shape[3]))
                    for states in (keys, values)
                )
            for buffer, states in zip(layer.buffers, (keys, values), strict=True):
                buffer[self.count : rows, :, self.end - width : self.end] = states[index, :, -width:]
        self.count, self.start = rows, min(self.start, self.end - width)

    def make_room(self) -> None:
        """For one more column, which a pass through the model then writes."""
        if self.end == self._room:
            self._fit(self.count, self.width)

    def advance(self) -> None:
        """That column counts from now on."""
        self.end += 1

    def leave(self, gone: Sequence[int], width: int) -> list[int]:
        """Drop rows; the places of the rows that stay, in their new order. `width` columns are enough for them."""
        left = set(gone)
        count = self.count - len(left)
        holes = [row for row in range(count) if row in left]
        movers = [row for row in range(count, self.count) if row not in left]
        order = list(range(count))
        for hole, mover in zip(holes, movers, strict=True):
            order[hole] = mover
        if holes:
            for buffer in (buffer for layer in self._layers for buffer in layer.buffers):
                to = torch.tensor(holes, device=buffer.device)
                origin = torch.tensor(movers, device=buffer.device)
                buffer[to, :, self.start : self.end] = buffer[origin, :, self.start : self.end]
        self.count, self.start = count, self.end - width
        if 4 * max(count, LEAST_ROWS) <= self._rows or 4 * (width + SLACK) <= self._room:
            self._fit(count, width)
        return order

    def mask(self, lengths: Tensor) -> Tensor:
        """(count, width + 1): 1 on the last `lengths` (count,) columns, those of the coming step included."""
        columns = torch.arange(self.width + 1, device=lengths.device)
        return (columns >= self.width + 1 - lengths[:, None]).long()

    def _fit(self, rows: int, width: int) -> None:
        """New buffers with room for these rows and for twice this width; what counts is moved to their front."""
        capacity = max(LEAST_ROWS, 1 << (rows - 1).bit_length())
        room = 2 * width + SLACK
        keep = self.width
        for layer in self._layers:
            layer.buffers = tuple(
                _moved(buffer, self.count, slice(self.start, self.end), capacity, room, width)
                for buffer in layer.buffers
            )
        self._rows, self._room = capacity, room
        self.start, self.end = width - keep, width


class _SlabLayer(DynamicLayer):
    """One layer's buffers; `keys` and `values` are views into them."""

    def __init__(self, slab: Slab):
        super().__init__()
        # A cycle would keep the buffers, which may be hundreds of MB, until the garbage collector comes by.
        self._slab = weakref.proxy(slab)
        self.buffers: tuple[Tensor, ...] = ()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        slab, (keys, values) = self._slab, self.buffers
        keys[: slab.count, :, slab.end] = key_states[:, :, 0]
        values[: slab.count, :, slab.end] = value_states[:, :, 0]
        columns = slice(slab.start, slab.end + 1)
        return keys[: slab.count, :, columns], values[: slab.count, :, columns]

    def get_seq_length(self) -> int:
        return self._slab.width


def whole_cache(config: PretrainedConfig) -> DynamicCache:
    """A cache that keeps every position, in layers with a sliding window too: the mask alone narrows those.

    InvalidInput when the architecture keeps something else than keys and values.
    """
    cache = DynamicCache(config=config)
    strange = [type(layer).__name__ for layer in cache.layers if type(layer) not in KINDS]
    if strange:
        raise InvalidInput(f"the model keeps a {strange[0]}; only keys and values of attention can be batched")
    cache.layers = [DynamicLayer() for _ in cache.layers]  # pyright: ignore[reportAttributeAccessIssue]
    return cache


KINDS = (DynamicLayer, DynamicSlidingWindowLayer)


def _moved(buffer: Tensor, count: int, columns: slice, rows: int, room: int, end: int) -> Tensor:
    new = buffer.new_zeros((rows, buffer.shape[1], room, buffer.shape[3]))
    kept = buffer[:count, :, columns]
    new[:count, :, end - kept.shape[2] : end] = kept
    return new


def roomy_cache(config: PretrainedConfig, room: int) -> DynamicCache:
    """A cache for `room` positions. Layers of other kinds (sliding windows) keep their own way of storing."""
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
