"""`charter constitution check | show`: what a constitution says, and what is wrong with it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from services import cli_options as options


def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A YAML file, or household, assistant.")],
    as_json: options.Json = False,
) -> None:
    """Check a constitution; report every problem.

    \b
    Examples:
      charter constitution check constitutions/household.yaml
      charter constitution check mine.yaml --json

    Each problem comes with file, line and column. Exit code 0 when it is valid, 2 when it is not.
    """
    from rlhf_core.constitution.load import load_constitution
    from rlhf_core.constitution.problems import InvalidConstitution

    try:
        constitution = load_constitution(file)
    except InvalidConstitution as error:
        if not as_json:
            raise
        typer.echo(json.dumps({"valid": False, "problems": [p._asdict() for p in error.problems]}, indent=2))
        raise typer.Exit(2) from None
    if as_json:
        counts = {"objectives": list(constitution.objective_names), "principles": len(constitution.principles)}
        typer.echo(json.dumps({"valid": True, "hash": constitution.hash, **counts, "problems": []}, indent=2))
        return
    objectives, principles = ", ".join(constitution.objective_names), len(constitution.principles)
    typer.echo(f"{file}: valid. Objectives {objectives}; {principles} principles; hash {constitution.hash}")


def show(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A YAML file, or household, assistant.")] = "household",
    raw: Annotated[bool, typer.Option("--raw", help="The YAML itself, to start your own from.")] = False,
) -> None:
    """Show a constitution's objectives and principles.

    \b
    Examples:
      charter constitution show
      charter constitution show assistant --raw > mine.yaml
    """
    from rlhf_core.constitution.load import constitution_text, load_constitution

    if raw:
        typer.echo(constitution_text(file), nl=False)
        return
    constitution = load_constitution(file)
    typer.echo(f"{constitution.title} ({constitution.id} {constitution.version}, hash {constitution.hash})\n")
    for objective in constitution.objectives:
        typer.echo(f"objective {objective.name}, default weight {objective.default_weight:g}: {objective.description}")
    for principle in constitution.principles:
        serves = ", ".join(f"{name} {share:g}" for name, share in principle.serves.items())
        typer.echo(f"\n{principle.id}: {principle.title}  [{serves}; weight {principle.weight:g}]")
        for name in ("critique", "revise", "compare"):
            if text := getattr(principle, name):
                typer.echo(f"  {name:<9} {' '.join(text.split())}")
