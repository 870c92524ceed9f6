"""`charter constitution diff`: what an edit touches, what it costs, and what it does to labels."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options

if TYPE_CHECKING:
    from rlhf_core.records.samples import Comparison
    from services.client.constitution import Difference, Named, Progress

Before = Annotated[
    str,
    typer.Argument(
        metavar="BEFORE", help="A YAML file, or household, assistant, everyday, base-safety: before the edit."
    ),
]
After = Annotated[str, typer.Argument(metavar="AFTER", help="The same after it.")]
Effects = Annotated[bool, typer.Option("--effects", help="Have the judge label the same pairs under both.")]
Pairs = Annotated[int, typer.Option("--pairs", min=1, max=5000, metavar="N", help="How many pairs, with --effects.")]
Seed = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Draws the pairs: same seed, same pairs.")]
Probes = Annotated[
    str, typer.Option("--probes", metavar="FILE", help="JSONL of prompt, chosen, rejected; default: built-in tasks.")
]
Page = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the effects as a page, too.")]


def diff(
    before: Before,
    after: After,
    effects: Effects = False,
    pairs: Pairs = 200,
    seed: Seed = 0,
    probes: Probes = "",
    page: Page = None,
    config: options.ConfigFile = "",
    overrides: options.Overrides = None,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Compare two constitutions; with --effects, measure what the edit does.

    \b
    Examples:
      charter constitution diff household mine.yaml
      charter constitution diff household mine.yaml --effects --html effects.html
      charter constitution diff old.yaml new.yaml --effects --probes pairs.jsonl -s model.base_model=./my-model
      charter constitution diff old.yaml new.yaml --json | jq .bill

    Without --effects no model is asked: principles added, removed, reworded, reweighted or moved, and the bill: votes
    of --data that no longer count, minutes to ask them again, reward models to train again.
    With --effects the judge labels the same pairs under both, and under the first one again: label flips against that
    noise floor with exact p, which principle did it, which principles agree, and the flipped pairs with the critic's
    words. The judge is that of -c and -s, or else of the newest run of --data.
    """
    from rlhf_core.errors import InvalidInput

    for option, given in (("--html", page), ("--probes", probes)):
        if given and not effects:
            raise InvalidInput(f"{option} is for effects; add --effects")
    if effects or address:
        found = _of_server((before, after), effects, pairs, seed, probes, config, overrides or [], address, token, data)
    else:
        found = _of_folder(before, after, data)
    if page is not None and found.effects is not None:
        _write_page(found, page)
    typer.echo(_as_json(found) if as_json else "\n".join(_lines(found)))
    if page is not None and not as_json:
        typer.echo(f"page: {page}")


def _of_folder(before: str, after: str, data: Path) -> Difference:
    """Without a server and without a model."""
    from rlhf_core.constitution.diff import diff_constitutions
    from rlhf_core.constitution.load import load_constitution
    from rlhf_core.effects.edit_cost import bill
    from rlhf_core.store.databases.place import holds_store
    from rlhf_core.store.store import Store
    from services.client.constitution import Difference

    old, new = load_constitution(before), load_constitution(after)
    found = diff_constitutions(old, new, (before, after))
    if not holds_store(data):
        return Difference(found, bill(found, old, new, None), None)
    with closing(Store.open(data)) as store:
        return Difference(found, bill(found, old, new, store), None)


def _of_server(
    files: tuple[str, str],
    effects: bool,
    pairs: int,
    seed: int,
    probes: str,
    config: str,
    overrides: list[str],
    address: str,
    token: str,
    data: Path,
) -> Difference:
    from services.cli.constitution.judge import open_judge

    before, after = (named(file) for file in files)
    drawn = _drawn(probes, pairs, seed) if probes else []
    with open_judge(config, overrides, address, token, data) as client, _progress() as on_progress:
        return client.constitution.diff(
            before, after, effects=effects, pairs=pairs, seed=seed, probes=drawn, on_progress=on_progress
        )


def named(file: str) -> Named:
    """Return the constitution as it is sent: whole, and called by its file's name."""
    from rlhf_core.constitution.load import load_with_text
    from services.client.constitution import Named

    return Named(file, load_with_text(file)[1])


def _drawn(path: str, n: int, seed: int) -> list[Comparison]:
    """Only what will be judged travels."""
    from rlhf_core.effects.probes import file_probes

    return list(file_probes(path, n, seed).pairs)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal's stderr; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda phase, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    with Bar(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(phase, total=total)
            bar.update(tasks[phase], completed=done)

        yield show


def _write_page(found: Difference, page: Path) -> None:
    from rlhf_core.effects.report_page import render_effects
    from rlhf_core.errors import InvalidInput

    assert found.effects is not None
    try:
        page.write_text(render_effects(found.effects), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"--html: {page} cannot be written: {error.strerror}") from None


def _lines(found: Difference) -> Iterator[str]:
    from services.cli.constitution.text import bill_lines, diff_lines

    yield from diff_lines(found.diff)
    yield ""
    yield from bill_lines(found.effects.bill if found.effects else found.bill)
    if found.effects is not None:
        from services.cli.constitution.effects_text import effect_lines

        yield ""
        yield from effect_lines(found.effects)


def _as_json(found: Difference) -> str:
    if found.effects is not None:
        return found.effects.model_dump_json(indent=2)
    parts = {"diff": found.diff.model_dump(mode="json"), "bill": found.bill.model_dump(mode="json")}
    return json.dumps(parts, indent=2)
