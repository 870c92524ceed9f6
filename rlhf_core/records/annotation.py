"""People who label: what they answered, how far they agree, what was decided where they disagree, and whom to trust."""

from __future__ import annotations

from typing import Literal

from rlhf_core.records.base import Record
from rlhf_core.records.feedback import Choice

Standing = Literal["by_rule", "admitted", "paused"]
"""By the calibration round; let in without it; shut out, with all labels set aside."""


class Agreement(Record):
    """Krippendorff's alpha with its 95 % interval; None where it is undefined."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    items: int = 0
    """Those with at least two answers; others say nothing of agreement."""
    answers: int = 0
    """Answers on these items."""
    undefined: str = ""
    """Why there is no value."""


class Answer(Record):
    """What one person said of one comparison for one objective, skips included."""

    comparison_id: str
    prompt_id: str
    objective: str
    labeler: str
    """`human:<name>`."""
    choice: Choice
    reason: str = ""
    """The person's note."""
    run_id: str = ""
    weight: float = 1.0
    uniform: bool = False
    swapped: bool | None = None
    """Sample b stood on the left or on top; None where that is not known."""
    repeated: bool = False
    """Asked a second time, to measure the person: the first answer is the label."""
    given_at: str
    """ISO-8601, UTC."""
    revision: int = 0
    """Its place among all labels."""


class Adjudication(Record):
    """What a reviewer decided on one comparison for one objective; from then on it is a gold item.

    With the choice `skip` it is set aside: nobody is asked about it, and it trains nothing.
    """

    number: int = 0
    comparison_id: str
    objective: str
    choice: Choice
    reason: str = ""
    adjudicated_by: str = ""
    created_at: str = ""


class AnnotatorChange(Record):
    """What a reviewer said of one person. The latest one holds."""

    number: int = 0
    labeler: str
    standing: Standing
    reason: str = ""
    changed_by: str = ""
    created_at: str = ""
