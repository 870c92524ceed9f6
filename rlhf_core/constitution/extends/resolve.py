"""A constitution and all that it extends, merged; or every problem in every file that it is made of."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import NamedTuple

from rlhf_core.constitution.constitution import Constitution, Objective, SourceFile
from rlhf_core.constitution.extends.merge import Inherited, inherit, merged_defaults
from rlhf_core.constitution.extends.semver import parse_range, parse_version, satisfies
from rlhf_core.constitution.parsing.file_schema import ConstitutionForm, read_form
from rlhf_core.constitution.parsing.tree import Path, Tree, read_tree
from rlhf_core.constitution.sources import BUILTIN, BUILTIN_PREFIX, Source, open_builtin, open_source
from rlhf_core.constitution.validation.checks import check
from rlhf_core.constitution.validation.problems import InvalidConstitution, Problem
from rlhf_core.errors import suggestion

MAX_FILES = 32
"""Files that one constitution may be made of."""


class Reading(NamedTuple):
    """What became of one file: a constitution, or problems in it or in what it extends."""

    source: Source
    tree: Tree
    constitution: Constitution | None
    problems: list[Problem]


def resolve(source: Source) -> Reading:
    """Return the constitution in this source, with all that it extends."""
    return _read(source, (), {})


def _read(source: Source, chain: tuple[Source, ...], done: dict[str, Reading]) -> Reading:
    tree = read_tree(source.text, source.name)
    if not tree.values:
        empty = Problem(source.name, 1, 1, "C001", "the file is empty", "start with schema: constitution/v1")
        return Reading(source, tree, None, tree.problems or [empty])
    form = read_form(tree)
    bases, missing = _bases(source, tree, chain, done)
    known = None if missing else inherit([base.constitution for base in bases if base.constitution])
    problems = [*tree.problems, *(form if isinstance(form, list) else []), *check(tree, known), *missing]
    if isinstance(form, list) or known is None or problems:
        return Reading(source, tree, None, list(dict.fromkeys(problems)))
    constitution = _build(source, form, known)
    problems += _released(tree, constitution)
    return Reading(source, tree, None if problems else constitution, problems)


def _build(source: Source, form: ConstitutionForm, known: Inherited) -> Constitution:
    own = {name: Objective(name=name, **body.model_dump()) for name, body in form.objectives.items()}
    principles = {p.id: p for p in known.without(form.disable)} | {p.id: p for p in form.principles}
    priority = form.priority or tuple(name for name in known.priority if name in principles)
    mine = {principle.id for principle in form.principles}
    return Constitution(
        id=form.id,
        version=form.version,
        title=form.title,
        objectives=tuple((known.objectives | own).values()),
        principles=tuple(principles.values()),
        defaults=merged_defaults([known.defaults, form.defaults]),
        priority=priority,
        changelog=form.changelog,
        extends=form.extends,
        disable=form.disable,
        inherited={name: origin for name, origin in known.origins.items() if name in principles and name not in mine},
        files=tuple(dict.fromkeys([SourceFile(source=source.name, hash=source.hash), *known.files])),
    )


def _bases(
    source: Source, tree: Tree, chain: tuple[Source, ...], done: dict[str, Reading]
) -> tuple[list[Reading], list[Problem]]:
    """What the file extends, in its order; with the problems of those files."""
    top = tree.data if isinstance(tree.data, dict) else {}
    listed = top.get("extends")
    bases: list[Reading] = []
    problems: list[Problem] = []
    for index, entry in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(entry, str):
            base = _base(entry.strip(), ("extends", index), tree, (*chain, source), done)
            if isinstance(base, Problem):
                problems.append(base)
            else:
                bases.append(base)
                problems += _unusable(base, entry, ("extends", index), tree, (*chain, source))
    return bases, problems


def _base(entry: str, path: Path, tree: Tree, chain: tuple[Source, ...], done: dict[str, Reading]) -> Reading | Problem:
    name = _range_of(entry)[0]
    try:
        source = _open(name, chain[-1])
    except InvalidConstitution as error:
        what = error.problems[0]
        hint = suggestion(name, [BUILTIN_PREFIX + known for known in BUILTIN]) if ":" in name else what.hint
        return tree.problem("C040", path, f"{_shown(chain)} -> {name}: {what.message}", hint)
    if any(earlier.key == source.key for earlier in chain):
        message = f"the constitution extends itself: {_shown([*chain, source])}"
        return tree.problem("C040", path, message, "leave one of them out")
    if source.key not in done:
        if len(done) + len(chain) >= MAX_FILES:
            return tree.problem("C040", path, f"more than {MAX_FILES} files in all", "write fewer, larger ones")
        done[source.key] = _read(source, chain, done)
    return done[source.key]


def _open(name: str, extending: Source) -> Source:
    if name.startswith(BUILTIN_PREFIX):
        return open_builtin(name.removeprefix(BUILTIN_PREFIX), name)
    if extending.folder is None:
        message, hint = "only a file can extend a file", f"known: {', '.join(BUILTIN_PREFIX + b for b in BUILTIN)}"
    elif PurePath(name).is_absolute() or not name:
        message, hint = "the path is not relative to the file", "write it as in ../base.yaml"
    else:
        return open_source(os.path.normpath(extending.folder / name))
    raise InvalidConstitution([Problem(name, 1, 1, "C040", message, hint)])


def _unusable(base: Reading, entry: str, path: Path, tree: Tree, chain: Sequence[Source]) -> Iterator[Problem]:
    """Problems of an extended file: its own, and that its version is not the one asked for."""
    if base.constitution is None:
        message = f"{_shown([*chain, base.source])}: the file extended here has mistakes"
        yield tree.problem("C040", path, message, "mend it first")
        yield from base.problems
        return
    wanted_text = _range_of(entry)[1]
    wanted, version = parse_range(wanted_text), parse_version(base.constitution.version)
    if wanted_text and wanted is None:
        hint = "write it as in @^1, @~1.2 or @1.2.3"
        yield tree.problem("C040", path, f'the version range "{wanted_text}" is not understood', hint)
    elif wanted and version and not satisfies(version, wanted):
        message = f"{_shown([*chain, base.source])}: its version is {base.constitution.version}"
        yield tree.problem("C040", path, message, f"{wanted_text} was asked for")


def _range_of(entry: str) -> tuple[str, str]:
    """`builtin:base-safety@^1` as its name and its range."""
    name, _, wanted = entry.partition("@")
    return name, wanted


def _shown(chain: Sequence[Source]) -> str:
    """The files from the first to the last, named from the folder of the first; of a long chain only its ends."""
    folder = chain[0].folder or ""
    names = [os.path.relpath(source.name, folder) if source.folder else source.name for source in chain]
    return " -> ".join(names if len(names) <= 6 else [*names[:2], "...", *names[-3:]])


def _released(tree: Tree, constitution: Constitution) -> Iterator[Problem]:
    """A version whose hash the changelog holds stands for that meaning alone."""
    for index, change in enumerate(constitution.changelog):
        if change.version == constitution.version and change.hash not in ("", constitution.hash):
            message = f"the text has changed since {change.version} was released with hash {change.hash}"
            hint = f"raise the version; the hash is now {constitution.hash}"
            yield tree.problem("C060", ("changelog", index, "hash"), message, hint)
