"""The base of all configuration, and checks that several of its sections share."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

Tune = Literal["lora", "full"]
"""What of a model learns: a low-rank adapter, or all weights."""


def numbers_only(cls: type[BaseModel], value: Any, info: ValidationInfo) -> Any:
    """Refuse true and false for a field that is a number, or holds some; for `field_validator`.

    Python counts true as 1, and so does pydantic: a slip of the pen would be a step, a thread, a weight.
    """
    kinds = _within(cls.model_fields[info.field_name or ""].annotation)
    if bool not in kinds and any(issubclass(kind, int | float) for kind in kinds):
        _refuse_truths(value)
    return value


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    _numbers_only = field_validator("*", mode="before")(classmethod(numbers_only))


def _within(annotation: Any) -> set[type]:
    """The types that an annotation is made of."""
    own = {annotation} if isinstance(annotation, type) else set[type]()
    return own.union(*(_within(part) for part in get_args(annotation)))


def _refuse_truths(value: Any, name: str = "") -> None:
    """Raise ValueError for a true or false, or for one that a list or a mapping holds."""
    if isinstance(value, bool):
        told = str(value).lower()
        raise ValueError(f"'{name}' is {told}; allowed: a number" if name else f"{told} is not allowed; it is a number")
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        _refuse_truths(part, str(key) if isinstance(value, dict) else name)


def even_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    """Return bounds of a probability that are the same for either of two replies."""
    low, high = bounds
    if not (0 <= low < high <= 1 and math.isclose(low + high, 1)):
        raise ValueError(f"[{low:g}, {high:g}] is not allowed; both replies have the same bounds, as in [0.2, 0.8]")
    return bounds
