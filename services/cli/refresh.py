"""`charter refresh`: another round of labels, reward models and PPO, on what the last round's policy writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options

if TYPE_CHECKING:
    from rlhf_core.config.run import RunConfig
    from rlhf_core.records.runs import Run


def refresh(
    run_id: options.RunId = "last",
    rounds: Annotated[int, typer.Option("--rounds", min=1, metavar="N", help="Rounds, each on the one before.")] = 1,
    overrides: options.Overrides = None,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Train the reward models anew on what the trained policy writes.

    \b
    Examples:
      charter refresh
      charter refresh run-1f0c --rounds 2 -s label.pairs=400
      charter refresh last --address localhost:50051

    A reward model is right about replies like those it has seen, and PPO leads the policy away from these: its score
    rises on, what it stands for does not. A round labels pairs of the policy's own samples, trains the reward models on
    the labels of all rounds, and does PPO again from the fine-tuned policy. The report's picture of gain against
    distance tells whether it helped. Each round is a run of its own.
    """
    from services.cli.report import show_scorecard
    from services.cli.run import watch_to_end
    from services.cli.session import config_of_folder, find_run, must_exist, open_client, plain_console

    if not address:
        must_exist(data)
    console, own = plain_console(), None if address else config_of_folder(data)
    model, feedback = (own.model, own.feedback) if own else (None, None)
    with open_client(address, token, data, model, True, feedback) as client:
        run = find_run(client, run_id)
        for number in range(1, rounds + 1):
            before, run = run, client.trainer.create_run(next_round(run, overrides or ()))
            console.print(f"round {number} of {rounds}: run {run.id} goes on from {before.id}")
            watch_to_end(client, run.id, console)
            show_scorecard(client.trainer.get_report(run.id), run.id, data, console)


def next_round(run: Run, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the run's configuration, to go on from its policy: labels first, under the same constitution.

    Raises InvalidInput for overrides that do not go with it.
    """
    from services.cli.following import following

    return following(run, {"start_at": "label", "label": {"on_policy": True}}, overrides)
