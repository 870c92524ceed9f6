"""`charter policies`: which version speaks under which name, promotion, and the way back."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from services.cli import options

if TYPE_CHECKING:
    from rlhf_core.records.models import AliasChange, PolicyStanding
    from services.client.client import CharterClient

Alias = Annotated[str, typer.Argument(metavar="[ALIAS]", help="The alias; `production` where none is given.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; the history keeps it.")]
MAX_REASON = 70
"""Characters in the table; --json has all of it."""
TICKS = {"passed": "passed", "none": "no judge", "failed": "not passed", "unmeasured": "not measured"}


class Door(Protocol):
    """The policies of a server, or those of a folder: both have these methods."""

    def get_policy(self, version: str = "") -> PolicyStanding: ...

    def list_policies(self, run_id: str = "") -> list[PolicyStanding]: ...

    def promote_policy(
        self, version: str, alias: str, *, changed_by: str, reason: str, allow_ungated: bool
    ) -> AliasChange: ...

    def rollback_policy(self, alias: str, *, changed_by: str, reason: str) -> AliasChange: ...

    def policy_history(self, alias: str = "") -> list[AliasChange]: ...


def listed(
    context: typer.Context,
    run_id: Annotated[str, typer.Option("--run", metavar="RUN", help="Only those of this run.")] = "",
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """List policy versions with their aliases, or promote one, or take a promotion back.

    \b
    Examples:
      charter policies
      charter policies promote policy-1f0c
      charter policies promote policy-1f0c --as candidate
      charter policies rollback

    Newest first. `production` answers wherever no policy is named; while nobody holds it, the base model does. To be
    promoted a version must be finished (the stage that made it is done, and its run has not failed and was not
    cancelled), and each judge that taught it must have passed its gate: a test on pairs whose better reply is known.
    """
    if context.invoked_subcommand is not None:
        return
    with _door(address, token, data) as door:
        found, default = door.list_policies(run_id), door.get_policy()
    if as_json:
        typer.echo(json.dumps({"policies": [policy.model_dump() for policy in found]}, indent=2))
        return
    if found:
        _print_table(found)
    else:
        typer.echo("no policy has been trained yet; start with: charter demo")
    speaks = f"{default.version.id} (production)" if default.aliases else "base: nobody holds `production`"
    typer.echo(f"who answers where none is named: {speaks}")


def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A version, its run, an alias, or latest.")],
    alias: Annotated[str, typer.Option("--as", metavar="ALIAS", help="Any word of a to z, 0 to 9, - and _.")] = "",
    allow_ungated: Annotated[
        bool, typer.Option("--allow-ungated", help="Although a gate has not passed; needs --reason.")
    ] = False,
    reason: Reason = "",
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Give an alias, `production` unless --as says another, to a policy version.

    \b
    Examples:
      charter policies promote policy-1f0c
      charter policies promote run-1f0c --as candidate
      charter policies promote candidate --reason "better on harm, same help"
      charter policies promote policy-1f0c --allow-ungated --reason "people have read 50 replies"

    Refused where the version is not finished, or its run failed or was cancelled, whatever you say; where a judge that
    taught it has not passed its gate, unless --allow-ungated says to go on, for a reason. Takes effect with the next
    call; `charter policies rollback` takes it back.
    """
    from rlhf_core.errors import GatesNotPassed
    from rlhf_core.policies.resolve import PRODUCTION

    with _door(address, token, data) as door:
        try:
            change = door.promote_policy(
                version,
                alias or PRODUCTION,
                changed_by=_user(),
                reason=reason,
                allow_ungated=allow_ungated,
            )
        except GatesNotPassed as error:
            told = "to promote it all the same: --allow-ungated --reason TEXT, which the history keeps"
            raise GatesNotPassed(error.message, hint=told) from None
    _print_change(change, as_json)


