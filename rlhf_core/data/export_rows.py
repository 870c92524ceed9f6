"""Stored records as rows of the Hugging Face and TRL conversational formats, which `loaders` read back unchanged.

What a row says beside the text, who said it and in which run, stands under its key "lineage", which no reader looks at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlhf_core.data.reward_examples import LabelledPair, Ranking, Rating
from rlhf_core.records.assessments import Assessment
from rlhf_core.records.feedback import Preference
from rlhf_core.records.samples import Comparison, Demonstration, Message, Prompt, Sample

Row = dict[str, Any]


def preference_row(pair: Comparison, label: Preference, probability: float) -> Row:
    """Return `prompt`, `chosen`, `rejected`, and what pairs may say: a `tie`, a `probability`, a `weight`, `tags`.

    `probability` is that of a being better than b; the likelier reply is the chosen one.
    """
    chosen, rejected, sure = (pair.a, pair.b, probability) if probability >= 0.5 else (pair.b, pair.a, 1 - probability)
    lineage = {
        **label.model_dump(include={"id", "run_id", "objective", "labeler", "choice", "ungated", "constitution_hash"}),
        **{"comparison_id": pair.id, "chosen_id": chosen.id, "rejected_id": rejected.id},
        **{"chosen_policy": chosen.policy_version, "rejected_policy": rejected.policy_version},
    }
    even = label.choice in ("tie", "both_bad") and label.labeler.startswith("human:")
    return {
        "prompt": _messages(pair.prompt),
        "chosen": [_reply(chosen.response)],
        "rejected": [_reply(rejected.response)],
        **({"tie": True} if even else {"probability": sure} if sure < 1 else {}),
        **({"weight": label.weight} if label.weight != 1 else {}),
        **_tags(pair.prompt),
        "lineage": lineage,
    }


def assessment_row(label: Rating | Ranking | LabelledPair, lineage: Mapping[str, Any]) -> Row:
    """Return `prompt` with `response` and `rating`, with `responses` and `ranks`, or with the pair of a tie.

    Where there are such, `weight` and `tags` are with them.
    """
    if isinstance(label, Rating):
        said: Row = {"response": label.reply, "rating": label.rating}
    elif isinstance(label, Ranking):
        said = {"responses": list(label.replies), "ranks": list(label.ranks)}
    else:
        said = {"chosen": [_reply(label.a)], "rejected": [_reply(label.b)], "tie": True}
    weight = {"weight": label.weight} if label.weight != 1 else {}
    return {"prompt": _messages(label.prompt), **said, **weight, **_tags(label.prompt), "lineage": dict(lineage)}


def faults_row(sample: Sample, assessment: Assessment) -> Row:
    """Return `prompt`, `response` and `faults`, with `start` and `end` in characters, `text` and `principle`."""
    faults = [
        {"start": span.start, "end": span.end, "text": span.text, "principle": span.principle_id}
        | {"principle_hash": span.principle_hash}
        for span in assessment.spans
    ]
    lineage = assessment_lineage(assessment) | {"policy_version": sample.policy_version}
    return {
        "prompt": _messages(sample.prompt),
        "response": sample.response,
        "faults": faults,
        **_tags(sample.prompt),
        "lineage": lineage,
    }


def assessment_lineage(assessment: Assessment) -> Row:
    """Return who said it, of what, and by which constitution."""
    kept = {
        "id",
        "run_id",
        "objective",
        "labeler",
        "all_bad",
        "reason",
        "constitution_hash",
        "sample_ids",
        "created_at",
    }
    return assessment.model_dump(mode="json", include=kept)


def demonstration_row(shown: Demonstration, lineage: Mapping[str, Any]) -> Row:
    """Return `messages`, the reply being the last, and `tags`."""
    return {
        "messages": [*_messages(shown.prompt), _reply(shown.response)],
        **_tags(shown.prompt),
        "lineage": {"source": shown.source, **lineage},
    }


def sample_row(sample: Sample) -> Row:
    """Return `prompt` and `completion`, as demonstrations are read, and `tags`."""
    return {
        "prompt": _messages(sample.prompt),
        "completion": [_reply(sample.response)],
        **_tags(sample.prompt),
        "lineage": sample.model_dump(exclude={"prompt", "response"}),
    }


def _messages(prompt: Prompt) -> list[Row]:
    return [message.model_dump() for message in prompt.messages]


def _reply(text: str) -> Row:
    return Message(role="assistant", content=text).model_dump()


def _tags(prompt: Prompt) -> Row:
    return {"tags": list(prompt.tags)} if prompt.tags else {}
