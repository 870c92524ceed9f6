"""`charter weights`: turning the dial of a run while it trains."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli import options


def weights(
    run_id: options.RunId,
    dial: Annotated[
        str,
        typer.Argument(metavar="NAME=N,...", help="As in helpful=1,harmless=3; objectives not named weigh nothing."),
    ],
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Give a run under way other weights.

    \b
    Examples:
      charter weights last helpful=1,harmless=3 --address localhost:50051
      charter weights run-1f0c harmless=1

    Its next PPO step takes them up; they hold from there on, also against a schedule in ppo.dial.weights_at, and the
    run's history says at which step they came. A run that is paused or still on its way to PPO takes them when it gets
    there. The critic has one stream per objective, so it needs no time to get used to them.
    """
    from rlhf_core.constitution.weights import parse_weights
    from services.cli.session import find_run, open_client

    wanted = parse_weights(dial)
    with open_client(address, token, data) as client:
        run = find_run(client, run_id)
        found = client.trainer.set_weights(run.id, wanted)
        shown = ", ".join(f"{name} {weight:g}" for name, weight in sorted(found.items()))
        typer.echo(f"run {run.id}: {shown}, from its next PPO step on")
