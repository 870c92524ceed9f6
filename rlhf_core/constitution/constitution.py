"""A constitution as frozen values: objectives, the principles that serve them, and the hash of what they mean."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from rlhf_core.config.base import even_bounds
from rlhf_core.constitution.principle import Frozen, Principle, Share, Weight, frozen_list, hash_of
from rlhf_core.errors import NotFound

Sampling = Literal[
    "weighted_without_replacement",
    "weighted_with_replacement",
    "uniform_without_replacement",
    "uniform_with_replacement",
]


class Objective(Frozen):
    """Something to be good at; it has one reward model, and one weight in every run."""

    name: str
    description: str = ""
    default_weight: Weight = 1.0


class CritiqueDefaults(Frozen):
    """How replies are criticised, where the constitution says so; an empty key leaves it to the run."""

    rounds: Annotated[int, Field(ge=1, le=16)] | None = None
    """Critique-and-revision steps per reply."""
    sampling: Sampling | None = None
    """How each step draws its principle; uniform_with_replacement is that of Bai et al. 2022."""
    stop_on: Literal["complies", "never"] | None = None
    """Whether a verdict of complies ends the rounds of a reply."""


class CompareDefaults(Frozen):
    """How pairs are labelled, where the constitution says so; an empty key leaves it to the run."""

    principles_per_label: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How many principles of an objective vote on one pair."""
    orders: Literal["both"] | None = None
    """Each pair is judged with either reply first; one order alone would measure the judge's habit."""
    cot: bool | None = None
    """Whether the judge thinks aloud before it chooses."""
    pointwise: bool | None = None
    """Whether the judge reads each reply alone and weighs the faults that it quotes, under principles that criticise;
    under those that only compare it sees both replies."""
    clamp: Annotated[tuple[Share, ...], Field(min_length=2, max_length=2), BeforeValidator(frozen_list)] | None = None
    """Bounds of a label's probability, as in [0.4, 0.6]."""

    @model_validator(mode="after")
    def _clamp_is_even(self) -> CompareDefaults:
        if self.clamp is not None:
            even_bounds((self.clamp[0], self.clamp[1]))
        return self


class Defaults(Frozen):
    """How this constitution wants to be applied; the run's configuration decides what it leaves open."""

    critique: CritiqueDefaults = CritiqueDefaults()
    compare: CompareDefaults = CompareDefaults()


class Change(Frozen):
    """One version in the history of the file."""

    version: str
    date: str = ""
    note: str = ""
    hash: str = ""
    """Hash of the constitution as it was released; the version then stands for that meaning alone."""


class SourceFile(Frozen):
    """A file that a constitution was read from."""

    source: str
    """The path as it was given, or builtin:NAME, or the name of a text that is no file."""
    hash: str
    """First 16 hex digits of the sha256 of its bytes."""


class Constitution(Frozen):
    """All that its files say, resolved. Methods return principles in order of id: equal hashes, equal behaviour."""

    id: str
    version: str
    title: str = ""
    objectives: tuple[Objective, ...] = Field(min_length=1)
    principles: tuple[Principle, ...] = Field(min_length=1)
    defaults: Defaults = Defaults()
    priority: tuple[str, ...] = ()
    """Principle ids, from the one that wins a conflict down: where two principles of an objective prefer different
    replies of a pair, the later one's votes on it do not count. Those that are not listed come after all that are."""
    changelog: tuple[Change, ...] = ()
    extends: tuple[str, ...] = ()
    """What the file extends, as it is written there; already merged into the principles."""
    disable: tuple[str, ...] = ()
    """Inherited principles that the file leaves out, as it is written there; already gone from the principles."""
    inherited: dict[str, str] = Field(default_factory=dict)
    """Principle id -> id of the constitution that it comes from, where that is another one."""
    files: tuple[SourceFile, ...] = ()
    """The file itself first, then those that it extends."""

    @property
    def hash(self) -> str:
        """Hash of the meaning, after `extends`: comments, titles, version, tests and the file's order do not count.

        A key that is not used does not enter, so that a constitution keeps its hash when the schema grows.
        """
        objectives = {objective.name: objective.default_weight for objective in self.objectives}
        principles = {p.id: [p.hash, p.weight, p.serves, *_unusual(p)] for p in self.principles}
        defaults = self.defaults.model_dump(exclude_none=True)
        usage = [defaults, list(self.priority)] if any(defaults.values()) or self.priority else []
        return hash_of([self.id, objectives, principles, *usage])

    @property
    def file_hash(self) -> str:
        """Hash of the bytes of the file itself; empty for a constitution that was made in code."""
        return self.files[0].hash if self.files else ""

    @property
    def objective_names(self) -> tuple[str, ...]:
        """In the order of the file."""
        return tuple(objective.name for objective in self.objectives)

    def default_weights(self) -> dict[str, float]:
        return {objective.name: objective.default_weight for objective in self.objectives}

    def serving(self, objective: str) -> tuple[Principle, ...]:
        """Return the principles with a share above 0 in this objective."""
        return tuple(p for p in self._by_id() if p.serves.get(objective, 0) > 0)

    def critiquing(self) -> tuple[Principle, ...]:
        """Return the principles that can criticise and revise."""
        return tuple(p for p in self._by_id() if p.critique is not None and p.revise is not None)

    def principle(self, principle_id: str) -> Principle:
        """Return the principle of that id, or NotFound."""
        for principle in self.principles:
            if principle.id == principle_id:
                return principle
        raise NotFound(f"constitution '{self.id}' has no principle '{principle_id}'")

    def precedence(self) -> dict[str, int]:
        """Return each principle's place where principles conflict, by id; 0 comes first.

        Critical ones go first, then those of `priority` in its order, then all others, which share the last place.
        """
        listed = {name: place for place, name in enumerate(self.priority)}
        keys = {p.id: (p.severity != "critical", listed.get(p.id, len(listed))) for p in self.principles}
        places = {key: place for place, key in enumerate(sorted(set(keys.values())))}
        return {name: places[key] for name, key in keys.items()}

    def _by_id(self) -> list[Principle]:
        return sorted(self.principles, key=lambda principle: principle.id)


def _unusual(principle: Principle) -> list[object]:
    """What weighs or limits a principle's votes without changing them, where it is not the default."""
    penalties = {rule.id: rule.penalty for rule in principle.rules}
    when = principle.applies_when.model_dump() if principle.applies_when else None
    usual = principle.severity == "medium" and not penalties and when is None
    return [] if usual else [principle.severity, when, penalties]
