"""`charter report`: what came out of a run."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from rlhf_core.evaluation.report.record import Report
    from rlhf_core.records.runs import Run
    from services.client.client import CharterClient


def report(
    run_id: options.RunId = "last",
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open report.html in the browser.")] = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Print a finished run's scorecard.

    \b
    Examples:
      charter report
      charter report run-1f0c --open
      charter report --json | jq .weighted.fraction

    A row for each objective, a column for each policy of the run, all on prompts that were kept from training. gold is
    the truth, which only the sandbox knows; proxy is what the objective's reward model makes of the same replies. Where
    proxy rises and gold does not, the policy has learned to please the reward model. --json has every number with its
    interval; --open shows the page with pictures and conversations. Without RUN it is the newest run that has a report.
    """
    from rlhf_core.errors import NotFound
    from services.cli.session import LAST, find_run, open_client, plain_console

    with open_client(address, token, data) as client:
        if run_id == LAST:
            run, text = _last_report(client)
        else:
            run = find_run(client, run_id)
            text = client.trainer.get_report(run.id)
    if as_json:
        typer.echo(text)
        return
    page = show_scorecard(text, run.id, data, plain_console())
    if open_page and page is None:
        raise NotFound(f"--open: report.html of run '{run.id}' is not under '{data}'; it lies where its server runs")
    if open_page and page:
        webbrowser.open(page.absolute().as_uri())


def _last_report(client: CharterClient) -> tuple[Run, str]:
    """The newest run that has a report, with it; says on stderr which newer ones have none."""
    from rlhf_core.errors import NotFound

    without, token = [], ""
    while True:
        page = client.trainer.list_runs(50, token)
        for run in page.runs:
            try:
                text = client.trainer.get_report(run.id)
            except NotFound:
                without.append(f"{run.short_id} ({run.status.lower()})")
                continue
            if without:
                typer.echo(f"report of run {run.id}; newer runs have none: {', '.join(without)}", err=True)
            return run, text
        if not (token := page.next_page_token):
            break
    if not without:
        raise NotFound("no runs yet; start one with: charter demo")
    raise NotFound(f"no report yet of any run: {', '.join(without[:10])}", hint="look on with: charter watch")


def show_scorecard(text: str, run_id: str, data: Path, console: Console) -> Path | None:
    """Print the scorecard of report.json; return where report.html is, when it is on this machine."""
    from rlhf_core.evaluation.report.record import Report

    report = Report.model_validate_json(text)
    console.print(scorecard(report))
    page = data / "runs" / run_id / "report.html"
    lines = [*weighted_lines(report), *report.caveats, *([f"report: {page}"] if page.is_file() else [])]
    for line in lines:
        console.print(line, soft_wrap=True)
    return page if page.is_file() else None


def scorecard(report: Report) -> Table:
    """Make one row per objective and measure, one column per policy, and the change from the first to the last."""
    from rich.table import Table

    table = Table(title="Scorecard on held-out prompts", title_justify="left", box=None, pad_edge=False)
    for heading in ("objective", "measure"):
        table.add_column(heading)
    for heading in (*(stage.name for stage in report.stages), "change", "n"):
        table.add_column(heading, justify="right")
    columns = {"gold": [stage.gold for stage in report.stages], "proxy": [stage.proxy for stage in report.stages]}
    for name in report.objectives:
        for measure, stages in columns.items():
            known = [stage[name] for stage in stages if name in stage]
            if known:
                values = (f"{stage[name].value:.3f}" if name in stage else "-" for stage in stages)
                table.add_row(name, measure, *values, f"{known[-1].value - known[0].value:+.3f}", str(known[-1].n))
    return table


def weighted_lines(report: Report) -> list[str]:
    """Say how much of the way to the best possible the run went, where that is known."""
    weighted = report.weighted
    if weighted is None:
        return gain_lines(report)
    way = f"{weighted.start.value:.3f} -> {weighted.end.value:.3f}, the best possible is {weighted.oracle.value:.3f}"
    lines = [f"weighted gold ({weighted.units}): {way}"]
    if (part := weighted.fraction) is not None:
        lines.append(
            f"{round(part.value, 2) + 0.0:.0%} of the way to the best possible "
            f"(95 % interval {part.low:.0%} to {part.high:.0%}, {part.n} prompts)"
        )
    return [*lines, *gain_lines(report)]


def gain_lines(report: Report) -> list[str]:
    """Say what each part of the training added by the best judge that there is, and whether rewards did anything."""
    from rlhf_core.evaluation.gains import CONTROL
    from rlhf_core.evaluation.report.gains_section import control_told, verdict

    if not report.gains:
        return []
    lines = [f"added on held-out prompts, by {report.gains[0].judge}:"]
    for gain in report.gains:
        if gain.judge == report.gains[0].judge:
            w = gain.weighted
            way = f", {round(gain.way.value, 2) + 0.0:.0%} of the way" if gain.way else ""
            steps = f" ({control_told(report)})" if gain.after == CONTROL else ""
            lines.append(f"  {gain.name}{steps}: {w.value:+.3f} [{w.low:+.3f}, {w.high:+.3f}] reference sd{way}")
    return [*lines, *filter(None, [verdict(report)])]
