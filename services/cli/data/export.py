"""`charter export`: what a folder or a server holds, as files that other tools and Charter itself read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli import options

if TYPE_CHECKING:
    from rlhf_core.records.feedback import Labelers
    from services.client.client import CharterClient
    from services.client.dataset import RunFile
    from services.wire.enums import Content

    Made = Callable[[CharterClient, str], RunFile]

ALL, PARQUET = "all", ".parquet"

Runs = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, a part of it, its name, `last`, or `all`.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; one that ends in .parquet is Parquet.")]
Objective = Annotated[str, typer.Option("--objective", metavar="NAME", help="Only those of this objective.")]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]


def preferences(
    run_id: Runs,
    file: File,
    objective: Annotated[str, typer.Option("--objective", metavar="NAME", help="Only labels of this objective.")] = "",
    labelers: Annotated[str, typer.Option("--labelers", metavar="KIND", help="ai or human; default: both.")] = "",
    force: Force = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Export labels of pairs: prompt, chosen and rejected, as TRL's preference format has them.

    \b
    Examples:
      charter export preferences last pairs.jsonl --objective helpful
      charter export preferences all mine.jsonl --objective harmless --labelers human
      charter run -s data.preferences=pairs.jsonl -s data.preferences_objective=helpful

    The likelier reply is the chosen one; how sure that is stands in `probability`, neither better in `tie`. Skipped
    pairs, and those on which the judge abstained, are no labels. Those of people who are shut out are left out, and
    `all` leaves out the labels of studies.
    """
    kind = _labelers(labelers)

    def made(client: CharterClient, run: str) -> RunFile:
        return client.datasets.export_run(
            "preferences", run, objective=objective, labelers=kind, encoding=_encoding(file)
        )

    _write(address, token, data, file, run_id, force, made)


def ratings(
    run_id: Runs,
    file: File,
    objective: Objective = "",
    force: Force = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Export people's ratings of replies, as rows that `data.labels` reads: prompt, response and rating.

    \b
    Examples:
      charter export ratings all rated.jsonl --objective helpful
      charter run -s data.labels.helpful=rated.jsonl

    A rating is from 1, the worst, to 7. Skipped replies are left out; `all` leaves out what was rated for studies.
    """
    _write(address, token, data, file, run_id, force, _assessed("ratings", objective, file))


def rankings(
    run_id: Runs,
    file: File,
    objective: Objective = "",
    force: Force = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Export people's rankings of replies, as rows that `data.labels` reads: prompt, responses and ranks.

    \b
    Examples:
      charter export rankings last ranked.jsonl --objective harmless
      charter run -s data.labels.harmless=ranked.jsonl

    A ranking in which no reply is better than another is a tie of each two. Skipped prompts are left out.
    """
    _write(address, token, data, file, run_id, force, _assessed("rankings", objective, file))


def spans(
    run_id: Runs,
    file: File,
    objective: Objective = "",
    force: Force = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Export replies with the faults that people marked in them: where, which words, and the principle that they break.

    \b
    Examples:
      charter export spans all faults.jsonl
      charter export spans last faults.jsonl --objective harmless

    A reply in which somebody found none has no faults in its row. No run reads this file.
    """
    _write(address, token, data, file, run_id, force, _assessed("spans", objective, file))


def demonstrations(
    run_id: Runs,
    file: File,
    force: Force = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Export answers that passed the critic, as they were or as revised: whole conversations under `messages`.

    \b
    Examples:
      charter export demonstrations last shown.jsonl
      charter export demonstrations all shown.jsonl
      charter run -s data.demonstrations=shown.jsonl
    """

    def made(client: CharterClient, run: str) -> RunFile:
        return client.datasets.export_run("demonstrations", run, encoding=_encoding(file))

    _write(address, token, data, file, run_id, force, made)


def samples(
    run_id: Runs,
    file: File,
    policy: Annotated[str, typer.Option("--policy", metavar="VERSION", help="Only those of this version.")] = "",
    stage: Annotated[str, typer.Option("--stage", metavar="NAME", help="Only those of this stage.")] = "",
    force: Force = False,
    address: options.Address = "",
    token: options.Token = "",
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

    def made(client: CharterClient, run: str) -> RunFile:
        return client.datasets.export_run("samples", run, policy_version=policy, stage=stage, encoding=_encoding(file))

    _write(address, token, data, file, run_id, force, made)


def _assessed(content: Content, objective: str, file: Path) -> Made:
    return lambda client, run: client.datasets.export_run(content, run, objective=objective, encoding=_encoding(file))


def _labelers(text: str) -> Labelers | None:
    from rlhf_core.errors import InvalidInput

    if text in ("ai", "human"):
        return text
    if text:
        raise InvalidInput(f"--labelers: '{text}' is not allowed; allowed: ai, human", "labelers")
    return None


def _write(
    address: str,
    token: str,
    data: Path,
    file: Path,
    run_id: str,
    force: bool,
    made: Callable[[CharterClient, str], RunFile],
) -> None:
    """Write the file whole or not at all, and say how many rows it has."""
    from rlhf_core.errors import InvalidInput
    from services.cli.data.datasets import write_pieces
    from services.cli.session import find_run, open_client

    if file.exists() and not force:
        raise InvalidInput(f"FILE: '{file}' is there already; write over it with --force", "file")
    with open_client(address, token, data) as client:
        found = made(client, "" if run_id == ALL else find_run(client, run_id).id)
        write_pieces(file, found.pieces)
    typer.echo(f"{found.rows:,} rows in {file}")


def _encoding(file: Path) -> Literal["jsonl", "parquet"]:
    return "parquet" if file.suffix == PARQUET else "jsonl"
