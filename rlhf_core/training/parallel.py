"""Processes that learn together: each takes a share of the rows, and what is summed over all is what one would have.

PyTorch does the distribution (torch.distributed): gloo between CPUs, NCCL between GPUs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

PATIENCE = timedelta(hours=2)
"""For one that is slow or waits for its turn; one that is gone is noticed at once, by its closed connection."""


class Pass(NamedTuple):
    """Rows that one process reads at once, and what they count: 0 where it has none left and only keeps step."""

    rows: Tensor
    weight: float = 1.0


class Ranks(NamedTuple):
    """One process's place among those that learn together; by default it is alone, and nothing is sent.

    All of them call the same methods in the same order.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes what all of them have."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Return which of `count` things in a row are this process's."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def passes(self, rows: Tensor, most: int | None = None) -> list[Pass]:
        """Divide the rows (N,) among the processes, and each share into passes of `most` rows or less; None: one pass.

        Every process makes as many passes, all about as large: 24 rows of 21 at most are 12 and 12, which hold less at
        once than 21 and 3. Shares hold neighbours, which may answer one prompt and are then read together.
        """
        ordered = rows if self.size == 1 else rows.sort().values
        shares = ordered.tensor_split(self.size)  # the first is as long as any
        count = -(-len(shares[0]) // (most or len(shares[0])))
        own = [Pass(part) for part in shares[self.rank].tensor_split(count) if len(part)]
        return own + [Pass(ordered[:1], 0.0)] * (count - len(own))

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum of every process's tensor; all of one shape. No gradient passes through it."""
        if self.size > 1:
            tensor = tensor.detach().clone()
            dist.all_reduce(tensor)
        return tensor

    def gather(self, value: Any) -> list[Any]:
        """Return every process's value, in their order; values are what JSON holds, so that tuples come as lists."""
        if self.size == 1:
            return [value]
        own = _bytes(json.dumps(value))
        lengths = [torch.zeros(1, dtype=torch.long) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor([len(own)]))
        most = max(int(length) for length in lengths)
        found = [own.new_zeros(most) for _ in lengths]
        dist.all_gather(found, nn.functional.pad(own, (0, most - len(own))))
        return [json.loads(_text(part[: int(length)])) for part, length in zip(found, lengths, strict=True)]

    def told(self, text: str = "") -> str:
        """Return the first process's text; what the others give counts nothing."""
        if self.size == 1:
            return text
        own = _bytes(text)
        length = torch.tensor([len(own)])
        dist.broadcast(length, 0)
        said = own if self.is_first else own.new_zeros(int(length))
        dist.broadcast(said, 0)
        return _text(said)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give every parameter the sum of all processes' gradients; one that has none anywhere keeps none.

        Sharded parameters have it already: FSDP sums as it divides.
        """
        plain = [p for p in parameters if not isinstance(p, DTensor)]
        if self.size == 1 or not plain:
            return
        has = torch.tensor([float(p.grad is not None) for p in plain], device=plain[0].device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in plain]
        summed = self.total(torch.cat([has, *(gradient.flatten() for gradient in gradients)]))
        sizes = [len(plain), *(p.numel() for p in plain)]
        counts, *parts = summed.split(sizes)
        for parameter, count, part in zip(plain, counts.tolist(), parts, strict=True):
            parameter.grad = part.view_as(parameter).clone() if count else None


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes that `torchrun` has started beside this one, while the block lasts."""
    dist.init_process_group(backend(torch.cuda.is_available()), timeout=PATIENCE)
    try:
        yield members()
    finally:
        dist.destroy_process_group()


def backend(gpus: bool) -> str:
    """Name what carries tensors between processes."""
    return "cpu:gloo,cuda:nccl" if gpus else "gloo"


def members() -> Ranks:
    """Return this process's place in the group that it is in."""
    return Ranks(dist.get_rank(), dist.get_world_size())


def _bytes(text: str) -> Tensor:
    # A buffer of no bytes would be refused.
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8) if text else torch.zeros(0, dtype=torch.uint8)


def _text(said: Tensor) -> str:
    return said.numpy().tobytes().decode()
