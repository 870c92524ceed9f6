"""`charter token`: who may call a server that asks for tokens, and what each of them may do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

File = Annotated[
    Path,
    typer.Option("--file", envvar="CHARTER_TOKENS", metavar="FILE", help="The server's tokens; see `charter serve`."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose token it is: a person or a program.")]
TOKENS = Path("tokens.yaml")


def new(
    name: Name,
    scope: Annotated[list[str], typer.Option("--scope", metavar="SCOPE", help="read, label, train or admin.")],
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
      export CHARTER_TOKEN=$(charter token new me --scope admin)

    \b
    Scopes:
      read   ask the models, look at runs, labels and constitutions
      label  read, and give and take back labels
      train  read, and start, pause, resume and cancel runs
      admin  everything

    A server that runs with this file (charter serve --tokens FILE) takes the token at once.
    """
    from services.security.tokens import new_token

    expires = (datetime.now(UTC) + timedelta(days=days)).date() if days else None
    typer.echo(new_token(file, name, _scopes(scope), expires))
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


def _scopes(names: list[str]) -> list:
    from rlhf_core.errors import InvalidInput
    from services.cli.run_config import nearest
    from services.security.scopes import SCOPES

    for name in names:
        if name not in SCOPES:
            raise InvalidInput(f"--scope: unknown scope '{name}'{nearest(name, SCOPES)}", "scope")
    return names
