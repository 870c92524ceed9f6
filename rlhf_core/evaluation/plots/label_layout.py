"""Where to put the names in a crowded plot: greedily, each where it covers the least."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

Point = tuple[float, float]

DIRECTIONS = ((1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0), (0.0, 1.3), (0.0, -1.3), (1.4, 0.0), (-1.4, 0.0))
DISTANCES = (7.0, 11.0, 17.0, 26.0)
"""Points from the mark."""
OVERLAP_COST = 40.0
OUTSIDE_COST = 60.0


class Spot(NamedTuple):
    name: str
    at: Point
    colour: str


def along(points: Sequence[Point], density: int = 15) -> list[Point]:
    """Return points on the line through the given ones, for use as things that a label should not cover."""
    return [(float(px), float(py)) for a, b in itertools.pairwise(points) for px, py in np.linspace(a, b, density)]


def place_labels(axis: Axes, spots: Sequence[Spot], covered: Sequence[Point]) -> None:
    """Write every spot's name beside it. The axes must have been drawn once, so that their layout is known."""
    marks = axis.transData.transform(np.array([*covered, *(spot.at for spot in spots)]))
    taken: list[Bbox] = []
    for spot in spots:
        text = axis.annotate(
            spot.name, spot.at, (0, 0), textcoords="offset points", color=spot.colour, fontweight="bold", zorder=6
        )
        text.set_in_layout(False)
        choices = [(dx * r, dy * r) for r in DISTANCES for dx, dy in DIRECTIONS]
        _move(text, min(choices, key=lambda choice: _cost(_move(text, choice), choice, axis, marks, taken)))
        taken.append(text.get_window_extent().padded(4))


def _move(text: Annotation, offset: Point) -> Bbox:
    dx, dy = offset
    text.set_horizontalalignment("left" if dx > 0 else "right" if dx < 0 else "center")
    text.set_verticalalignment("bottom" if dy > 0 else "top" if dy < 0 else "center")
    text.set_position(offset)
    return text.get_window_extent().padded(5)


def _cost(box: Bbox, offset: Point, axis: Axes, marks: np.ndarray, taken: Sequence[Bbox]) -> float:
    inside = axis.get_window_extent()
    outside = box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1
    overlaps = sum(box.overlaps(other) for other in taken)
    distance = 0.1 * (abs(offset[0]) + abs(offset[1]))
    return float(box.count_contains(marks)) + OVERLAP_COST * overlaps + OUTSIDE_COST * outside + distance
