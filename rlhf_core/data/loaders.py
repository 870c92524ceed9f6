"""The user's own data: JSON lines in the Hugging Face preference formats, plain text or chat messages.

A conversation is a list of {"role", "content"} messages, or one text in the form of hh-rlhf. Ids derive from the
content: importing a file again changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from rlhf_core.config.run import RunConfig
from rlhf_core.data.conversations import (
    asked,
    conversation,
    imported_pair,
    prompt_record,
    read_pair,
    reply_under,
    split_last,
    tags_of,
)
from rlhf_core.data.jsonl import RowError, kind_of, read_text
from rlhf_core.data.reward_examples import Label, LabelledPair, Ranking, Rating, StepLabels
from rlhf_core.data.row_files import Source, load_rows
from rlhf_core.data.row_keys import CONTEXT, VERDICTS, WEIGHT, refuse_unread
from rlhf_core.errors import InvalidInput
from rlhf_core.records.samples import Comparison, Demonstration, Prompt, Split

LABEL_KEYS = (("response", "rating"), ("responses", "ranks"), ("responses", "ratings"), ("completions", "labels"))
"""Texts, and the numbers that label them."""
PAIR_KEYS = ("tie", "probability", "margin")
"""What a pair may say of how its replies compare; `weight` says how much the pair counts."""


def load_prompts(path: Source, split: Split = "train") -> list[Prompt]:
    """Load rows of `prompt`, with or without `tags`; one that occurs again is taken once.

    InvalidInput names bad lines.
    """
    found = {prompt.id: prompt.model_copy(update={"split": split}) for prompt in load_rows(path, read_prompt)}
    return list(found.values())


def load_demonstrations(path: Source) -> list[Demonstration]:
    """Load rows of `prompt` and `completion` or `response`, or of `messages`.

    Raises InvalidInput naming every bad line.
    """
    return load_rows(path, read_demonstration)


def load_preferences(path: Source) -> list[LabelledPair]:
    """Load rows of `chosen` and `rejected`, with a `prompt` or as whole conversations that share it; see `load_labels`.

    Reply a is the chosen one, b the rejected; one of them may be empty (no reply at all), they may not be equal.
    Raises InvalidInput naming every bad line.
    """
    return load_rows(path, read_preference)


def decided_pairs(pairs: Sequence[LabelledPair]) -> list[Comparison]:
    """Return the comparisons in which one reply is held to be better, that one as sample a; even ones are left out.

    So are those of weight 0, which count for nothing.
    """
    return [
        imported_pair(pair.prompt, *(pair.replies if pair.probability > 0.5 else reversed(pair.replies)))
        for pair in pairs
        if pair.weight and pair.probability != 0.5
    ]


def load_labels(path: Source) -> list[Label]:
    """Load what a reward model learns from, each row by its keys, with `prompt` and, where wanted, a `weight`.

    Pairs have `chosen` and `rejected`, where wanted `probability` (that chosen is better), `margin`, or a `tie` that is
    true; rankings `responses` and `ranks` (1 is best); ratings `response` and `rating`, or `responses` and `ratings`;
    steps `completions` and `labels` (true, false, or from 0 to 1). Raises InvalidInput naming every bad line.
    """
    return [label for labels in load_rows(path, read_labels) for label in labels]


def check_labels(
    config: RunConfig, objectives: Sequence[str], source_of: Callable[[str], Source | None] = lambda path: path
) -> None:
    """Raise InvalidInput when a label file or an objective that reward models are made for is not as it must be.

    `source_of` says what a path names; None for what cannot be looked at here.
    """
    for field, names in (("data.labels", config.data.labels), ("reward.process", config.reward.named_by_line)):
        for name in names:
            if name not in objectives:
                raise InvalidInput(f"{field}: unknown objective '{name}'; allowed: {', '.join(objectives)}", field)
    for objective, path in config.data.labels.items():
        source = source_of(path)
        stepped = source is not None and any(isinstance(label, StepLabels) for label in load_labels(source))
        if stepped and not config.reward.reads_lines(objective):
            raise InvalidInput(
                f"reward.process: '{path}' has labels of steps for '{objective}', which is not named here; its reward "
                "model would score whole replies only",
                "reward.process",
            )


def read_prompt(row: dict[str, Any], source: str) -> Prompt:
    """Read one row of a file of prompts. Raises RowError."""
    refuse_unread(row, (*CONTEXT, *WEIGHT))
    return prompt_record(asked(row), source, tags=tags_of(row))


def read_demonstration(row: dict[str, Any], source: str) -> Demonstration:
    """Read one row of a file of demonstrations. Raises RowError."""
    refuse_unread(row, (*CONTEXT, *VERDICTS, *WEIGHT))
    key = next((key for key in ("completion", "response", "messages") if key in row), "completion")
    if key == "messages":
        prompt, reply = split_last(conversation(row, key), key)
        if "prompt" in row and (before := asked(row)) != prompt[: len(before)]:
            raise RowError("'messages' is a conversation that does not begin with 'prompt'")
    else:
        reply = reply_under(row, key, prompt := asked(row))
    if not reply.strip():
        raise RowError(f"'{key}' has an empty reply")
    if key == "completion" and "response" in row:
        raise RowError("'completion' and 'response' are given together; a demonstration has one reply")
    return Demonstration(prompt=prompt_record(prompt, source, tags=tags_of(row)), response=reply, source=source)


def read_preference(row: dict[str, Any], source: str) -> LabelledPair:
    """Read one row of a file of pairs. Raises RowError."""
    refuse_unread(row, (*CONTEXT, *VERDICTS), read=PAIR_KEYS)
    weight = _number(row, "weight", default=1.0, least=0.0)
    (prompt, chosen, rejected), tied = read_pair(row, source), row.get("tie", False)
    if not isinstance(tied, bool):
        raise RowError(f"'tie' is {kind_of(tied)}; expected true or false")
    if tied and "probability" in row:
        raise RowError("'tie' and 'probability' are given together; a tie has no better reply")
    probability = 0.5 if tied else _number(row, "probability", default=1.0, least=0.0, most=1.0)
    margin = _number(row, "margin", default=0.0, least=0.0)
    return LabelledPair(prompt, chosen, rejected, probability, weight, "data", margin, tied)


def read_labels(row: dict[str, Any], source: str) -> list[Label]:
    """Read one row of a file of labels, which may be several ratings. Raises RowError."""
    if "chosen" in row or "rejected" in row:
        return [read_preference(row, source)]
    weight = _number(row, "weight", default=1.0, least=0.0)
    keys = next((keys for keys in LABEL_KEYS if all(key in row for key in keys)), None)
    if keys is None:
        expected = ", ".join(f"'{text}' and '{value}'" for text, value in LABEL_KEYS)
        raise RowError(f"the row is no label; expected 'chosen' and 'rejected', {expected}")
    refuse_unread(row, (*CONTEXT, *VERDICTS), read=keys)
    prompt, (text_key, number_key) = prompt_record(asked(row), source, tags=tags_of(row)), keys
    if number_key == "rating":
        return [Rating(prompt, read_text(row[text_key], text_key), _number(row, number_key), weight)]
    texts = tuple(read_text(text, f"{text_key}[{i}]") for i, text in enumerate(_list(row, text_key)))
    numbers = tuple(_finite(number, f"{number_key}[{i}]") for i, number in enumerate(_list(row, number_key)))
    if len(texts) != len(numbers) or not texts:
        raise RowError(f"'{text_key}' has {len(texts)} entries and '{number_key}' {len(numbers)}; expected as many")
    if number_key == "ratings":
        return [Rating(prompt, text, number, weight) for text, number in zip(texts, numbers, strict=True)]
    if number_key == "ranks":
        if len(set(texts)) < len(texts) or len(set(numbers)) < 2:
            raise RowError("a ranking has at least two 'responses', all different, and not all of one rank")
        return [Ranking(prompt, texts, numbers, weight)]
    if not all(text.strip() for text in texts) or not all(0 <= number <= 1 for number in numbers):
        raise RowError("steps are 'completions' that are not empty, and 'labels' of true, false or from 0 to 1")
    return [StepLabels(prompt, texts, numbers, weight)]


def _list(row: dict[str, Any], key: str) -> list[Any]:
    if not isinstance(row[key], list):
        raise RowError(f"'{key}' is {kind_of(row[key])}; expected a list")
    return row[key]


def _number(
    row: dict[str, Any], key: str, default: float = 0.0, least: float = -math.inf, most: float = math.inf
) -> float:
    number = _finite(row.get(key, default), key)
    if not least <= number <= most:
        allowed = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise RowError(f"'{key}' is {number:g}; allowed: a number {allowed}")
    return number


def _finite(value: Any, name: str) -> float:
    """A finite number; true and false are 1 and 0, as labels of steps are written."""
    if not isinstance(value, (bool, int, float)):
        raise RowError(f"'{name}' is {kind_of(value)}; expected a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RowError(f"'{name}' is not a finite number")
    return number
