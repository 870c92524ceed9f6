"""What a constitution takes over from those that it extends: merged by principle id, the later one wins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.constitution.constitution import (
    CompareDefaults,
    Constitution,
    CritiqueDefaults,
    Defaults,
    Objective,
    SourceFile,
)
from rlhf_core.constitution.principle import Principle


class Inherited(NamedTuple):
    """All that the extended constitutions say, in one piece."""

    objectives: dict[str, Objective]
    principles: dict[str, Principle]
    origins: dict[str, str]
    """Principle id -> id of the constitution that wrote it."""
    defaults: Defaults
    priority: tuple[str, ...]
    files: tuple[SourceFile, ...]

    def disabled(self, entry: str) -> str:
        """Return the id of the principle that `id` or `constitution/id` disables; empty if there is none."""
        origin, slash, name = entry.rpartition("/")
        known = name in self.principles and (not slash or self.origins[name] == origin)
        return name if known else ""

    def without(self, disable: Sequence[str]) -> list[Principle]:
        """Return the principles that are left when these are disabled."""
        gone = {self.disabled(entry) for entry in disable}
        return [principle for principle in self.principles.values() if principle.id not in gone]


def inherit(bases: Sequence[Constitution]) -> Inherited:
    """Merge the bases.

    Of objectives, principles and defaults the later wins, of priorities the last that has one.
    """
    objectives: dict[str, Objective] = {}
    principles: dict[str, Principle] = {}
    origins: dict[str, str] = {}
    for base in bases:
        objectives |= {objective.name: objective for objective in base.objectives}
        principles |= {principle.id: principle for principle in base.principles}
        origins |= {principle.id: base.inherited.get(principle.id, base.id) for principle in base.principles}
    priorities = [base.priority for base in bases if base.priority]
    return Inherited(
        objectives,
        principles,
        origins,
        merged_defaults([base.defaults for base in bases]),
        priorities[-1] if priorities else (),
        tuple(file for base in bases for file in base.files),
    )


def merged_defaults(layers: Sequence[Defaults]) -> Defaults:
    """Merge defaults key by key; the last layer that says something wins."""
    critique: dict[str, object] = {}
    compare: dict[str, object] = {}
    for layer in layers:
        critique |= layer.critique.model_dump(exclude_none=True)
        compare |= layer.compare.model_dump(exclude_none=True)
    return Defaults(critique=CritiqueDefaults.model_validate(critique), compare=CompareDefaults.model_validate(compare))
