"""The rows of the user's files that the model can read, measured before the first stage: by file and line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from rlhf_core.data.jsonl import Located, load_rows, locate_rows, shown
from rlhf_core.data.loaders import read_demonstration, read_labels, read_preference, read_prompt
from rlhf_core.data.reward_examples import Label, LabelledPair
from rlhf_core.datasets.references import rows_at
from rlhf_core.errors import InvalidInput, TooLong
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.reward_inputs import beside
from rlhf_core.records.base import Stage
from rlhf_core.records.samples import Demonstration, Prompt
from rlhf_core.stages.context import Context, chunks

CHUNK = 64
"""Rows that are measured in one unit of model work."""

PPO: frozenset[Stage] = frozenset({"ppo", "control"})

T = TypeVar("T")


class Kind(NamedTuple, Generic[T]):
    """How rows of one file are read, and measured: TooLong, or another InvalidInput for what no skipping mends."""

    read: Callable[[dict[str, Any], str], T]
    measure: Callable[[Context, T], None]


def _measure_prompt(ctx: Context, prompt: Prompt) -> None:
    base = ctx.tools.backbone
    base.check_length(len(base.render(prompt.messages)), ctx.config.model.max_tokens)


def _measure_demonstration(ctx: Context, shown: Demonstration) -> None:
    base = ctx.tools.backbone
    base.check_length(len(base.render(shown.prompt.messages)), len(base.encode_response(shown.response)))


def _measure_label(ctx: Context, label: Label) -> None:
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


def _measure_labels(ctx: Context, labels: list[Label]) -> None:
    for label in labels:
        _measure_label(ctx, label)


PROMPTS = Kind[Prompt](read_prompt, _measure_prompt)
DEMONSTRATIONS = Kind[Demonstration](read_demonstration, _measure_demonstration)
PREFERENCES = Kind[LabelledPair](read_preference, _measure_label)
LABELS = Kind[list[Label]](read_labels, _measure_labels)


def rows_of(ctx: Context, path: str, kind: Kind[T]) -> list[T]:
    """Return the rows of a file or dataset of the user's; without those too long, where `data.overlong` is `skip`."""
    source = rows_at(ctx.store, path)
    if ctx.config.data.overlong == "refuse":
        return load_rows(source, kind.read)
    rows = locate_rows(source, kind.read)
    return [row.record for row, fault in zip(rows, _overlong(ctx, rows, kind), strict=True) if not fault]


def check_rows(ctx: Context, stages: Collection[Stage]) -> None:
    """Measure every row that these stages will read, before the first of them.

    Raises InvalidInput naming each row that is too long, or where they are skipped and nothing else is left.
    """
    skips = ctx.config.data.overlong == "skip"
    problems: list[str] = []
    for field, path, kind in _files(ctx, stages):
        rows = locate_rows(rows_at(ctx.store, path), kind.read)
        faults = [fault for fault in _overlong(ctx, rows, kind) if fault]
        if not skips:
            problems += faults
        elif len(faults) == len(rows):
            raise InvalidInput(f"{field}: all {len(rows)} rows are longer than the model reads; {faults[0]}", field)
        elif faults:
            ctx.note(f"{field}: {len(faults)} of {len(rows)} rows are longer than the model reads and are skipped")
    if problems:
        hint = "shorten them, or leave them out with data.overlong=skip"
        raise InvalidInput(shown(problems, "and {} more rows that are too long"), "data.overlong", hint=hint)


def _files(ctx: Context, stages: Collection[Stage]) -> Iterator[tuple[str, str, Kind[Any]]]:
    """Field, path and kind of each file that these stages read."""
    data = ctx.config.data
    named = (
        ("prompts", data.prompts, PROMPTS, bool(stages)),
        ("heldout_prompts", data.heldout_prompts, PROMPTS, bool(stages)),
        ("demonstrations", data.demonstrations, DEMONSTRATIONS, "sft" in stages),
        ("replay", data.replay, DEMONSTRATIONS, bool(ctx.config.ppo.ptx_coef) and not PPO.isdisjoint(stages)),
        ("preferences", data.preferences, PREFERENCES, "reward" in stages),
        *((f"labels.{name}", path, LABELS, "reward" in stages) for name, path in data.labels.items()),
    )
    for field, path, kind, is_read in named:
        if path is not None and is_read:
            yield f"data.{field}", path, kind


def _overlong(ctx: Context, rows: Sequence[Located[T]], kind: Kind[T]) -> list[str]:
    """For each row what is wrong with its length, with its place; empty where nothing is."""

    def measured(piece: Sequence[Located[T]]) -> list[str]:
        return [_fault(ctx, row, kind) for row in piece]

    return [fault for piece in chunks(rows, CHUNK) for fault in ctx.tools.on_device(lambda part=piece: measured(part))]


def _fault(ctx: Context, row: Located[T], kind: Kind[T]) -> str:
    try:
        kind.measure(ctx, row.record)
    except TooLong as error:
        return f"{row.place}: {error}"
    except InvalidInput as error:
        raise InvalidInput(f"{row.place}: {error}", error.field) from error
    return ""
