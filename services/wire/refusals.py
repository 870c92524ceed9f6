"""Refuse a bad value: pydantic's complaints as one error that names each field, whatever door it came by."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rlhf_core.errors import InvalidInput, Violation


def invalid_input(error: ValidationError) -> InvalidInput:
    """Return all of pydantic's complaints with their dotted paths.

    The text is the first one's, and names the others.
    """
    violations = []
    for fault in error.errors(include_url=False, include_context=False):
        field = ".".join(map(str, fault["loc"]))
        violations.append(Violation(field, f"{field}: {_told(fault)}"))
    first, *others = violations
    more = f" (also wrong: {', '.join(violation.field for violation in others)})" if others else ""
    return InvalidInput(f"{first.message}{more}", first.field, violations=violations)


def _told(fault: ErrorDetails) -> str:
    """A complaint of our own as it is; one of pydantic's with the value, and without Python's word for a list."""
    if fault["type"] == "value_error":
        return fault["msg"].removeprefix("Value error, ")
    return f"{fault['msg'].replace('valid tuple', 'valid list')}; it is {str(fault['input'])[:200]!r}"
