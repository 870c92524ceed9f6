"""`charter compare`: two runs side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from rlhf_core.comparison.records import RunComparison
    from rlhf_core.evaluation.statistics import Estimate

SHOWN = 3
"""Pairs of replies on the terminal; the page and --json have more."""

Run = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run's id, a part of it, its name, `last`, or `production`: what made it."),
]


def compare(
    run_a: Run,
    run_b: Run,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PAGE.html", help="Write a page too, with curves and replies.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a page that is there.")] = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Set two runs side by side: which is better, end numbers, settings that differ, replies that differ most.

    \b
    Examples:
      charter compare production last
      charter compare "more harm weight" 8a0c86 --out both.html
      charter compare 8a0c86 last --address localhost:50051

    Of each run it is the last policy, on held-out prompts, from what the runs stored: nothing is generated anew.
    Numbers are of the prompts that both answered, and differences the second run less the first, paired by prompt,
    with 95 % intervals; scores of different reward models have none, nor has anything where the two runs drew their
    replies at another temperature or length. gold is the truth, which only the sandbox knows.
    The sentence at the top weighs all objectives by the second run's weights.
    """
    from rlhf_core.errors import InvalidInput
    from services.cli.session import find_run, open_client, plain_console

    if out and out.exists() and not force:
        raise InvalidInput(f"--out: '{out}' is there already; write over it with --force", "out")
    with open_client(address, token, data) as client:
        a, b = (find_run(client, run).id for run in (run_a, run_b))
        found = client.trainer.compare_runs(a, b)
    if out:
        _write(found, out)
        typer.echo(f"page: {out}", err=True)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        _print(found, plain_console())


def _write(found: RunComparison, out: Path) -> None:
    from rlhf_core.comparison.page import comparison_page

    write_page(comparison_page(found), out)


def write_page(page: str, out: Path) -> None:
    """Put a page in place whole. Raises InvalidInput where that is not possible."""
    from rlhf_core.errors import InvalidInput

    passing = out.with_name(f"{out.name}.{os.getpid()}.new")
    try:
        passing.write_text(page, encoding="utf-8")
        os.replace(passing, out)
    except OSError as error:
        passing.unlink(missing_ok=True)
        raise InvalidInput(f"--out: '{out}' cannot be written: {error.strerror}", "out") from None


def _print(found: RunComparison, console: Console) -> None:
    from rich.table import Table

    from rlhf_core.comparison.words import basis, name_of
    from services.cli.runs.listing import PIPE_WIDTH
    from services.console.pairs import visible

    names = [name_of(side) for side in (found.a, found.b)]
    _print_verdict(found, console)
    table = Table(box=None, pad_edge=False)
    for heading in ("measure", *names, "difference", ""):
        table.add_column(heading, overflow="fold")
    for measure in found.measures:
        numbers = (shown(measure.a), shown(measure.b), shown(measure.difference, signed=True))
        table.add_row(measure.name, *numbers, measure.note)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)
    counts = f"{found.a.prompts} and {found.b.prompts}, {found.shared_prompts} of them the same"
    console.print(f"held-out prompts: {counts}; the numbers are of these, where a note says nothing else")
    if found.verdict:
        console.print(basis(found.verdict), markup=False, soft_wrap=True)
    console.print("\nsettings that differ:" if found.settings else "\nno setting differs")
    for key, (a, b) in found.settings.items():
        console.print(f"  {key}: {visible(a)} | {visible(b)}", soft_wrap=True)
    for pair in found.replies[:SHOWN]:
        console.print(f"\n> {visible(pair.prompt)}", soft_wrap=True)
        for name, reply in zip(names, (pair.a, pair.b), strict=True):
            console.print(f"  {name}: {' / '.join(visible(reply).splitlines())}", soft_wrap=True)


def _print_verdict(found: RunComparison, console: Console) -> None:
    from rlhf_core.comparison.words import headline, part_words

    for part in found.verdict.parts if found.verdict else ():
        console.print(part_words(part), markup=False, soft_wrap=True)
    console.print(f"{headline(found)}\n", markup=False, soft_wrap=True)


def shown(estimate: Estimate | None, signed: bool = False) -> str:
    """Write `0.75 [0.60, 0.90]`."""
    if estimate is None:
        return "-"
    sign = "+" if signed else ""
    return f"{estimate.value:{sign}.2f} [{estimate.low:{sign}.2f}, {estimate.high:{sign}.2f}]"
