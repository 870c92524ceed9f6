"""Measure rows of the user's files as the model will read them: one that is too long is named by file and line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from rlhf_core.data.reward_examples import Label
from rlhf_core.data.row_files import Located
from rlhf_core.errors import InvalidInput, TooLong
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.reward_inputs import beside
from rlhf_core.records.samples import Demonstration, Prompt
from rlhf_core.stages.context import Context, chunks

CHUNK = 64
"""Rows that are measured in one unit of model work."""

T = TypeVar("T")


def overlong(ctx: Context, rows: Sequence[Located[T]], measure: Callable[[Context, T], None]) -> list[str]:
    """For each row what is wrong with its length, with its place; empty where nothing is."""

    def measured(piece: Sequence[Located[T]]) -> list[str]:
        return [_fault(ctx, row, measure) for row in piece]

    return [fault for piece in chunks(rows, CHUNK) for fault in ctx.tools.on_device(lambda part=piece: measured(part))]


def _fault(ctx: Context, row: Located[T], measure: Callable[[Context, T], None]) -> str:
    try:
        measure(ctx, row.record)
    except TooLong as error:
        return f"{row.place}: {error}"
    except InvalidInput as error:
        raise InvalidInput(f"{row.place}: {error}", error.field) from error
    return ""


def measure_prompt(ctx: Context, prompt: Prompt) -> None:
    base = ctx.tools.backbone
    base.check_length(len(base.render(prompt.messages)), ctx.config.model.max_tokens)


def measure_demonstration(ctx: Context, shown: Demonstration) -> None:
    base = ctx.tools.backbone
    base.check_length(len(base.render(shown.prompt.messages)), len(base.encode_response(shown.response)))


def measure_label(ctx: Context, label: Label) -> None:
    """As a reward model reads it: after the base's own answer, where it does; what it cuts is never too long."""
    settings, base, limit = ctx.config.reward, ctx.tools.base_of(ctx.config.reward.base_model), 0
    prompt = label.prompt
    if settings.reference and isinstance(base, Backbone):
        limit = ctx.config.model.max_tokens
        base.check_length(len(base.render(prompt.messages)), limit)
        prompt = beside(prompt, "")
    for reply in label.replies:
        row = base.row(prompt, reply, settings.max_tokens)
        if isinstance(base, Backbone) and settings.max_tokens is None:
            base.check_length(len(row.ids), limit)


def measure_labels(ctx: Context, labels: list[Label]) -> None:
    for label in labels:
        measure_label(ctx, label)