def rollback(
    alias: Alias = "",
    reason: Reason = "",
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Give an alias back to the version that held it before.

    \b
    Examples:
      charter policies rollback
      charter policies rollback candidate --reason "refuses too much"

    Where nobody held it before, nobody does then: for `production` the base model answers. Each promotion is taken
    back once, so two rollbacks go two holders back.
    """
    from rlhf_core.policies.resolve import PRODUCTION

    with _door(address, token, data) as door:
        change = door.rollback_policy(alias or PRODUCTION, changed_by=_user(), reason=reason)
    _print_change(change, as_json)


def history(
    alias: Annotated[str, typer.Argument(metavar="[ALIAS]", help="Only this alias.")] = "",
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """List what became of aliases, newest first: when, who, from, to and why.

    \b
    Examples:
      charter policies history
      charter policies history production --json | jq -r '.changes[0].reason'
    """
    with _door(address, token, data) as door:
        changes = door.policy_history(alias)
    if as_json:
        typer.echo(json.dumps({"changes": [change.model_dump() for change in changes]}, indent=2))
        return
    if not changes:
        typer.echo("nothing has been promoted yet; promote with: charter policies promote VERSION")
    for change in changes:
        told = f"{change.created_at[:19].replace('T', ' ')}  {change_text(change)}"
        who = f" by {change.changed_by}" if change.changed_by else ""
        why = f": {change.reason}" if change.reason else ""
        over = f" [although {change.overridden}]" if change.overridden else ""
        typer.echo(f"{told}{who}{why}{over}")


def promote_first(client: CharterClient, run_id: str) -> str:
    """Give `production` to a run's policy where nobody holds it and the gates passed; says what came of it."""
    from rlhf_core.policies.resolve import PRODUCTION

    made = [policy for policy in client.policy.list_policies(run_id) if not policy.unfinished]
    if client.policy.get_policy().aliases or not made or not made[0].is_fit:
        return promotion_text(client, run_id)
    reason = "the first policy whose gates passed"
    change = client.policy.promote_policy(made[0].version.id, PRODUCTION, changed_by=_user(), reason=reason)
    return f"promoted: {change_text(change)}; its gates passed and nobody held the name. charter generate speaks as it"


def promotion_text(client: CharterClient, run_id: str) -> str:
    """Say who answers by default now, and how a run's policy would; nothing where it trained none that can."""
    made = [policy for policy in client.policy.list_policies(run_id) if not policy.unfinished]
    default = client.policy.get_policy()
    if not made or made[0].version.id == default.version.id:
        return ""
    way = f"charter policies promote {made[0].version.id}"
    if made[0].is_fit:
        return f"answers where none is named: {default.version.id}; to let this run's policy do so: {way}"
    return (
        f"answers where none is named: {default.version.id}. This run's policy has not passed its gates "
        f"({made[0].gate_reason}); to promote it all the same: {way} --allow-ungated --reason TEXT"
    )


def change_text(change: AliasChange) -> str:
    """Write `production: policy-2 (was policy-1)`."""
    before = change.previous or "nobody"
    return f"{change.alias}: {change.version or 'nobody'} (was {before}{', rolled back' * (change.kind == 'rollback')})"


@contextmanager
def _door(address: str, token: str, data: Path) -> Iterator[Door]:
    """A server's policies, or those of the folder: no model is loaded to look at them."""
    from rlhf_core.policies.policies import Policies
    from rlhf_core.store.store import Store
    from services.cli.session import must_exist
    from services.client.client import CharterClient

    if address:
        with CharterClient.connect(address, token) as client:
            yield client.policy
        return
    must_exist(data)
    with closing(Store.open(data)) as store:
        yield Policies(store)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return ""


def _print_change(change: AliasChange, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"change": change.model_dump()}, indent=2))
        return
    typer.echo(change_text(change))
    if change.kind == "promote" and change.overridden:
        typer.echo(f"although its gates have not passed: {change.overridden}")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 3]}..."


def _print_table(policies: list[PolicyStanding]) -> None:
    from rich.table import Table

    from services.cli.runs.listing import PIPE_WIDTH
    from services.cli.session import plain_console

    table = Table(box=None, pad_edge=False)
    for heading in ("policy", "aliases", "made by", "run", "gates", ""):
        table.add_column(heading, no_wrap=heading == "policy", overflow="fold")
    for policy in policies:
        version = policy.version
        table.add_row(
            version.id,
            ", ".join(policy.aliases),
            f"{version.stage}, step {version.step}",
            version.run_id,
            TICKS[policy.gates],
            _cut(policy.unfinished or policy.gate_reason),
        )
    console = plain_console()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)
