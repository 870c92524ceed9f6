"""`charter demo`, `run` and `watch`: asking for a run, and looking on while it works."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from services.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from rlhf_core.config.feedback import FeedbackConfig
    from rlhf_core.config.run import ModelConfig, RunConfig
    from rlhf_core.records.runs import Run
    from services.cli.preflight import Labels, Plan
    from services.client.client import CharterClient

REPORT = "report"
UNFINISHED = ("QUEUED", "RUNNING", "PAUSED")


def demo(
    model: Annotated[
        str,
        typer.Option(metavar="NAME", help="sandbox, or smollm2: a real model, without a world that knows the truth."),
    ] = "sandbox",
    weights: options.Weights = "",
    seed: options.Seed = None,
    overrides: options.Overrides = None,
    allow_ungated: options.AllowUngated = False,
    show_plan: options.ShowPlan = False,
    data: options.Data = options.DATA,
) -> None:
    """Run the whole story on this machine, in a few minutes.

    \b
    Examples:
      charter demo --weights helpful=3,harmless=1
      charter demo --model smollm2 --allow-ungated     # SmolLM2-135M-Instruct, the better part of an hour

    Critique, revise, label, train, evaluate, report: starts an embedded server (no port, no GPU, no download) and
    prints a scorecard. Where nobody holds `production` and the judge has passed its gates, the trained policy is
    promoted to it. A demo that was killed goes on when the same command is given again; Ctrl-C ends it for good.
    """
    from services.cli.preflight import Labels, plan_run
    from services.cli.session import open_client, plain_console

    chosen = [f"model.base_model={model}", *_overrides(overrides, allow_ungated)]
    if show_plan:
        return _plan("", chosen, weights, seed, {}, show_plan, False)
    plan, console = plan_run("", chosen, weights, seed, local=True), plain_console()
    with open_client("", "", data, plan.config.model, True, plan.config.feedback) as client:
        run = _unfinished(client, plan)
        if run is not None:
            console.print(f"going on with run {run.id}, which was not finished")
            run = client.trainer.resume_run(run.id) if run.state == "PAUSED" else run
        else:
            run = plan.create(client, Labels())
        _introduce(client, run, console)
        try:
            watch_to_end(client, run.id, console)
        except KeyboardInterrupt:
            client.trainer.cancel_run(run.id)
            console.print(f"run {run.id} cancelled; what it stored stays in {data}", soft_wrap=True)
            raise
        _finish(client, run, data, console, promotes=True)


def run(
    file: options.ConfigFile = "",
    overrides: options.Overrides = None,
    weights: options.Weights = "",
    seed: options.Seed = None,
    allow_ungated: options.AllowUngated = False,
    control: options.Control = "",
    name: options.Name = "",
    tags: options.Tags = None,
    detach: Annotated[bool, typer.Option("--detach", help="Print the run's id and do not wait for it.")] = False,
    show_plan: options.ShowPlan = False,
    as_json: options.Json = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Start a run from a YAML file and watch it.

    \b
    Examples:
      charter run -c deploy/run.yaml -s ppo.steps=30
      charter run -s model.memory_budget=3GB --plan    # what it would take here: calls, minutes, memory
      charter run --address localhost:50051 --detach
      charter run --name "more harm weight" --tag sweep=weights --weights helpful=1,harmless=3
      charter run --control run-1f0c    # what would PPO have done without its rewards?

    A model of your own needs labels by people that its judge agrees with, or --allow-ungated. The later wins:
    defaults, YAML, environment (CHARTER__PPO__STEPS), -s, --weights; with --control all but -s is as in that run.
    """
    from services.cli.preflight import Labels
    from services.cli.session import open_client, plain_console

    changes, console = _overrides(overrides, allow_ungated), plain_console()
    if show_plan or as_json or (detach and not address):
        return _plan(file, changes, weights, seed, {"--control": control, "--address": address}, show_plan, as_json)
    labels = Labels.of(name, tags or ())
    asked = _asked(file, changes, weights, seed, control, address, data)
    with open_client(address, token, data, asked.model, True, asked.feedback) as client:
        created = asked.create(client, labels)
        if detach:
            typer.echo(created.id)
            return
        _introduce(client, created, console)
        _watch(client, created.id, console, address)
        _finish(client, created, data, console)


def _plan(
    file: str,
    overrides: list[str],
    weights: str,
    seed: int | None,
    beside: dict[str, str],
    show_plan: bool,
    as_json: bool,
) -> None:
    from rlhf_core.errors import InvalidInput
    from services.cli.preflight import plan_run
    from services.cli.run_plan import print_plan

    if not (show_plan or as_json):
        raise InvalidInput("--detach needs a server to leave the run with; start `charter serve`, then give --address")
    if not show_plan:
        raise InvalidInput("--json goes with --plan; a run that is done shows its numbers by: charter report --json")
    if given := [name for name, value in beside.items() if value]:
        raise InvalidInput(f"{given[0]} does not go with --plan, which measures this machine and starts nothing")
    print_plan(plan_run(file, overrides, weights, seed, local=True), as_json)


class Asked(NamedTuple):
    """What a run needs of the server that carries it out, and how it is made there."""

    model: ModelConfig
    feedback: FeedbackConfig
    create: Callable[[CharterClient, Labels], Run]


