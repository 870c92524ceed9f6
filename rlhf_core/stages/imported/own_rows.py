"""The rows of the user's files that the model can read, measured before the first stage: by file and line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from rlhf_core.data.loaders import read_demonstration, read_labels, read_preference, read_prompt
from rlhf_core.data.reward_examples import Label, LabelledPair
from rlhf_core.data.row_files import load_rows, locate_rows, shown
from rlhf_core.datasets.references import rows_at
from rlhf_core.errors import InvalidInput
from rlhf_core.records.base import Stage
from rlhf_core.records.samples import Demonstration, Prompt
from rlhf_core.stages.context import Context
from rlhf_core.stages.imported.lengths import (
    measure_demonstration,
    measure_label,
    measure_labels,
    measure_prompt,
    overlong,
)

PPO: frozenset[Stage] = frozenset({"ppo", "control"})

T = TypeVar("T")


class Kind(NamedTuple, Generic[T]):
    """How rows of one file are read, and measured: TooLong, or another InvalidInput for what no skipping mends."""

    read: Callable[[dict[str, Any], str], T]
    measure: Callable[[Context, T], None]


PROMPTS = Kind[Prompt](read_prompt, measure_prompt)
DEMONSTRATIONS = Kind[Demonstration](read_demonstration, measure_demonstration)
PREFERENCES = Kind[LabelledPair](read_preference, measure_label)
LABELS = Kind[list[Label]](read_labels, measure_labels)


def rows_of(ctx: Context, path: str, kind: Kind[T]) -> list[T]:
    """Return the rows of a file or dataset of the user's; without those too long, where `data.overlong` is `skip`."""
    source = rows_at(ctx.store, path)
    if ctx.config.data.overlong == "refuse":
        return load_rows(source, kind.read)
    rows = locate_rows(source, kind.read)
    return [row.record for row, fault in zip(rows, overlong(ctx, rows, kind.measure), strict=True) if not fault]


def check_rows(ctx: Context, stages: Collection[Stage]) -> None:
    """Measure every row that these stages will read, before the first of them.

    Raises InvalidInput naming each row that is too long, or where they are skipped and nothing else is left.
    """
    skips = ctx.config.data.overlong == "skip"
    problems: list[str] = []
    for field, path, kind in _files(ctx, stages):
        rows = locate_rows(rows_at(ctx.store, path), kind.read)
        faults = [fault for fault in overlong(ctx, rows, kind.measure) if fault]
        if not skips:
            problems += faults
        elif len(faults) == len(rows):
            raise InvalidInput(f"{field}: all {len(rows)} rows are longer than the model reads; {faults[0]}", field)
        elif faults:
            ctx.note(f"{field}: {len(faults)} of {len(rows)} rows are longer than the model reads and are skipped")
    if problems:
        hint = "shorten them, or leave them out with data.overlong=skip"
        raise InvalidInput(shown(problems, "and {} more rows that are too long"), "data.overlong", hint=hint)


def _files(ctx: Context, stages: Collection[Stage]) -> Iterator[tuple[str, str, Kind[Any]]]:
    """Field, path and kind of each file that these stages read."""
    data = ctx.config.data
    named = (
        ("prompts", data.prompts, PROMPTS, bool(stages)),
        ("heldout_prompts", data.heldout_prompts, PROMPTS, bool(stages)),
        ("demonstrations", data.demonstrations, DEMONSTRATIONS, "sft" in stages),
        ("replay", data.replay, DEMONSTRATIONS, bool(ctx.config.ppo.ptx_coef) and not PPO.isdisjoint(stages)),
        ("preferences", data.preferences, PREFERENCES, "reward" in stages),
        *((f"labels.{name}", path, LABELS, "reward" in stages) for name, path in data.labels.items()),
    )
    for field, path, kind, is_read in named:
        if path is not None and is_read:
            yield f"data.{field}", path, kind
