"""Warnings: what a constitution may say, and will probably regret. None keeps it from being used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.parsing.tree import Path, Tree, mapping, rows
from rlhf_core.constitution.validation.problems import Problem
from rlhf_core.constitution.validation.similarity import near_duplicates

_TEXTS = ("critique", "revise", "compare")

_FAULT_WANTED = re.compile(
    r"\b(identify|explain|list|name|discuss|describe|quote|point (?:out|to)|say|criti(?:que|ci[sz]e))\b", re.IGNORECASE
)
_EXIT = re.compile(r"\?|\b(if|whether|unless|any|none|nothing|compl(?:y|ies))\b", re.IGNORECASE)

_NEGATIVE = re.compile(
    r"\b(not|no|never|without|avoid\w*|less|fewer|least|refus\w*|remov\w*|omit\w*|drop|delete)\b|n't\b", re.IGNORECASE
)
_POSITIVE = re.compile(
    r"\b(keep\w*|offer\w*|add|says?|helps?|explain\w*|shows?|useful|more|better|best|instead|safer|clear\w*|kind\w*)\b",
    re.IGNORECASE,
)

_HARM = re.compile(r"harm|safe|danger|toxic", re.IGNORECASE)

_GROUP = re.compile(
    r"\b(muslims?|christians?|catholics?|jews?|jewish|hindus?|buddhists?|sikhs?|atheists?|(?:black|white) people|"
    r"africans?|asians?|arabs?|hispanics?|latin[oa]s?|roma|immigrants?|refugees?|gays?|lesbians?|bisexuals?|"
    r"homosexuals?|transgender|trans (?:people|women|men)|women|men|disabled|autistic|deaf|elderly)\b",
    re.IGNORECASE,
)
_PERSON = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|President|Chancellor|Minister|Pope|King|Queen|Senator|Professor)\.? [A-Z][a-z]+"
    r"|(?<=[a-z,;:] )[A-Z][a-z]+ [A-Z][a-z]+"
)


def lint_tree(tree: Tree, constitution: Constitution | None) -> Iterator[Problem]:
    """Yield warnings on the principles of this file; `constitution` is what it resolves to, where it is valid."""
    principles = rows(mapping(tree.data), "principles")
    for path, body in principles:
        yield from _presupposes_guilt(tree, path, body)
        yield from _only_negative(tree, path, body)
        yield from _names_somebody(tree, path, body)
        yield from _asks_nobody(tree, path, body)
        if not body.get("tests"):
            message, hint = "the principle has no tests", "add a prompt, what to prefer, and over what"
            yield tree.problem("W105", (*path, "id"), message, hint)
    yield from _near_duplicates(tree, principles)
    if constitution is not None:
        yield from _only_harmlessness(tree, constitution)


def _presupposes_guilt(tree: Tree, path: Path, body: dict[str, Any]) -> Iterator[Problem]:
    text = body.get("critique")
    if isinstance(text, str) and (found := _FAULT_WANTED.search(text)) and not _EXIT.search(text):
        message = f'"{found[0]}" takes it for granted that the reply has a fault'
        yield tree.problem("W101", (*path, "critique"), message, "say when the reply complies, or ask whether")


def _only_negative(tree: Tree, path: Path, body: dict[str, Any]) -> Iterator[Problem]:
    texts = [body[key] for key in _TEXTS if isinstance(body.get(key), str)]
    if texts and all(map(_NEGATIVE.search, texts)) and not any(map(_POSITIVE.search, texts)):
        hint = "add what a good reply does: judges agree with people more on what is wanted"
        yield tree.problem("W104", path, "the principle says only what a reply must not do", hint)


def _names_somebody(tree: Tree, path: Path, body: dict[str, Any]) -> Iterator[Problem]:
    for key in _TEXTS:
        text = body.get(key)
        if isinstance(text, str) and (found := _GROUP.search(text) or _PERSON.search(text)):
            kind = "a protected group" if _GROUP.search(text) else "a living person"
            message = f'"{found[0]}" may name {kind}'
            yield tree.problem("W106", (*path, key), message, "a rule that holds for everybody is fairer")


def _asks_nobody(tree: Tree, path: Path, body: dict[str, Any]) -> Iterator[Problem]:
    """A rule that is a question, where the author counts on what a broken rule does."""
    for at, rule in rows(body, "rules", path):
        if "ask" in rule and ("penalty" in rule or body.get("severity") == "critical"):
            message = "no model is asked this while it trains, so that breaking it costs nothing"
            yield tree.problem("W107", (*at, "ask"), message, "write a pattern, or leave it to critique and compare")


def _near_duplicates(tree: Tree, principles: list[tuple[Path, dict[str, Any]]]) -> Iterator[Problem]:
    texts = [" ".join(str(body[key]) for key in _TEXTS if body.get(key)) for _, body in principles]
    for first, second, likeness in near_duplicates(texts):
        (_, earlier), (path, _) = principles[first], principles[second]
        message = f'the principle is much like "{earlier.get("id")}" (likeness {likeness:.2f})'
        yield tree.problem("W102", (*path, "id"), message, "two votes for one idea; join them, or set them apart")


def _only_harmlessness(tree: Tree, constitution: Constitution) -> Iterator[Problem]:
    served = {name for p in constitution.principles if p.weight > 0 for name, share in p.serves.items() if share > 0}
    if served and all(map(_HARM.search, served)):
        hint = "add a principle that rewards a useful answer"
        yield tree.problem("W103", ("principles",), "only harm counts here: expect evasive replies", hint, key=True)
