"""Regular expressions of rules: data from a file, so bounded in the work that they can cause."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable

# What `re` itself reads patterns by; typeshed leaves it out.
from re import _constants as ops  # pyright: ignore[reportAttributeAccessIssue]
from re import _parser as parser  # pyright: ignore[reportAttributeAccessIssue]
from typing import Any

from rlhf_core.constitution.principle import Principle, Rule

MAX_WAYS = 200
"""Ways in which a pattern may match from one place; the work of a search is at most this times the text's length."""
MAX_PATTERN = 300

_REPEATS = (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT)


def pattern_fault(pattern: str) -> str:
    """Say why this pattern cannot be used; empty when it can."""
    if len(pattern) > MAX_PATTERN:
        return f"it has {len(pattern)} characters; allowed: at most {MAX_PATTERN}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # a set that a later Python reads otherwise
            re.compile(pattern, re.IGNORECASE)
        ways = _ways(parser.parse(pattern))
    except (re.error, OverflowError, RecursionError, ValueError, FutureWarning) as error:
        return str(error) or "it is too deep"
    if ways == float("inf"):
        return "it repeats without a bound; write {0,40} for * and {1,40} for +"
    return "" if ways <= MAX_WAYS else f"it can match in {ways:.3g} ways; allowed: at most {MAX_WAYS}"


def found(pattern: str, reply: str) -> bool:
    """Tell whether the pattern occurs anywhere in the reply, upper and lower case alike."""
    return re.search(pattern, reply, re.IGNORECASE) is not None


def broken_rules(
    principles: Iterable[Principle], prompt_tags: Collection[str], reply: str
) -> list[tuple[Principle, Rule]]:
    """Return the rules with a pattern that a reply breaks, of the principles that its prompt is judged by."""
    return [
        (principle, rule)
        for principle in principles
        if principle.applies_to(prompt_tags)
        for rule in principle.rules
        if rule.pattern is not None and rule.applies_to(prompt_tags)
        if found(rule.pattern, reply) != (rule.expect == "yes")
    ]


def _ways(parsed: Iterable[tuple[Any, Any]]) -> float:
    """Upper bound of the paths through a parsed pattern: choices add up, what follows one another multiplies."""
    ways = 1.0
    for kind, argument in parsed:
        if kind in _REPEATS:
            low, high, body = argument
            each = _ways(body)
            ways *= float("inf") if high is ops.MAXREPEAT else (high - low + 1) * _power(each, high)
        elif kind is ops.BRANCH:
            ways *= sum(map(_ways, argument[1]))
        elif kind is ops.SUBPATTERN:
            ways *= _ways(argument[-1])
        elif kind in (ops.ASSERT, ops.ASSERT_NOT):
            ways *= _ways(argument[1])
        elif kind is ops.ATOMIC_GROUP:
            ways *= _ways(argument)
        elif kind is ops.GROUPREF_EXISTS:
            ways *= _ways(argument[1]) + (_ways(argument[2]) if argument[2] else 1)
    return ways


def _power(base: float, exponent: int) -> float:
    try:
        return base**exponent
    except OverflowError:
        return float("inf")
