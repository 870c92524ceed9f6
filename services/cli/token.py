"""`charter token`: who may call a server that asks for tokens, and what each of them may do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from services.security.scopes import Scope

File = Annotated[
    Path,
    typer.Option("--file", envvar="CHARTER_TOKENS", metavar="FILE", help="The server's tokens; see `charter serve`."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose token it is: a person or a program.")]
TOKENS = Path("tokens.yaml")


def new(
    name: Name,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="annotate, read, label, review, train or admin."),
    ] = None,
    role: Annotated[
        str, typer.Option("--role", metavar="ROLE", help="annotator, reviewer, trainer or admin, instead of scopes.")
    ] = "",
    days: Annotated[
        int | None, typer.Option("--days", min=1, max=36_500, help="Valid for so many days; else for ever.")
    ] = None,
    file: File = TOKENS,
) -> None:
    """Make a token and print it; the file keeps only its hash.

    \b
    Examples:
      charter token new alice --scope label
      charter token new ci --scope read --scope train --days 30 --file /etc/charter/tokens.yaml
      charter token new ada --role annotator
      export CHARTER_TOKEN=$(charter token new me --scope admin)

    \b
    Scopes:
      annotate  give and take back labels in the token's own name, and see nobody else's
      read      ask the models, look at runs, labels and constitutions
      label     read, and give and take back labels
      review    label, see how good everybody's labels are, and decide where people disagree
      train     read, and start, pause, resume and cancel runs
      admin     everything

    Roles: an annotator has annotate, a reviewer review, a trainer train and review, an admin admin.

    A server that runs with this file (charter serve --tokens FILE) takes the token at once.
    """
    from services.security.tokens import new_token

    expires = (datetime.now(UTC) + timedelta(days=days)).date() if days else None
    typer.echo(new_token(file, name, _scopes(scope or [], role), expires))
    typer.echo(f"added '{name}' to {file}; the token is not shown again", err=True)


def listed(file: File = TOKENS) -> None:
    """List the tokens of a file: names, scopes and days, never the tokens themselves.

    \b
    Examples:
      charter token list
      charter token list --file /etc/charter/tokens.yaml
    """
    from services.security.tokens import read_tokens

    for entry in read_tokens(file):
        until = f", until {entry.expires}" if entry.expires else ""
        typer.echo(f"{entry.name}: {', '.join(entry.scopes)} since {entry.created}{until}")


def revoke(name: Name, file: File = TOKENS) -> None:
    """Take a token away; a running server refuses it from the next call on.

    \b
    Examples:
      charter token revoke ci
      charter token revoke ci --file /etc/charter/tokens.yaml
    """
    from services.security.tokens import revoke_token

    revoke_token(file, name)
    typer.echo(f"'{name}' is out of {file}", err=True)


def _scopes(names: list[str], role: str) -> list[Scope]:
    """Those that were named, or those of a role."""
    from rlhf_core.errors import InvalidInput
    from services.cli.run_config import nearest
    from services.security.scopes import ROLES, SCOPES

    if bool(names) == bool(role):
        raise InvalidInput("give either --scope, which may be repeated, or --role", "scope")
    if role:
        if role not in ROLES:
            raise InvalidInput(f"--role: unknown role '{role}'{nearest(role, list(ROLES))}", "role")
        return [*ROLES[role]]
    for name in names:
        if name not in SCOPES:
            raise InvalidInput(f"--scope: unknown scope '{name}'{nearest(name, SCOPES)}", "scope")
    return cast("list[Scope]", names)
