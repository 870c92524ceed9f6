"""What each format of a dataset must be: its rows pass the same readers as a run's own files do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.load import MAX_BYTES, parse_constitution
from rlhf_core.data.jsonl import RowError
from rlhf_core.data.loaders import read_demonstration, read_labels, read_preference, read_prompt
from rlhf_core.data.reward_examples import Ranking, Rating, StepLabels
from rlhf_core.data.row_files import RowFile, count_rows, is_parquet, raw_rows
from rlhf_core.errors import InvalidInput
from rlhf_core.records.datasets import DatasetFormat, Encoding

FORMATS: tuple[DatasetFormat, ...] = get_args(DatasetFormat)
LABEL_FORMATS: tuple[DatasetFormat, ...] = ("preferences", "ratings", "rankings", "steps", "labels")

_SIGNS: tuple[tuple[tuple[str, ...], DatasetFormat], ...] = (
    (("chosen", "rejected"), "preferences"),
    (("ranks",), "rankings"),
    (("rating", "ratings"), "ratings"),
    (("completions",), "steps"),
    (("completion", "response", "messages"), "demonstrations"),
    (("prompt",), "prompts"),
)
"""Keys that rows of one format have, and those before it in this list do not."""

Reader = Callable[[dict[str, Any], str], object]


def check_file(file: RowFile, format_: DatasetFormat) -> int:
    """Count a file's rows, or principles, each one read. Raises InvalidInput naming every bad line."""
    if format_ != "constitution":
        return count_rows(file, _READERS[format_])
    return len(read_constitution(file.path, file.name).principles)


def encoding_of(path: Path, format_: DatasetFormat) -> Encoding:
    """Tell how a file holds its rows, by its first bytes."""
    if format_ == "constitution":
        return "yaml"
    return "parquet" if is_parquet(path) else "jsonl"


def likely_format(file: RowFile) -> DatasetFormat:
    """Return the format that the keys of a file's first row speak for.

    Raises InvalidInput where they speak for none.
    """
    if file.path.suffix in (".yaml", ".yml"):
        return "constitution"
    _, first = next(raw_rows(file), (0, RowError("the file has no rows")))
    if isinstance(first, RowError):
        raise InvalidInput(f"{file.name}:1: {first}")
    for keys, format_ in _SIGNS:
        if any(key in first for key in keys):
            return format_
    raise InvalidInput(f"{file.name}:1: no key of this row says what it is; name the format: {', '.join(FORMATS)}")


def read_constitution(path: Path, name: str) -> Constitution:
    """Read the constitution in a file. Raises InvalidInput with every mistake and its line."""
    return parse_constitution(read_yaml(path, name), name)


def read_yaml(path: Path, name: str) -> str:
    """Read a constitution's text as it was written. Raises InvalidInput for what is no text, or too long for one."""
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise InvalidInput(f"{name}: longer than {MAX_BYTES} bytes, which no constitution is")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name}: not a text in UTF-8: byte {error.start + 1}") from None


def _only(kind: type[Any], what: str) -> Reader:
    def read(row: dict[str, Any], source: str) -> object:
        labels = read_labels(row, source)
        if not all(isinstance(label, kind) for label in labels):
            raise RowError(f"the row is no {what}; a dataset of format labels may mix the kinds")
        return labels

    return read


_READERS: Mapping[DatasetFormat, Reader] = {
    "prompts": read_prompt,
    "demonstrations": read_demonstration,
    "preferences": read_preference,
    "ratings": _only(Rating, "rating"),
    "rankings": _only(Ranking, "ranking"),
    "steps": _only(StepLabels, "label of steps"),
    "labels": read_labels,
}
