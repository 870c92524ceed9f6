"""Answers for tests: who said what of which pair, one every ten seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from rlhf_core.records.annotation import Answer
from rlhf_core.records.feedback import Choice

BEGIN = datetime(2026, 3, 1, 9, tzinfo=UTC)


def said(pair: str, who: str, choice: Choice, at: float = 0, **given: Any) -> Answer:
    """`at` is in seconds."""
    time = (BEGIN + timedelta(seconds=at)).isoformat()
    plain = {"prompt_id": f"of {pair}", "objective": "helpful", "labeler": f"human:{who}", "given_at": time}
    return Answer(comparison_id=pair, choice=choice, **(plain | given))
