"""`charter constitution check | show | new | export-schema`: what a constitution says, and what is wrong with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from services.cli import options

PROBLEMS_FOUND = 1
"""Exit code of a check or a test that found what it looks for; a misuse is 2."""
UNREADABLE = "C000"

File = Annotated[
    str, typer.Argument(metavar="FILE", help="A YAML file, or household, assistant, everyday, base-safety.")
]


def check(
    file: File,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as problems.")] = False,
    as_json: options.Json = False,
) -> None:
    """Check a constitution; report every error and every warning.

    \b
    Examples:
      charter constitution check constitutions/household.yaml
      charter constitution check mine.yaml --strict
      charter constitution check mine.yaml --json | jq '.problems[] | .line'

    Each line is FILE:LINE:COLUMN CODE message; hint. C codes are errors, W codes warnings.
    Exit code 0 when there is no error, 1 when there is one (--strict: or a warning), 2 when the file cannot be read.
    """
    from rlhf_core.constitution.load import examine_constitution
    from rlhf_core.constitution.validation.problems import InvalidConstitution

    constitution, problems = examine_constitution(file)
    if any(problem.code == UNREADABLE for problem in problems):
        raise InvalidConstitution(problems)
    failed = constitution is None or (strict and bool(problems))
    if as_json:
        rows = [{**problem._asdict(), "severity": problem.severity} for problem in problems]
        facts = {}
        if constitution is not None:
            facts = {"hash": constitution.hash, "objectives": list(constitution.objective_names)}
            facts["principles"] = len(constitution.principles)
        typer.echo(json.dumps({"valid": constitution is not None, **facts, "problems": rows}, indent=2))
    else:
        for problem in problems:
            typer.echo(str(problem))
        if constitution is not None:
            objectives, principles = ", ".join(constitution.objective_names), len(constitution.principles)
            typer.echo(f"{file}: valid. Objectives {objectives}; {principles} principles; hash {constitution.hash}")
        else:
            errors = sum(problem.severity == "error" for problem in problems)
            typer.echo(f"{file}: {errors} error{'s' * (errors != 1)}, {len(problems) - errors} warnings")
    if failed:
        raise typer.Exit(PROBLEMS_FOUND)


def show(
    file: File = "household",
    raw: Annotated[bool, typer.Option("--raw", help="The YAML itself, to start your own from.")] = False,
    flat: Annotated[bool, typer.Option("--flat", help="YAML with all that it extends written out.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show a constitution's objectives and principles, with all that it extends.

    \b
    Examples:
      charter constitution show
      charter constitution show assistant --raw > mine.yaml
      charter constitution show mine.yaml --flat
      charter constitution show mine.yaml --json | jq '.principles[].id'
    """
    from rlhf_core.constitution.load import constitution_text, load_with_text
    from rlhf_core.errors import InvalidInput

    if raw + flat + as_json > 1:
        raise InvalidInput("--raw, --flat and --json are three ways to show it; give one")
    if raw:
        typer.echo(constitution_text(file), nl=False)
        return
    constitution, text = load_with_text(file)
    if flat:
        typer.echo(text, nl=False)
    elif as_json:
        principles = [{**p.model_dump(mode="json"), "hash": p.hash} for p in constitution.principles]
        hashes = {"hash": constitution.hash, "file_hash": constitution.file_hash}
        typer.echo(json.dumps({**constitution.model_dump(mode="json"), **hashes, "principles": principles}, indent=2))
    else:
        from services.cli.constitution.text import constitution_lines

        typer.echo("\n".join(constitution_lines(constitution)))


def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; it must not exist.")],
    based_on: Annotated[
        str,
        typer.Option("--from", metavar="NAME", help="A copy of household, assistant, everyday, base-safety or a file."),
    ] = "",
) -> None:
    """Start a constitution: a short one with every key explained, or a copy of another.

    \b
    Examples:
      charter constitution new mine.yaml
      charter constitution new mine.yaml --from assistant

    The id is the file's name. Next: edit it, then `charter constitution check mine.yaml`.
    """
    from rlhf_core.constitution.load import constitution_text, parse_constitution
    from rlhf_core.errors import Conflict, InvalidInput
    from services.cli.constitution.template import TEMPLATE

    name = re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-") or "mine"
    text = constitution_text(based_on) if based_on else TEMPLATE
    text = re.sub(r"^id: .*$", f"id: {name}", text, count=1, flags=re.MULTILINE)
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise Conflict(f"{file} exists; choose another name") from None
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror}") from None
    typer.echo(f"{file}: {len(parse_constitution(text, str(file)).principles)} principles")
    typer.echo(f"next: edit it, then charter constitution check {file}")


def export_schema(
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it here; default: stdout.")] = None,
) -> None:
    """Export the JSON Schema of constitutions, for editors.

    \b
    Examples:
      charter constitution export-schema > constitution.schema.json
      charter constitution export-schema --out constitution.schema.json

    With the YAML language server, begin your file with:
      # yaml-language-server: $schema=constitution.schema.json
    The schema knows keys, types and ranges; `check` knows the rest.
    """
    from rlhf_core.constitution.parsing.json_schema import json_schema
    from rlhf_core.errors import InvalidInput

    text = json.dumps(json_schema(), indent=2)
    if out is None:
        typer.echo(text)
        return
    try:
        out.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written: {error.strerror}") from None
    typer.echo(f"{out}: written")
