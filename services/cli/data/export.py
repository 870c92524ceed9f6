"""`charter export`: what a data folder holds, as files that other tools and Charter itself read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from services.cli import options

if TYPE_CHECKING:
    from rlhf_core.records.base import Stage
    from rlhf_core.store.store import Store

ALL = "all"
Labelers = Literal["ai", "human"]
Row = dict[str, Any]

Runs = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, a part of it, its name, `last`, or `all`.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The JSONL file to write.")]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]


def preferences(
    run_id: Runs,
    file: File,
    objective: Annotated[str, typer.Option("--objective", metavar="NAME", help="Only labels of this objective.")] = "",
    labelers: Annotated[str, typer.Option("--labelers", metavar="KIND", help="ai or human; default: both.")] = "",
    force: Force = False,
    address: options.Address = "",
    data: options.Data = options.DATA,
) -> None:
    """Export labels of pairs: prompt, chosen and rejected, as TRL's preference format has them.

    \b
    Examples:
      charter export preferences last pairs.jsonl --objective helpful
      charter export preferences all mine.jsonl --objective harmless --labelers human
      charter run -s data.preferences=pairs.jsonl -s data.preferences_objective=helpful

    The likelier reply is the chosen one; how sure that is stands in `probability`, neither better in `tie`. Skipped
    pairs, and those on which the judge abstained, are no labels.
    """
    kind = _labelers(labelers)
    _write(address, data, file, force, lambda store: _preference_rows(store, run_id, objective, kind))


def demonstrations(
    run_id: Runs,
    file: File,
    force: Force = False,
    address: options.Address = "",
    data: options.Data = options.DATA,
) -> None:
    """Export answers that passed the critic, as they were or as revised: whole conversations under `messages`.

    \b
    Examples:
      charter export demonstrations last shown.jsonl
      charter export demonstrations all shown.jsonl
      charter run -s data.demonstrations=shown.jsonl
    """
    _write(address, data, file, force, lambda store: _demonstration_rows(store, run_id))


def samples(
    run_id: Runs,
    file: File,
    policy: Annotated[str, typer.Option("--policy", metavar="VERSION", help="Only those of this version.")] = "",
    stage: Annotated[str, typer.Option("--stage", metavar="NAME", help="Only those of this stage.")] = "",
    force: Force = False,
    address: options.Address = "",
    data: options.Data = options.DATA,
) -> None:
    """Export replies that policies wrote: prompt and completion.

    \b
    Examples:
      charter export samples last replies.jsonl --stage evaluate
      charter export samples all base.jsonl --policy base
      charter monitor replies.jsonl

    Empty replies are left out: no format of demonstrations has them.
    """
    _write(address, data, file, force, lambda store: _sample_rows(store, run_id, policy, stage))


def _labelers(text: str) -> Labelers | None:
    from rlhf_core.errors import InvalidInput

    if text in ("ai", "human"):
        return text
    if text:
        raise InvalidInput(f"--labelers: '{text}' is not allowed; allowed: ai, human", "labelers")
    return None


def _preference_rows(store: Store, run_id: str, objective: str, labelers: Labelers | None) -> Iterator[Row]:
    from rlhf_core.data.export_rows import preference_row
    from rlhf_core.errors import InvalidInput
    from rlhf_core.feedback.preference_labels import probability_of

    runs = [None] if run_id == ALL else [_run_of(store, run_id, "label")]
    given = [p for run in runs for p in store.preferences.find(None, run_id=run, labelers=labelers)]
    found = [p for p in given if not p.abstained and p.choice != "skip" and objective in ("", p.objective)]
    objectives = sorted({p.objective for p in found})
    if len(objectives) > 1:
        raise InvalidInput(
            f"these labels are of several objectives ({', '.join(objectives)}), and a file holds those of one; choose "
            "it with --objective",
            "objective",
        )
    for label in found:
        pair = store.comparisons.get(label.comparison_id)
        if pair.a.response != pair.b.response:
            human = label.labeler.startswith("human:")
            yield preference_row(pair, label, probability_of(label.choice) if human else label.probability)


def _demonstration_rows(store: Store, run_id: str) -> Iterator[Row]:
    from rlhf_core.data.export_rows import demonstration_row
    from rlhf_core.stages.demonstrations import passed

    runs = _runs(store) if run_id == ALL else [_run_of(store, run_id, "critique")]
    for run in runs:
        for sample, shown in passed(store, run).shown:
            if shown.response.strip():
                lineage = {"run_id": run, "sample_id": sample.id, "policy_version": sample.policy_version}
                yield demonstration_row(shown, lineage)


def _sample_rows(store: Store, run_id: str, policy: str, stage: str) -> Iterator[Row]:
    from rlhf_core.data.export_rows import sample_row
    from services.cli.session import run_in

    runs = _runs(store) if run_id == ALL else [run_in(store, run_id)]
    seen: set[str] = set()
    for run in runs:
        for sample in store.samples.of_run(run, stage=stage or None, policy_version=policy or None):
            if sample.response.strip() and sample.id not in seen:
                seen.add(sample.id)
                yield sample_row(sample)


def _runs(store: Store) -> list[str]:
    """All runs, oldest first."""
    found: list[str] = []
    token = ""
    while True:
        runs, token = store.runs.page(1000, token)
        found += [run.id for run in runs]
        if not token:
            return found[::-1]


def _run_of(store: Store, run_id: str, stage: Stage) -> str:
    """The run that did the stage whose results this one has; itself where it is doing it still."""
    from rlhf_core.stages.ancestry import results_of
    from services.cli.session import run_in

    known = run_in(store, run_id)
    done = results_of(store, known).get(stage)
    return done.run_id if done else known


def _write(address: str, data: Path, file: Path, force: bool, rows: Callable[[Store], Iterator[Row]]) -> None:
    """Write the file whole or not at all, and say how many rows it has."""
    from rlhf_core.errors import InvalidInput, NotFound
    from rlhf_core.store.store import Store
    from services.cli.session import must_exist

    if address:
        raise InvalidInput(
            f"export reads a data folder on this machine, not the server at '{address}'; run it where the server's "
            "folder is, with --data and without --address",
            "address",
        )
    if file.exists() and not force:
        raise InvalidInput(f"FILE: '{file}' is there already; write over it with --force", "file")
    must_exist(data)
    with closing(Store.open(data)) as store:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows(store)]
    if not lines:
        raise NotFound("there is nothing to export: no such rows in this data folder")
    _replace(file, lines)
    typer.echo(f"{len(lines):,} rows in {file}")


def _replace(file: Path, lines: Sequence[str]) -> None:
    from rlhf_core.errors import InvalidInput

    passing = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        passing.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
        os.replace(passing, file)
    except OSError as error:
        passing.unlink(missing_ok=True)
        raise InvalidInput(f"FILE: '{file}' cannot be written: {error.strerror}", "file") from None
