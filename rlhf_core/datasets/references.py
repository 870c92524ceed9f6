"""What names a dataset: `dataset:NAME`, `dataset:NAME@HASH` for one version of it, `dataset:HASH` for its content."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rlhf_core.config.run import DataConfig, RunConfig
from rlhf_core.data.row_files import RowFile, Source
from rlhf_core.datasets.formats import LABEL_FORMATS
from rlhf_core.datasets.uploads import CONTENT
from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.records.datasets import DATASET, Dataset, DatasetFormat
from rlhf_core.store.store import Store

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
NAME_RULE = "up to 63 of a to z, 0 to 9, - and _, a letter first"
MAX_STEM = 50
"""Characters of a file's name in that of its dataset."""
HASH = re.compile(r"[0-9a-f]{64}")
_BEGINNING = re.compile(r"[0-9a-f]{8,64}")
FIELDS: dict[str, Sequence[DatasetFormat]] = {
    "prompts": ("prompts",),
    "heldout_prompts": ("prompts",),
    "demonstrations": ("demonstrations",),
    "replay": ("demonstrations",),
    "preferences": ("preferences",),
    "labels": LABEL_FORMATS,
}
"""The settings of `data` that name files, with the formats that each reads."""


def is_reference(text: str | None) -> bool:
    return text is not None and text.startswith(DATASET)


def check_name(name: str, field: str) -> str:
    """Return a dataset's name as it is. Raises InvalidInput for one that no dataset may have."""
    if not NAME.fullmatch(name):
        raise InvalidInput(f"{field}: '{name[:100]}' cannot be a dataset's name; allowed: {NAME_RULE}", field)
    return name


def name_for(file_name: str) -> str:
    """Derive a dataset's name from a file's."""
    stem = re.sub(r"[^a-z0-9_]+", "-", Path(file_name).stem.lower()).strip("-")
    return (stem if re.match("[a-z]", stem) else f"data-{stem}")[:MAX_STEM].rstrip("-")


def name_with_hash(file_name: str, content_hash: str) -> str:
    """Derive a dataset's name from a file's and its content.

    Nobody's dataset of the same name is another version then.
    """
    return f"{name_for(file_name)}-{content_hash[:8]}"


def dataset_id_in(text: str | None) -> str:
    """Return the name in a reference; empty where there is none."""
    return str(text).removeprefix(DATASET).partition("@")[0] if is_reference(text) else ""


def dataset_of(store: Store, reference: str, formats: Sequence[DatasetFormat] = ()) -> Dataset:
    """Return the version that a reference means, `dataset:` before it or not.

    A hash alone may be that of several: one of the `formats`, if any is.

    Raises:
        InvalidInput: it is no reference.
        NotFound: there is no such dataset, or no such version of it.
    """
    text = reference.removeprefix(DATASET)
    if HASH.fullmatch(text):
        found = store.datasets.by_hash(text, formats)
        if found is None:
            raise NotFound(f"no dataset with the hash '{text}' in the store")
        return found
    name, at, beginning = text.partition("@")
    if at and not _BEGINNING.fullmatch(beginning):
        raise InvalidInput(f"'{reference[:200]}': after @ stand 8 to 64 hexadecimal digits of a hash")
    if not NAME.fullmatch(name):
        raise InvalidInput(f"'{reference[:200]}' names no dataset; allowed: dataset:NAME, dataset:NAME@HASH")
    return store.datasets.version(name, beginning) if at else store.datasets.get(name)


def file_of(store: Store, dataset: Dataset) -> Path:
    """Return where a version's bytes lie, to be read only. Raises Unavailable where they are damaged."""
    return store.artifacts.get_folder(dataset.artifact) / CONTENT


def rows_at(store: Store, text: str) -> Source:
    """Return what a setting of `data` names: a path as it is, or the file of a dataset under the dataset's name.

    Raises: NotFound where the dataset has been deleted.
    """
    if not is_reference(text):
        return text
    found = dataset_of(store, text)
    return RowFile(f"{DATASET}{found.id}", file_of(store, found))


def pinned(store: Store, config: RunConfig) -> RunConfig:
    """Return the configuration with every dataset that it names tied to the version that its name means now.

    Raises: InvalidInput naming the setting, where there is no such dataset, or one of another format.
    """
    data = {name: _pin(store, text, f"data.{name}", FIELDS[name]) for name, text in _named(config.data)}
    labels = {
        name: _pin(store, text, f"data.labels.{name}", FIELDS["labels"]) for name, text in config.data.labels.items()
    }
    changed: dict[str, object] = {"data": config.data.model_copy(update={**data, "labels": labels})}
    if is_reference(config.constitution):
        changed["constitution"] = _pin(store, str(config.constitution), "constitution", ("constitution",))
    return config.model_copy(update=changed)


def references_in(config: RunConfig) -> list[str]:
    """Return the datasets that a pinned configuration names."""
    named = [*(text for _, text in _named(config.data)), *config.data.labels.values(), config.constitution]
    return [text for text in named if text is not None and is_reference(text)]


def _named(data: DataConfig) -> Iterator[tuple[str, str]]:
    for name in FIELDS:
        if isinstance(text := getattr(data, name), str):
            yield name, text


def _pin(store: Store, text: str, field: str, formats: Sequence[DatasetFormat]) -> str:
    if not is_reference(text):
        return text
    try:
        found = dataset_of(store, text, formats)
    except (InvalidInput, NotFound) as error:
        raise InvalidInput(f"{field}: {error}", field) from None
    if found.format not in formats:
        raise InvalidInput(
            f"{field}: dataset '{found.id}' is of format {found.format}; allowed: {', '.join(formats)}", field
        )
    return found.reference
