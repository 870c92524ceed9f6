"""What differs between two constitutions, and for which objectives labels can come out otherwise."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, Literal

from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.principle import Principle
from rlhf_core.records.base import Record

TEXTS = ("title", "critique", "revise", "compare")
LISTS = ("rules", "examples", "tests")
SCOPE = ("severity", "applies_when")
WORDS = re.compile(r"\s+|\w+|[^\w\s]")


class Edit(Record):
    """A piece of text that stayed, went or came."""

    kind: Literal["same", "gone", "new"]
    text: str


class Rewording(Record):
    """One text of one principle, word by word: without `new` it is the old text, without `gone` the new one."""

    principle_id: str
    field: str
    """title, critique, revise, compare, rules, examples or tests."""
    edits: tuple[Edit, ...]


class Change(Record):
    """One value before and after; None where there was or is none."""

    what: str
    """A principle's id, an objective's name, or the dotted path of a default."""
    before: Any
    after: Any


class Version(Record):
    """Which constitution."""

    id: str
    version: str
    hash: str
    source: str = ""


class ConstitutionDiff(Record):
    """The edit that leads from `before` to `after`. Ids are in order; a principle may stand in several lists."""

    before: Version
    after: Version
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    renamed: tuple[Change, ...] = ()
    """Another id with the same texts: its votes stay valid."""
    reworded: tuple[Rewording, ...] = ()
    reweighted: tuple[Change, ...] = ()
    moved: tuple[Change, ...] = ()
    """Principles that serve other objectives, or the same in other shares."""
    rescoped: tuple[Change, ...] = ()
    """Severity, or which prompts a principle is for: `what` is principle.key."""
    objectives: tuple[Change, ...] = ()
    """Objectives that came, went or have another default weight: the values are default weights."""
    defaults: tuple[Change, ...] = ()
    """Changed defaults, and the order of priority."""
    asked: tuple[str, ...] = ()
    """Principles of `after` whose votes `before` does not have: the judge must be asked."""
    retrain: tuple[str, ...] = ()
    """Objectives of `after` whose labels can differ, so that their reward models must be trained again."""
    unaffected: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether both mean the same; titles, tests and versions may differ."""
        return self.before.hash == self.after.hash and not self.reworded


def diff_constitutions(
    before: Constitution, after: Constitution, sources: tuple[str, str] = ("", "")
) -> ConstitutionDiff:
    """Return all differences; `sources` name the two files."""
    old, new = ({p.id: p for p in c.principles} for c in (before, after))
    renamed = _renamed(old, new)
    names = {change.before: change.after for change in renamed}
    kept = [(p, new[names.get(p.id, p.id)]) for p in old.values() if names.get(p.id, p.id) in new]
    known = {p.hash for p in old.values()}
    retrain = _retrain(before, after)
    return ConstitutionDiff(
        before=_version(before, sources[0]),
        after=_version(after, sources[1]),
        added=tuple(sorted(new.keys() - old.keys() - set(names.values()))),
        removed=tuple(sorted(old.keys() - new.keys() - names.keys())),
        renamed=renamed,
        reworded=tuple(r for a, b in kept for r in _rewordings(a, b)),
        reweighted=tuple(Change(what=b.id, before=a.weight, after=b.weight) for a, b in kept if a.weight != b.weight),
        moved=tuple(Change(what=b.id, before=a.serves, after=b.serves) for a, b in kept if a.serves != b.serves),
        rescoped=tuple(change for a, b in kept for change in _rescoped(a, b)),
        objectives=_changes(before.default_weights(), after.default_weights()),
        defaults=_changes(_flat(before), _flat(after)),
        asked=tuple(sorted(p.id for p in new.values() if p.hash not in known)),
        retrain=retrain,
        unaffected=tuple(name for name in after.objective_names if name not in retrain),
    )


def changed_principles(before: Constitution, after: Constitution) -> tuple[str, ...]:
    """Return the ids of the principles whose votes on labels differ.

    They were added, removed, or have another text, weight, share or scope, or are critical in one of the two.
    """
    old, new = ({p.id: _say(p) for p in c.principles} for c in (before, after))
    return tuple(sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name)))


