"""What all records share: they are frozen, and an id follows from what it names."""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict


def content_id(kind: str, *parts: object) -> str:
    """Derive a deterministic id: the same content gives the same id, so that a repeated write changes nothing."""
    text = "\x1f".join(str(part) for part in parts)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


class Record(BaseModel):
    """Base of all records: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


StoryStage = Literal["critique", "sft", "label", "reward", "norm_pack", "ppo", "control", "evaluate", "report"]
Stage = StoryStage | Literal["study"]
"""What a run may do: a stage of the story, or the replies of a preference study."""
Written = Literal["display_name", "note"]  # what people may change on a run
RunState = Literal["QUEUED", "RUNNING", "PAUSED", "SUCCEEDED", "FAILED", "CANCELLED"]
RunStatus = Literal["QUEUED", "RUNNING", "PAUSED", "SUCCEEDED", "FAILED", "CANCELLED", "PAUSING", "CANCELLING", "LOST"]
"""What is going on: PAUSING and CANCELLING are asked for and not yet done, LOST has no process that works on it."""
STAGES: tuple[StoryStage, ...] = get_args(StoryStage)
STAGE_TITLES: dict[str, str] = {
    "critique": "critique and revise",
    "sft": "supervised fine-tuning",
    "label": "AI preference labels",
    "reward": "reward models",
    "norm_pack": "score scale",
    "ppo": "PPO",
    "control": "PPO without rewards",
    "evaluate": "evaluation",
    "report": "report",
    "study": "replies of a study",
}
"""What people call each stage."""
