"""`charter demo`, `run` and `watch`: asking for a run, and looking on while it works."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services import cli_options as options

if TYPE_CHECKING:
    from rich.console import Console

    from rlhf_core.config import RunConfig
    from rlhf_core.run_records import Run
    from services.cli_preflight import Plan
    from services.clients import CharterClient

REPORT = "report"
UNFINISHED = ("QUEUED", "RUNNING", "PAUSED")


def demo(
    weights: options.Weights = "",
    seed: options.Seed = None,
    overrides: options.Overrides = None,
    allow_ungated: options.AllowUngated = False,
    data: options.Data = options.DATA,
) -> None:
    """Run the whole story on this machine, in a few minutes.

    \b
    Examples:
      charter demo
      charter demo --weights helpful=3,harmless=1
      charter demo --seed 7 -s ppo.steps=20

    Critique, revise, label, train, evaluate, report: starts an embedded server (no port, no GPU, no download),
    runs the sandbox and prints a scorecard. A demo that was killed goes on where it was when the same command
    is given again; Ctrl-C ends it for good.
    """
    from services.cli_preflight import plan_run
    from services.cli_session import open_client, plain_console

    plan = plan_run("", _overrides(overrides, allow_ungated), weights, seed, local=True)
    console = plain_console()
    with open_client("", "", data, plan.config.model, True, plan.config.feedback) as client:
        run = _unfinished(client, plan)
        if run is not None:
            console.print(f"going on with run {run.id}, which was not finished")
            run = client.trainer.resume_run(run.id) if run.state == "PAUSED" else run
        else:
            run = client.trainer.create_run(plan.config, constitution_yaml=plan.constitution_yaml)
        _introduce(client, run, plan, console)
        try:
            watch_to_end(client, run.id, console)
        except KeyboardInterrupt:
            client.trainer.cancel_run(run.id)
            console.print(f"run {run.id} cancelled; what it stored stays in {data}", soft_wrap=True)
            raise
        _finish(client, run, data, console)


def run(
    file: options.ConfigFile = "",
    overrides: options.Overrides = None,
    weights: options.Weights = "",
    seed: options.Seed = None,
    allow_ungated: options.AllowUngated = False,
    detach: Annotated[bool, typer.Option("--detach", help="Print the run's id and do not wait for it.")] = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Start a run from a YAML file and watch it.

    \b
    Examples:
      charter run -c deploy/run.yaml
      charter run -c deploy/run.yaml -s weights.harmless=2 -s ppo.steps=30
      charter run --address localhost:50051 --detach
      CHARTER__PPO__STEPS=30 charter run

    A model of your own needs labels by people that its judge agrees with: the run says how to give them, or
    --allow-ungated does without.

    Order, the later wins: defaults, YAML, environment (CHARTER__PPO__STEPS), -s, --weights.
    Everything is checked before a model loads. Ctrl-C stops watching; on a server the run goes on.
    """
    from rlhf_core.errors import InvalidInput
    from services.cli_preflight import plan_run
    from services.cli_session import open_client, plain_console

    if detach and not address:
        raise InvalidInput("--detach needs a server to leave the run with; start `charter serve`, then give --address")
    plan = plan_run(file, _overrides(overrides, allow_ungated), weights, seed, local=not address)
    console = plain_console()
    with open_client(address, token, data, plan.config.model, True, plan.config.feedback) as client:
        created = client.trainer.create_run(plan.config, constitution_yaml=plan.constitution_yaml)
        if detach:
            typer.echo(created.id)
            return
        _introduce(client, created, plan, console)
        _watch(client, created.id, console, address)
        _finish(client, created, data, console)