def _version(constitution: Constitution, source: str) -> Version:
    return Version(id=constitution.id, version=constitution.version, hash=constitution.hash, source=source)


def _renamed(old: Mapping[str, Principle], new: Mapping[str, Principle]) -> tuple[Change, ...]:
    gone = {old[name].hash: name for name in sorted(old.keys() - new.keys())}
    come = {new[name].hash: name for name in sorted(new.keys() - old.keys())}
    return tuple(Change(what=come[h], before=gone[h], after=come[h]) for h in gone if h in come)


def _rewordings(before: Principle, after: Principle) -> list[Rewording]:
    pairs = [(name, getattr(before, name) or "", getattr(after, name) or "") for name in TEXTS]
    pairs += [(name, _lines(getattr(before, name)), _lines(getattr(after, name))) for name in LISTS]
    return [Rewording(principle_id=after.id, field=name, edits=word_edits(a, b)) for name, a, b in pairs if a != b]


def _lines(entries: tuple[Any, ...]) -> str:
    """One entry a paragraph, one key a line; a key that is left out has none."""
    told = [entry.model_dump(exclude_none=True).items() for entry in entries]
    return "\n\n".join("\n".join(f"{key}: {_flow(value)}" for key, value in entry) for entry in told)


def _flow(value: Any) -> Any:
    """A scope as its file has it, without the keys that exclude nothing; other values as they are."""
    if not isinstance(value, dict):
        return value
    return "{" + ", ".join(f"{key}: [{', '.join(tags)}]" for key, tags in value.items() if tags) + "}"


def word_edits(before: str, after: str) -> tuple[Edit, ...]:
    """Return the words that stayed, went and came, in reading order; gone words come before new ones."""
    old, new = WORDS.findall(before), WORDS.findall(after)
    edits: list[Edit] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            edits.append(Edit(kind="same", text="".join(old[a:b])))
            continue
        edits += [Edit(kind="gone", text="".join(old[a:b]))] if b > a else []
        edits += [Edit(kind="new", text="".join(new[c:d]))] if d > c else []
    return tuple(edits)


def _rescoped(before: Principle, after: Principle) -> list[Change]:
    values = [(name, before.model_dump()[name], after.model_dump()[name]) for name in SCOPE]
    return [Change(what=f"{after.id}.{name}", before=a, after=b) for name, a, b in values if a != b]


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    names = dict.fromkeys((*before, *after))
    return tuple(
        Change(what=name, before=before.get(name), after=after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    )


def _flat(constitution: Constitution) -> dict[str, Any]:
    """The defaults by dotted path, and the priority."""
    sections = constitution.defaults.model_dump()
    flat = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    return {**flat, "priority": list(constitution.priority)}


def _say(principle: Principle) -> list[Any]:
    """What a principle contributes to labels: what is asked, how much it counts where, and on which prompts."""
    shares = {name: principle.weight * share for name, share in principle.serves.items() if principle.weight * share}
    return [principle.hash, shares, principle.applies_when, principle.severity == "critical"]


def _retrain(before: Constitution, after: Constitution) -> tuple[str, ...]:
    """Objectives whose votes, weights or precedence within the objective, or way of labelling differ."""
    if before.defaults.compare != after.defaults.compare:
        return after.objective_names
    return tuple(name for name in after.objective_names if _voters(before, name) != _voters(after, name))


def _voters(constitution: Constitution, objective: str) -> list[tuple[str, str, float, str, bool, int]]:
    # Where a pair draws some of them, it does so by their ids.
    drawn = constitution.defaults.compare.principles_per_label is not None
    voting = [p for p in constitution.principles if p.weight * p.serves.get(objective, 0)]
    places = constitution.precedence()
    ranks = sorted({places[p.id] for p in voting})
    return sorted(
        (
            *(p.id if drawn else "", p.hash, p.weight * p.serves[objective], str(p.applies_when)),
            *(p.severity == "critical", ranks.index(places[p.id])),
        )
        for p in voting
    )
