"""Keys that say how a row is meant: one that its reader does not honour is refused, never passed over.

Other columns, such as ids, dates and a source's own scores, change nothing and are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from rlhf_core.data.jsonl import RowError, is_absent

CONTEXT = (
    *("system", "system_prompt", "instruction", "input", "context", "history", "documents"),
    *("tools", "tool_calls", "functions", "function_call", "chat_template_kwargs"),
    *("image", "images", "audio", "audios", "video", "videos"),
)
"""What a model would be shown besides the messages, in the formats of Hugging Face, TRL, OpenAI and Alpaca."""
VERDICTS = (
    *("tie", "probability", "margin", "preference", "winner", "choice"),
    *("label", "labels", "rating", "ratings", "rank", "ranks"),
)
"""What somebody thinks of a reply: KTO's unpaired labels, labels of steps, ratings, rankings, pairs that are even."""
WEIGHT = ("weight",)
OF_A_MESSAGE = (
    *("name", "weight", "prefix", "refusal", "reasoning", "reasoning_content", "thinking"),
    *("tool_calls", "tool_call_id", "tool_name", "tools", "function_call", "documents", "citations", "parts"),
    *("image", "images", "audio", "video", "videos", "files", "attachments"),
)
"""What a chat message may say beside its role and content."""

_NEUTRAL: Mapping[str, object] = {"weight": 1, "tie": False, "margin": 0, "probability": 1}
"""The values that say no more than a key that is left out."""
_EMPTY = ("", [], {})


def refuse_unread(
    row: Mapping[str, Any], keys: Collection[str], read: Collection[str] = (), name: str | None = None
) -> None:
    """Refuse, by a RowError, the first of `keys` that says something and is not among those `read`.

    `name` is a message's place.

    An empty text, list or object adds nothing to a prompt, but is somebody's verdict where one is expected.
    """
    for key in row:
        value = row[key]
        if key not in keys or key in read or is_absent(value) or (key in _NEUTRAL and value == _NEUTRAL[key]):
            continue
        if key in VERDICTS or value not in _EMPTY:
            shown = f"{name}.{key}" if name else key
            raise RowError(
                f"'{shown}' changes what the row means and is not read here ({json.dumps(value)[:60]}); "
                "remove the key, or the row"
            )