def watch(
    run_id: options.RunId = "last",
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Watch a run as it happens.

    \b
    Examples:
      charter watch
      charter watch run-1f0c --address localhost:50051

    Shows stages, steps, rewards, KL and time left. Without a server, a run that waits in --data goes on here.
    Exit code 5 when the run failed. Ctrl-C stops watching; on a server the run goes on.
    """
    from services.cli_session import config_of_folder, find_run, must_exist, open_client, plain_console

    if not address:
        must_exist(data)
    config = None if address else config_of_folder(data)
    model, feedback = (config.model, config.feedback) if config else (None, None)
    with open_client(address, token, data, model, True, feedback) as client:
        _watch(client, find_run(client, run_id).id, plain_console(), address)


def watch_to_end(client: CharterClient, run_id: str, console: Console) -> None:
    """Shows the run until it ends; raises TrainingFailed when it did not succeed, Conflict when it was paused."""
    from rlhf_core.config import RunConfig, stages_of
    from rlhf_core.errors import Conflict, TrainingFailed
    from services.progress import RunView, follow

    stages = stages_of(RunConfig.model_validate_json(client.trainer.get_run(run_id).config))
    follow(client.trainer.watch_run(run_id), RunView(stages), console)
    ended = client.trainer.get_run(run_id)
    if ended.state == "PAUSED":
        raise Conflict(f"run {run_id} is paused", hint=f"to go on with it: charter resume {run_id}")
    if ended.state != "SUCCEEDED":
        raise TrainingFailed(f"run {run_id} {ended.state.lower()}" + (f": {ended.error}" if ended.error else ""))


def _watch(client: CharterClient, run_id: str, console: Console, address: str) -> None:
    try:
        watch_to_end(client, run_id, console)
    except KeyboardInterrupt:
        where = f" --address {address}" if address else ""
        goes_on = "the run goes on" if address else "the run waits in the data folder"
        print(f"\nstopped watching, {goes_on}; look again with: charter watch {run_id}{where}", file=sys.stderr)
        raise


def _finish(client: CharterClient, run: Run, data: Path, console: Console) -> None:
    """The scorecard, where the run makes a report."""
    from rlhf_core.config import RunConfig, stages_of
    from services.cli_report import show_scorecard

    if REPORT in stages_of(RunConfig.model_validate_json(run.config)):
        show_scorecard(client.trainer.get_report(run.id), run.id, data, console)


def needs_people(config: RunConfig) -> bool:
    """Whether the run trains on labels of a judge that only people can measure: own prompts have no gold."""
    from rlhf_core.config import stages_of

    stages = stages_of(config)
    trains = "label" in stages and stages[-1] != "label"
    return trains and config.data.prompts is not None and not config.gate.allow_ungated


def _introduce(client: CharterClient, run: Run, plan: Plan, console: Console) -> None:
    """Says what the run is, and what a worker will do before it."""
    dial = ", ".join(f"{name} {weight:g}" for name, weight in plan.config.weights.items())
    console.print(f"run {run.id}: seed {plan.config.seed}, weights {dial}", soft_wrap=True)
    if needs_people(plan.config):
        line = "it trains on its judge's labels only if people agree with them; to train all the same: --allow-ungated"
        console.print(line, soft_wrap=True)
    for other in client.trainer.list_runs().runs:
        if other.state in ("QUEUED", "RUNNING") and other.id < run.id:
            line = f"run {other.id} is not finished and goes first; to end it: charter cancel {other.id}"
            console.print(line, soft_wrap=True)


def _unfinished(client: CharterClient, plan: Plan) -> Run | None:
    """The newest unfinished run of the same configuration and constitution."""
    from rlhf_core.config import RunConfig

    for candidate in client.trainer.list_runs().runs:
        same = candidate.constitution_hash == plan.constitution.hash
        if candidate.state in UNFINISHED and same and RunConfig.model_validate_json(candidate.config) == plan.config:
            return candidate
    return None


def _overrides(given: list[str] | None, allow_ungated: bool) -> list[str]:
    return [*(given or []), *(["gate.allow_ungated=true"] if allow_ungated else [])]
