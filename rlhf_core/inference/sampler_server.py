"""What is asked of a sampler outside of this process: adapters by name, rows in, rows with their log-probs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from rlhf_core.inference.generate import Generated

POLL_SECONDS = 0.1
"""How often others get their turn while rows are written."""

PIECE = 64
"""Rows that are taken up together, in the order in which they were asked for: as many as a pass of a reward model."""

Told = Callable[[int, Generated], None]
"""Told of each row once, as soon as it is written: its place among those that were asked for, and the row."""


class Adapter(NamedTuple):
    """A low-rank adapter in a folder that the server reads too, under a name that no other weights will ever have."""

    name: str
    folder: Path


class Base(NamedTuple):
    """The base model that is served: its name, and how many tokens of prompt and response it reads together."""

    name: str
    longest: int


class Row(NamedTuple):
    """A response to write: its prompt and its own seed, so that a repeated request writes the same one."""

    prompt: list[int]
    seed: int


class TokenDraw(NamedTuple):
    """How all rows of a call are drawn. `token_ids` are those that may be drawn; None allows all of the vocabulary."""

    temperature: float
    max_tokens: int
    stop_ids: Sequence[int]
    token_ids: Sequence[int] | None
    vocabulary: int


def tell_nobody(index: int, row: Generated) -> None:
    """Tell nobody of a row before all are written."""


class SamplerServer(Protocol):
    """A server, or a process, that samples one base model and adapters of it. Its methods block."""

    @property
    def address(self) -> str:
        """Where it is, for messages."""
        ...

    def base(self) -> Base:
        """Return the base model that is served."""
        ...

    def load(self, adapter: Adapter) -> None:
        """Make an adapter known; one that is known already stays."""
        ...

    def unload(self, name: str) -> None:
        """Forget an adapter; one that is not known is forgotten already."""
        ...

    def write(
        self,
        model: str,
        rows: Sequence[Row],
        draw: TokenDraw,
        adapter: Adapter | None,
        told: Told = tell_nobody,
        poll: Callable[[], None] | None = None,
    ) -> list[Generated]:
        """Write each row once, in their order: by the adapter, or by the base `model`.

        `poll` is called every so often meanwhile, and may raise to give up; None is what the server was made with.
        """
        ...
