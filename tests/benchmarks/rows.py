"""What a benchmark reports: rows with our figure, the one to compare it with, both measured in the same run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    """One figure; `ratio` is ours over the baseline, whichever of the two should be larger."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    ours: float
    baseline: float
    ratio: float | None
    """None where the baseline is 0."""
    unit: str


def row(name: str, ours: float, baseline: float, unit: str) -> Row:
    """A row with its ratio."""
    ratio = round(ours / baseline, 4) if baseline else None
    return Row(name=name, ours=round(ours, 4), baseline=round(baseline, 4), ratio=ratio, unit=unit)


def report(measure: Callable[[], Iterable[Row]]) -> None:
    """Print the rows of a script as they come; with a path as argument, write them there too."""
    rows: list[Row] = []
    for found in measure():
        times = "" if found.ratio is None else f"x {found.ratio:g}"
        print(f"{found.name:<64}{found.ours:>12g}{found.baseline:>12g}  {times:<11}{found.unit}", flush=True)
        rows.append(found)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps([found.model_dump() for found in rows]))
