"""A constitution as frozen values: objectives, the principles that serve them, and the hashes of what they mean."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rlhf_core.errors import NotFound

MAX_WEIGHT = 1e6
"""Largest weight or share; sums and squares of weights stay finite."""

Weight = Annotated[float, Field(ge=0, le=MAX_WEIGHT)]


def _hash(value: object) -> str:
    """First 16 hex digits of the sha256 of canonical JSON: sorted keys, NFC."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(unicodedata.normalize("NFC", text).encode()).hexdigest()[:16]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_strip_whitespace=True)


class Objective(_Frozen):
    """Something to be good at; it has one reward model, and one weight in every run."""

    name: str
    description: str = ""
    default_weight: Weight = 1.0


class Principle(_Frozen):
    """One rule, in the three wordings that a model is asked; without critique and revision it only compares."""

    id: str
    title: str = ""
    serves: dict[str, Weight]
    """Objective -> share of this principle's vote weight."""
    weight: Weight = 1.0
    critique: str | None = None
    revise: str | None = None
    compare: str

    @model_validator(mode="after")
    def _critique_and_revise_go_together(self) -> Principle:
        if (self.critique is None) != (self.revise is None):
            raise ValueError(f"principle '{self.id}' needs both critique and revise, or neither")
        return self

    @property
    def hash(self) -> str:
        """Hash of the texts alone: weights and titles never invalidate a vote."""
        return _hash([self.critique, self.revise, self.compare])


class Constitution(_Frozen):
    """The whole file. Its methods return principles in order of id, so that equal hashes mean equal behaviour."""

    id: str
    version: str
    title: str = ""
    objectives: tuple[Objective, ...] = Field(min_length=1)
    principles: tuple[Principle, ...] = Field(min_length=1)

    @property
    def hash(self) -> str:
        """Hash of the meaning: comments, titles, descriptions, version and the order of the file do not count."""
        objectives = {objective.name: objective.default_weight for objective in self.objectives}
        principles = {p.id: [p.hash, p.weight, p.serves] for p in self.principles}
        return _hash([self.id, objectives, principles])

    @property
    def objective_names(self) -> tuple[str, ...]:
        """In the order of the file."""
        return tuple(objective.name for objective in self.objectives)

    def default_weights(self) -> dict[str, float]:
        return {objective.name: objective.default_weight for objective in self.objectives}

    def serving(self, objective: str) -> tuple[Principle, ...]:
        """The principles with a share above 0 in this objective."""
        return tuple(p for p in self._by_id() if p.serves.get(objective, 0) > 0)

    def critiquing(self) -> tuple[Principle, ...]:
        """The principles that can criticise and revise."""
        return tuple(p for p in self._by_id() if p.critique is not None and p.revise is not None)

    def principle(self, principle_id: str) -> Principle:
        """The principle of that id, or NotFound."""
        for principle in self.principles:
            if principle.id == principle_id:
                return principle
        raise NotFound(f"constitution '{self.id}' has no principle '{principle_id}'")

    def _by_id(self) -> list[Principle]:
        return sorted(self.principles, key=lambda principle: principle.id)