def _asked(
    file: str, overrides: list[str], weights: str, seed: int | None, control: str, address: str, data: Path
) -> Asked:
    """The run of these options; InvalidInput for what does not go together."""
    from rlhf_core.config.run import RunConfig
    from rlhf_core.errors import InvalidInput
    from services.cli.data.uploads import uploaded
    from services.cli.following import control_of
    from services.cli.preflight import plan_run
    from services.cli.session import config_of_folder, find_run, must_exist

    if not control:
        plan = plan_run(file, overrides, weights, seed, local=not address)
        if not address:
            return Asked(plan.config.model, plan.config.feedback, plan.create)

        def create_there(client: CharterClient, labels: Labels) -> Run:
            return plan._replace(config=uploaded(client, plan.config, _tell)).create(client, labels)

        return Asked(plan.config.model, plan.config.feedback, create_there)
    beside = {"-c": file, "--weights": weights, "--seed": "" if seed is None else str(seed)}
    if given := [name for name, value in beside.items() if value]:
        told = "which takes all that from its run; allowed: -s, such as -s ppo.control_steps=20"
        raise InvalidInput(f"{given[0]} does not go with --control, {told}")
    if not address:
        must_exist(data)
    own = RunConfig() if address else config_of_folder(data, control)

    def create_beside(client: CharterClient, labels: Labels) -> Run:
        config = control_of(client, find_run(client, control), overrides)
        config = uploaded(client, config, _tell) if address else config
        return client.trainer.create_run(config, display_name=labels.display_name, tags=labels.tags)

    return Asked(own.model, own.feedback, create_beside)


def _tell(text: str) -> None:
    """Beside the run's id, which scripts read."""
    typer.echo(text, err=True)


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
    from services.cli.session import config_of_folder, find_run, must_exist, open_client, plain_console

    if not address:
        must_exist(data)
    config = None if address else config_of_folder(data)
    model, feedback = (config.model, config.feedback) if config else (None, None)
    with open_client(address, token, data, model, True, feedback) as client:
        _watch(client, find_run(client, run_id).id, plain_console(), address)


def watch_to_end(client: CharterClient, run_id: str, console: Console) -> None:
    """Show the run until it ends; raises TrainingFailed when it did not succeed, Conflict when it was paused."""
    from rlhf_core.config.run import RunConfig, stages_of
    from rlhf_core.errors import Conflict, TrainingFailed
    from services.cli.progress import RunView, follow

    stages = stages_of(RunConfig.stored(client.trainer.get_run(run_id).config))
    follow(client.trainer.watch_run(run_id), RunView(stages), console)
    ended = client.trainer.get_run(run_id)
    if ended.state == "PAUSED":
        raise Conflict(f"run {run_id} is paused", hint=f"to go on with it: charter resume {run_id}")
    if ended.state != "SUCCEEDED":
        told = f"run {run_id} {ended.state.lower()}" + (f": {ended.error}" if ended.error else "")
        raise TrainingFailed(told, hint=way_past_gate(ended))


def way_past_gate(run: Run) -> str:
    """Return the commands that help a run whose judge has not passed its gate; nothing for any other."""
    if "has not passed its gate" not in run.error:
        return ""
    return f"charter label --gate --run {run.short_id} asks you for pairs; --allow-ungated trains all the same"


def _watch(client: CharterClient, run_id: str, console: Console, address: str) -> None:
    try:
        watch_to_end(client, run_id, console)
    except KeyboardInterrupt:
        where = f" --address {address}" if address else ""
        goes_on = "the run goes on" if address else "the run waits in the data folder"
        print(f"\nstopped watching, {goes_on}; look again with: charter watch {run_id}{where}", file=sys.stderr)
        raise


def _finish(client: CharterClient, run: Run, data: Path, console: Console, promotes: bool = False) -> None:
    """The scorecard, where the run makes a report, and who answers by default now."""
    from rlhf_core.config.run import RunConfig, stages_of
    from services.cli.policies import promote_first, promotion_text
    from services.cli.report import show_scorecard

    if REPORT in stages_of(RunConfig.stored(run.config)):
        show_scorecard(client.trainer.get_report(run.id), run.id, data, console)
    if told := (promote_first if promotes else promotion_text)(client, run.id):
        console.print(told, soft_wrap=True)


def needs_people(config: RunConfig) -> bool:
    """Tell whether the run trains on labels of a judge that only people can measure: own prompts have no gold."""
    from rlhf_core.config.run import stages_of

    stages = stages_of(config)
    trains = "label" in stages and stages[-1] != "label"
    return trains and config.data.prompts is not None and not config.gate.allow_ungated


def _introduce(client: CharterClient, run: Run, console: Console) -> None:
    """Say what the run is, and what a worker will do before it."""
    from rlhf_core.config.run import RunConfig

    config = RunConfig.stored(run.config)
    dial = ", ".join(f"{name} {weight:g}" for name, weight in config.weights.items())
    console.print(f"run {run.id}: seed {config.seed}, weights {dial}", soft_wrap=True)
    if needs_people(config):
        line = "it trains on its judge's labels only if people agree with them; to train all the same: --allow-ungated"
        console.print(line, soft_wrap=True)
    for other in client.trainer.list_runs().runs:
        if other.state in ("QUEUED", "RUNNING") and other.id < run.id:
            line = f"run {other.id} is not finished and goes first; to end it: charter cancel {other.id}"
            console.print(line, soft_wrap=True)


def _unfinished(client: CharterClient, plan: Plan) -> Run | None:
    """The newest unfinished run of the same configuration and constitution."""
    from rlhf_core.config.run import RunConfig

    for candidate in client.trainer.list_runs().runs:
        same = plan.constitution is not None and candidate.constitution_hash == plan.constitution.hash
        if candidate.state in UNFINISHED and same and RunConfig.stored(candidate.config) == plan.config:
            return candidate
    return None


def _overrides(given: list[str] | None, allow_ungated: bool) -> list[str]:
    return [*(given or []), *(["gate.allow_ungated=true"] if allow_ungated else [])]
