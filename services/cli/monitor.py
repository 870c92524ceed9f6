"""`charter monitor`: how any set of replies sounds, and whether it has drifted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options

if TYPE_CHECKING:
    from rlhf_core.evaluation.monitors import Monitors
    from rlhf_core.evaluation.statistics import Estimate
    from rlhf_core.records.samples import Sample

DRIFTED = 1
"""Exit code when a limit of `monitors.stop` is passed."""


def monitor(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON lines of prompt and response, with or without tags.")
    ],
    reference: Annotated[
        Path | None, typer.Option("--reference", metavar="FILE", help="Replies of the policy to compare with.")
    ] = None,
    config: options.ConfigFile = "",
    overrides: options.Overrides = None,
    as_json: options.Json = False,
) -> None:
    """Measure how replies sound: refusals, apologies, lectures, boilerplate, length.

    \b
    Examples:
      charter monitor answers.jsonl
      charter monitor after.jsonl --reference before.jsonl -s monitors.stop.top_gram=0.25

    Prompts with the tags benign or harmful are also counted apart. The limits are those of `monitors` in the run's
    YAML; exit code 1 when one of `monitors.stop` is passed.
    """
    from rlhf_core.evaluation.monitors import drifts
    from rlhf_core.evaluation.monitors import monitor as measure
    from services.cli.run_config import load_config

    limits = load_config(config or None, overrides or ()).monitors
    replies, before = _replies(file), _replies(reference) if reference else []
    heard = measure(replies, before)
    found = drifts(heard, limits, measure(before) if before else None)
    if as_json:
        body = {"monitors": heard.model_dump(), "drifts": [drift.model_dump() for drift in found]}
        typer.echo(json.dumps(body, indent=2))
    else:
        _print(heard)
        for drift in found:
            typer.echo(f"{drift.level}: {drift}")
    if any(drift.level == "stop" for drift in found):
        raise typer.Exit(DRIFTED)


def _replies(path: Path) -> list[Sample]:
    from rlhf_core.data.conversations import DATA_POLICY
    from rlhf_core.data.loaders import load_demonstrations
    from rlhf_core.records.samples import Sample

    return [
        Sample(id=f"{path}:{number}", prompt=row.prompt, response=row.response, policy_version=DATA_POLICY)
        for number, row in enumerate(load_demonstrations(path))
    ]


def _print(heard: Monitors) -> None:
    typer.echo(f"{heard.samples:,} replies to {heard.prompts:,} prompts, {heard.words:.1f} words each")
    for kind, openings in heard.openings.items():
        where = "" if kind == "all" else f", {kind} prompts"
        _line(f"refuse{where}", openings.refusals)
        _line(f"open with an apology{where}", openings.apology_starts)
    _line("lecture", heard.lectures)
    _line("share five words", heard.top_gram_share, f'"{heard.top_gram}"' if heard.top_gram else "")
    typer.echo(f"  {'distinct words, pairs of words':<38} {heard.distinct_1:6.3f} {heard.distinct_2:6.3f}")
    if ratio := heard.length_ratio:
        typer.echo(
            f"  {'length beside the reference':<38} {ratio.median:6.2f}  90 % below {ratio.p90:.2f}, n = {ratio.n}"
        )


def _line(name: str, share: Estimate, note: str = "") -> None:
    interval = f"{100 * share.low:.1f} to {100 * share.high:.1f}, n = {share.n}"
    typer.echo(f"  {name:<38} {100 * share.value:6.1f} %  {interval}  {note}".rstrip())
