"""What people who label are asked beside the pairs that wait: gold items, and what they have answered before."""

from __future__ import annotations

from pydantic import Field

from rlhf_core.config.base import Settings


class LabellingConfig(Settings):
    """How people who label are measured. Where too few gold items are, nobody is asked for any."""

    calibration_items: int = Field(default=10, ge=0)
    """Gold items that somebody answers before the first ordinary pair of an objective; 0 lets everybody in. There is no
    such round while fewer items are gold."""
    calibration_right: float = Field(default=0.7, ge=0, le=1)
    """Share of the last so many that must be right."""
    gold_share: float = Field(default=0.1, ge=0, le=0.5)
    """Share of later questions that are gold items."""
    repeat_share: float = Field(default=0.05, ge=0, le=0.5)
    """Share of later questions that the person has answered before, where there are gold items."""
    good: float = Field(default=0.8, gt=0.4, lt=1)
    """How often a good annotator is right, at least; whoever is seen to be right less often is flagged."""
    false_alarm: float = Field(default=0.05, gt=0, lt=1)
    """Probability with which a good annotator is ever flagged for an objective, at most."""
