"""The form of a constitution as JSON Schema, so that an editor completes keys and marks mistakes while one types."""

from __future__ import annotations

from typing import Any

from rlhf_core.constitution.parsing.file_schema import SCHEMA, ConstitutionForm
from rlhf_core.constitution.validation.checks import ID, NAME
from rlhf_core.constitution.validation.principle_checks import MAX_RULES, MAX_TEXT, WORDINGS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return JSON Schema 2020-12 of a constitution file.

    What it accepts may still fail a check that compares two places.
    """
    schema = ConstitutionForm.model_json_schema()
    parts = schema["$defs"]
    for name in WORDINGS:
        _text(parts["Principle"]["properties"][name])
    for kind in ("Rule", "Example", "PrincipleTest"):
        for field in parts[kind]["properties"].values():
            _text(field)
    parts["Principle"]["properties"]["rules"]["maxItems"] = MAX_RULES
    parts["Principle"]["dependentRequired"] = {"critique": ["revise"], "revise": ["critique"]}
    parts["Rule"]["oneOf"] = [{"required": ["ask"]}, {"required": ["pattern"]}]
    for owner in (schema, parts["Principle"], parts["Rule"]):
        owner["properties"]["id"]["pattern"] = f"^{ID}$"
    schema["properties"]["objectives"]["propertyNames"] = {"pattern": f"^{NAME}$"}
    schema["anyOf"] = [{"required": ["extends"]}, {"required": ["objectives", "principles"]}]
    return {"$schema": DIALECT, "$id": f"urn:charter:{SCHEMA}", **schema, "title": f"Charter {SCHEMA}"}


def _text(field: dict[str, Any]) -> None:
    """Bounds of a text that a model is asked or shown; of an optional one too, whose null is another alternative."""
    for kind in (field, *field.get("anyOf", [])):
        if kind.get("type") == "string" and "enum" not in kind:
            kind |= {"minLength": 1, "maxLength": MAX_TEXT}
