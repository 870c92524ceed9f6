"""What one principle must mean: texts that a model can be asked, rules that can be run, examples that keep them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlhf_core.constitution.parsing.tree import Path, Tree, rows
from rlhf_core.constitution.validation.patterns import found, pattern_fault
from rlhf_core.constitution.validation.placeholders import ALLOWED, NEEDED, has_lone_brace, placeholders
from rlhf_core.constitution.validation.problems import Problem, shown
from rlhf_core.errors import suggestion

MAX_TEXT = 4000
"""Characters of one text that a model is asked or shown; more would crowd the judge's context."""
WORDINGS = ("title", "critique", "revise", "compare")
MAX_RULES = 16
"""Rules of one principle; each is run on every reply."""


def check_principle(tree: Tree, path: Path, body: dict[str, Any]) -> Iterator[Problem]:
    """Yield all that is wrong with this principle by itself; wrong types are left to the form."""
    yield from _texts(tree, path, body)
    yield from _critique_and_revise(tree, path, body)
    for key in ALLOWED:
        if isinstance(body.get(key), str):
            yield from _placeholders(tree, (*path, key), key, body[key])
    yield from _rules(tree, path, body)
    yield from _examples(tree, path, body)
    yield from _approvals(tree, path, body)


def _texts(tree: Tree, path: Path, body: dict[str, Any]) -> Iterator[Problem]:
    """Empty texts, and those too long; of parts with a minimal length the form finds the empty ones."""
    parts = [part for key in ("rules", "examples", "tests") for part in rows(body, key, path)]
    for at, part in [(path, body), *parts]:
        for key, text in part.items():
            if isinstance(text, str) and at == path and key in WORDINGS and not text.strip():
                yield tree.problem("C032", (*at, key), f"{key} is empty", "write a sentence, or leave the key out")
            elif isinstance(text, str) and len(text) > MAX_TEXT:
                message = f"{key} has {len(text)} characters"
                yield tree.problem("C032", (*at, key), message, f"allowed: at most {MAX_TEXT}")


def _critique_and_revise(tree: Tree, path: Path, body: dict[str, Any]) -> Iterator[Problem]:
    for present, other in (("critique", "revise"), ("revise", "critique")):
        if body.get(present) is not None and body.get(other) is None:
            hint = f"add {other}, or leave out both for a principle that only compares"
            yield tree.problem("C033", (*path, present), f"{present} without {other}", hint, key=True)


def _placeholders(tree: Tree, path: Path, key: str, text: str) -> Iterator[Problem]:
    used = placeholders(text)
    for name in used:
        if name not in ALLOWED[key]:
            message = f"{key} cannot use the placeholder {{{name}}}"
            yield tree.problem("C031", path, message, suggestion(name, ALLOWED[key]))
    if has_lone_brace(text):
        yield tree.problem("C031", path, f"{key} has a brace that belongs to no placeholder", "write {{ for one brace")
    missing = [name for name in NEEDED[key] if name not in used]
    if used and missing:
        message = f"{key} uses placeholders, but lacks {{{missing[0]}}}"
        yield tree.problem("C030", path, message, "say where the reply stands, or use no placeholder at all")


def _rules(tree: Tree, path: Path, body: dict[str, Any]) -> Iterator[Problem]:
    rules = rows(body, "rules", path)
    if len(rules) > MAX_RULES:
        message = f"the principle has {len(rules)} rules"
        yield tree.problem("C034", (*path, "rules"), message, f"allowed: at most {MAX_RULES}")
    for at, rule in rules:
        if (rule.get("ask") is None) == (rule.get("pattern") is None):
            hint = "give it one of them: ask for a question to the judge, pattern for a regular expression"
            yield tree.problem("C034", at, "a rule needs either ask or pattern", hint)
        pattern = rule.get("pattern")
        if isinstance(pattern, str) and (fault := pattern_fault(pattern)):
            yield tree.problem("C034", (*at, "pattern"), f"the pattern {shown(pattern)} cannot be used: {fault}")


def _examples(tree: Tree, path: Path, body: dict[str, Any]) -> Iterator[Problem]:
    """What is shown as good must differ from what is shown as bad, and keep the rules that can be run here."""
    for key, good, bad in (("examples", "good", "bad"), ("tests", "prefer", "over")):
        for at, part in rows(body, key, path):
            better, worse = part.get(good), part.get(bad)
            if not isinstance(better, str):
                continue
            if isinstance(worse, str) and better.split() == worse.split():
                yield tree.problem("C050", (*at, good), f"{good} and {bad} are the same text", "make them differ")
            for name in _broken(body, better[:MAX_TEXT]):
                message = f"{good} breaks the principle's own rule {shown(name)}"
                yield tree.problem("C050", (*at, good), message, "mend the text, or the rule")


def _approvals(tree: Tree, path: Path, body: dict[str, Any]) -> Iterator[Problem]:
    """What approves of a reply is followed by its verdict, and so must hold none."""
    for at, part in rows(body, "examples", path):
        said = part.get("approval")
        if isinstance(said, str) and "verdict:" in said.lower():
            yield tree.problem(
                "C050", (*at, "approval"), "approval holds a verdict", "leave it out: `Verdict: complies` follows"
            )


def _broken(body: dict[str, Any], reply: str) -> Iterator[object]:
    """The ids of the rules with a usable pattern that this reply breaks."""
    for _, rule in rows(body, "rules")[:MAX_RULES]:
        pattern, expect = rule.get("pattern"), rule.get("expect")
        if not isinstance(pattern, str) or expect not in ("yes", "no") or pattern_fault(pattern):
            continue
        if found(pattern, reply) != (expect == "yes"):
            yield rule.get("id")
