"""`charter sweep`: the same run over several values of some settings, and what they change."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from rlhf_core.comparison.sweep import Sweep
    from rlhf_core.config.run import RunConfig
    from rlhf_core.records.base import Stage
    from rlhf_core.records.runs import Run
    from services.cli.runs.grid import Asked, Cell
    from services.client.client import CharterClient

FOLDER = "sweeps"
"""Of the data folder; holds a page for each sweep."""
NAMES = re.compile(r"[\w.-]{1,60}")
FIRST_STAGE = {
    "sft": "sft",
    "label": "label",
    "gate": "label",
    "reward": "reward",
    "norm": "norm_pack",
    "ppo": "ppo",
    "weights": "ppo",
    "seed": "ppo",
    "evaluation": "evaluate",
}
"""Section or setting -> the first stage that reads it; whatever is not here changes the whole story."""


def sweep(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it; the same name goes on with it.")],
    over: Annotated[
        list[str] | None,
        typer.Option("--over", metavar="KEY=V,V", help="A setting and its values, or LOW..HIGH; may be repeated."),
    ] = None,
    run_id: Annotated[str, typer.Option("--run", metavar="RUN", help="The run that all are like.")] = "last",
    draws: Annotated[int | None, typer.Option("--random", metavar="N", min=1, help="Draw N combinations.")] = None,
    draw_seed: Annotated[int, typer.Option(metavar="N", help="What decides the draw.")] = 0,
    overrides: options.Overrides = None,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Run a setting's values side by side, and tell what they change from noise.

    \b
    Examples:
      charter sweep kl --over ppo.kl_coef=0.02,0.05,0.1 --over seed=0,1
      charter sweep dial --over weights.harmless=0,1,3
      charter sweep rates --over ppo.learning_rate=1e-4..1e-2 --random 12
      charter sweep kl                    # only what came of it

    Each run begins at the first stage that a setting touches and takes the rest from --run. No control is trained;
    `charter run --control RUN` adds one. A setting's first value is what its others are set against. Sweep the seed
    too, or how far runs differ by chance is not known. The same command again goes on where it was and takes up what
    failed. Ends with a table, and a page in the data folder's sweeps/.
    """
    from rlhf_core.errors import TrainingFailed
    from services.cli.runs.grid import Asked
    from services.cli.session import must_exist, plain_console

    _check(name, bool(over), draws is not None or bool(overrides))
    if not address:
        must_exist(data)
    asked = Asked(name, tuple(over or ()), draws, draw_seed, tuple(overrides or ()))
    console = plain_console()
    failed = _carry_out(asked, run_id, address, token, data, console) if over else 0
    if address:
        console.print(f"where the server's folder is: charter sweep {name} --data DIR tells what came of it")
    else:
        _tell(name, data, console, as_json)
    if failed:
        raise TrainingFailed(f"{failed} of the runs did not succeed; the same command takes up again what failed")


def _check(name: str, sweeps: bool, settles: bool) -> None:
    """Raise InvalidInput for a name that makes no file's, and for settings of runs that are not asked for."""
    from rlhf_core.errors import InvalidInput

    if not NAMES.fullmatch(name):
        allowed = "up to 60 letters, digits, '.', '_' and '-'"
        raise InvalidInput(f"NAME: '{name}' is not allowed; allowed: {allowed}", "name")
    if settles and not sweeps:
        raise InvalidInput("--over: nothing to sweep over; write --over KEY=VALUE,VALUE", "over")


def _carry_out(asked: Asked, run_id: str, address: str, token: str, data: Path, console: Console) -> int:
    """Make the runs that are not there yet and wait for all; returns how many have not succeeded."""
    from services.cli.data.uploads import uploaded
    from services.cli.runs.grid import axis_of, cells_of
    from services.cli.session import LAST, config_of_folder, find_run, open_client

    cells = cells_of([axis_of(text) for text in asked.over], asked.draws, asked.seed)
    own = None if address else config_of_folder(data, run_id)
    model, feedback = (own.model, own.feedback) if own else (None, None)
    with open_client(address, token, data, model, True, feedback) as client:
        source = find_run(client, run_id) if run_id != LAST else _last(client, asked.name)
        plans = [(cell, config_of(source, cell, asked.overrides)) for cell in cells]
        if address:
            plans = [(cell, uploaded(client, config, console.print)) for cell, config in plans]
        for _, config in plans:
            client.trainer.create_run(config, validate_only=True)
        first = plans[0][1].start_at or "critique"
        console.print(f"sweep {asked.name}: {len(plans)} runs like {source.id}, from stage {first}", soft_wrap=True)
        # A server may have several workers; here one run goes after the other, so that only one is left unfinished.
        runs = (_run_of(client, asked.name, cell, config) for cell, config in plans)
        ends = [_wait(client, run, console) for run in (list(runs) if address else runs)]
    return sum(state != "SUCCEEDED" for state in ends)


