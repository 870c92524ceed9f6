"""The base of all configuration, and checks that several of its sections share."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def even_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    """Return bounds of a probability that are the same for either of two replies."""
    low, high = bounds
    if not (0 <= low < high <= 1 and math.isclose(low + high, 1)):
        raise ValueError(f"[{low:g}, {high:g}] is not allowed; both replies have the same bounds, as in [0.2, 0.8]")
    return bounds