def _last(client: CharterClient, name: str) -> Run:
    """The run that the sweep's runs go on from; for a new sweep the newest run that belongs to none.

    Raises: NotFound where there is no such run.
    """
    from rlhf_core.comparison.sweep import TAG
    from rlhf_core.config.run import RunConfig
    from rlhf_core.errors import NotFound

    known = client.trainer.list_runs(tags=[f"{TAG}={name}"]).runs
    if known and (source := RunConfig.stored(known[-1].config).from_run):
        return client.trainer.get_run(source)
    token = ""
    while True:
        page = client.trainer.list_runs(page_token=token)
        for run in page.runs:
            if TAG not in run.tags:
                return run
        token = page.next_page_token
        if not token:
            raise NotFound("no run to be like; start one with: charter demo")


def config_of(source: Run, cell: Cell, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the configuration of a cell's run: the source's, from the first stage that the cell touches.

    Raises InvalidInput for settings that are not there, or not allowed.
    """
    from rlhf_core.records.base import STAGES
    from services.cli.following import following

    given = [*overrides, *(f"{key}={json.dumps(value)}" for key, value in cell.items())]
    first = min((_first_stage(text.partition("=")[0]) for text in given), key=STAGES.index)
    config = following(source, {"start_at": first}, ["ppo.control_steps=0", *given])
    return config if first != STAGES[0] else config.model_copy(update={"from_run": None, "start_at": None})


def _first_stage(key: str) -> Stage:
    from rlhf_core.records.base import STAGES

    found = FIRST_STAGE.get(key.partition(".")[0], STAGES[0])
    return next(stage for stage in STAGES if stage == found)


def _run_of(client: CharterClient, name: str, cell: Cell, config: RunConfig) -> Run:
    """The cell's run: the one that is there, taken up again where it stopped, or a new one."""
    from rlhf_core.comparison.sweep import TAG
    from services.cli.runs.grid import told

    body = f"{name}\n{config.model_dump_json(exclude_unset=True)}"
    run = client.trainer.create_run(
        config,
        request_id=f"sweep-{hashlib.sha256(body.encode()).hexdigest()[:32]}",
        display_name=f"{name}: {told(cell)}"[:100],
        tags={TAG: name},
    )
    return client.trainer.resume_run(run.id) if run.state in ("FAILED", "PAUSED") else run


def _wait(client: CharterClient, run: Run, console: Console) -> str:
    """Show a run until it ends; returns its state. One that fails does not keep the others from going on."""
    from rlhf_core.errors import CharterError
    from services.cli.run import watch_to_end

    if run.state in ("SUCCEEDED", "CANCELLED"):
        console.print(f"{run.display_name}: {run.state.lower()} already, run {run.id}", soft_wrap=True)
        return run.state
    console.print(f"{run.display_name}: run {run.id}", soft_wrap=True)
    try:
        watch_to_end(client, run.id, console)
    except CharterError as error:
        console.print(f"{error}; the sweep goes on", soft_wrap=True, markup=False)
    return client.trainer.get_run(run.id).state


def _tell(name: str, data: Path, console: Console, as_json: bool) -> None:
    from rlhf_core.comparison.sweep import sweep_of
    from rlhf_core.comparison.sweep_page import sweep_page
    from rlhf_core.store.store import Store
    from services.cli.runs.compare import write_page

    with closing(Store.open(data)) as store:
        found = sweep_of(store, name)
    page = data / FOLDER / f"{name}.html"
    page.parent.mkdir(exist_ok=True)
    write_page(sweep_page(found), page)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        for line in lines_of(found):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
    typer.echo(f"page: {page}", err=True)


def lines_of(found: Sweep) -> Iterator[str]:
    """Yield what came of a sweep as text: runs, effects, trends, what chance does."""
    from services.cli.runs.compare import shown

    yield f"sweep {found.name}: {len(found.cells)} runs on held-out prompts; * is on the front"
    for cell in found.cells:
        numbers = "  ".join(f"{name} {shown(estimate)}" for name, estimate in cell.measures.items())
        settings = ", ".join(f"{key} {value}" for key, value in cell.settings.items())
        yield f"{'*' if cell.on_front else ' '} {cell.run_id.rpartition('-')[2]}  {settings}:  {numbers}"
    for run_id, state in found.unfinished.items():
        yield f"  {run_id.rpartition('-')[2]}  no numbers: {state}"
    if found.effects:
        yield "against the first value, all else the same:"
    for effect in found.effects:
        spread = "" if effect.spread is None else f" +- {effect.spread:.2f} over {effect.pairs} pairs of runs"
        change = f"{effect.setting} {effect.before} -> {effect.after}"
        yield f"  {change}:  {effect.measure} {shown(effect.difference, signed=True)}{spread}: {effect.verdict}"
    for trend in found.trends:
        told = f"rank correlation {trend.correlation:+.2f} over {trend.runs} runs, p {trend.p:.3f}"
        yield f"  {trend.setting} with {trend.measure}: {told}"
    if found.seed_noise:
        noise = ", ".join(f"{name} {sd:.3f}" for name, sd in found.seed_noise.items())
        yield f"between seeds, all else the same, sd: {noise}"
    elif found.cells:
        yield "how far runs differ by seed alone was not measured; --over seed=0,1,2 does"
