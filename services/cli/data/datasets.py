"""`charter datasets`: data under a name, brought to a server or a folder, looked at, taken out again."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options

if TYPE_CHECKING:
    from rlhf_core.records.datasets import Dataset, DatasetFormat, Encoding

SHOWN_ROWS = 3
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name, NAME@HASH for one version, or the whole hash.")]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="NAME",
        help="prompts, demonstrations, preferences, ratings, rankings, steps, labels (these four mixed) or"
        " constitution. Default: what the first row looks like.",
    ),
]


def listed(
    context: typer.Context,
    format_: Annotated[str, typer.Option("--format", metavar="NAME", help="Only those of this format.")] = "",
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """List datasets, or upload, show, export and delete them.

    \b
    Examples:
      charter datasets
      charter datasets upload pairs.jsonl --name house-pairs
      charter run -s data.prompts=dataset:house-prompts --address localhost:50051

    A run that names a dataset keeps to the version that the name means when it starts.
    """
    from services.cli.session import open_client

    if context.invoked_subcommand is not None:
        return
    wanted = known_format(format_) if format_ else None
    found: list[Dataset] = []
    with open_client(address, token, data) as client:
        token_ = ""
        while True:
            page = client.datasets.list(1000, token_, wanted)
            found += page.datasets
            if not (token_ := page.next_page_token):
                break
    if as_json:
        typer.echo(json.dumps({"datasets": [told(dataset) for dataset in found]}, indent=2))
    elif found:
        _print_table(found)
    else:
        typer.echo("no datasets yet; bring one with: charter datasets upload FILE")


def upload(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines, Parquet, or a constitution's YAML.")],
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="Default: the file's own name.")] = "",
    format_: Format = "",
    description: Annotated[str, typer.Option("--description", metavar="TEXT", help="What to say on it.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check it, there.")] = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Upload a file as a dataset; one whose name is taken becomes its next version.

    \b
    Examples:
      charter datasets upload prompts.jsonl
      charter datasets upload pairs.parquet --name house-pairs --address localhost:50051
      charter datasets upload mine.yaml --format constitution

    Every row is checked, here and there. An upload that broke off goes on where it was when the same command is given
    again; content that the server has already is not sent.
    """
    from rlhf_core.datasets.references import check_name, name_for
    from rlhf_core.store.databases.place import holds_store
    from rlhf_core.store.store import Store
    from services.cli.session import open_client

    found = _looked_at(file, format_)
    found = found.model_copy(update={"id": name or name_for(file.name), "description": description})
    if not address and not dry_run:
        Store.open(data).close()  # a folder may begin with its data
    if address or holds_store(data):
        with open_client(address, token, data) as client:
            stored = client.datasets.upload(
                file, found.id, found.format, description=description, validate_only=dry_run
            )
    else:  # a folder that would begin with it, and is not made for looking
        check_name(found.id, "--name")
        stored = found
    if as_json:
        typer.echo(json.dumps({"stored": not dry_run, **told(stored)}, indent=2))
        return
    verb = "would be" if dry_run else "is"
    typer.echo(f"{file} {verb} dataset {stored.id}: {stored.rows:,} {_unit(stored)}, hash {stored.hash[:12]}")
    typer.echo(f"a run names it as dataset:{stored.id}")


def show(
    name: Name,
    rows: Annotated[int, typer.Option("-n", "--rows", min=0, help="How many rows to show.")] = SHOWN_ROWS,
    versions: Annotated[bool, typer.Option("--versions", help="List its versions instead.")] = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Show a dataset: its facts, the runs that were given it, its first rows.

    \b
    Examples:
      charter datasets show house-pairs
      charter datasets show house-pairs@1f0c9a2b -n 20
      charter datasets show house-pairs --versions
    """
    from services.cli.session import open_client

    with open_client(address, token, data) as client:
        found = client.datasets.get(name)
        if versions:
            several = client.datasets.list(1000, versions_of=found.dataset.id).datasets
            if as_json:
                typer.echo(json.dumps([told(version) for version in several], indent=2))
            else:
                _print_table(several)
            return
        first = list(islice(client.datasets.rows(found.dataset.reference, max(1, min(rows, 1000))), rows))
    if as_json:
        typer.echo(json.dumps({**told(found.dataset), "run_ids": found.run_ids, "rows_shown": first}, indent=2))
        return
    dataset = found.dataset
    typer.echo(f"{dataset.id}: {dataset.rows:,} {_unit(dataset)} of {dataset.format}, {_size(dataset)}")
    typer.echo(f"reference  {dataset.reference}")
    by = f" by {dataset.created_by}" if dataset.created_by else ""
    typer.echo(f"uploaded   {dataset.created_at[:19]}{by}")
    if dataset.description:
        typer.echo(f"says       {dataset.description}")
    typer.echo(f"runs       {', '.join(found.run_ids) or 'none were given it'}")
    for row in first:
        typer.echo(json.dumps(row, ensure_ascii=False))


def export(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    encoding: Annotated[
        str, typer.Option("--as", metavar="NAME", help="jsonl or parquet; default: byte for byte as it was uploaded.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Write a dataset's file, byte for byte, or its rows in another encoding.

    \b
    Examples:
      charter datasets export house-pairs pairs.jsonl
      charter datasets export house-pairs@1f0c9a2b old.jsonl
      charter datasets export house-pairs pairs.parquet --as parquet
    """
    from services.cli.session import open_client

    if file.exists() and not force:
        from rlhf_core.errors import InvalidInput

        raise InvalidInput(f"FILE: '{file}' is there already; write over it with --force", "file")
    wanted = _encoding(encoding)
    with open_client(address, token, data) as client:
        dataset = client.datasets.get(name).dataset
        size = write_pieces(file, client.datasets.export(dataset.reference, wanted))
    typer.echo(f"dataset {dataset.id} in {file}: {dataset.rows:,} {_unit(dataset)}, {size:,} bytes")


def delete(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    although_used: Annotated[bool, typer.Option("--although-used", help="Even where runs were given it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    address: options.Address = "",
    token: options.Token = "",
    data: options.Data = options.DATA,
    as_json: options.Json = False,
) -> None:
    """Delete a dataset with all its versions.

    \b
    Examples:
      charter datasets delete house-pairs --dry-run
      charter datasets delete house-pairs --yes

    Refused where a run was given one of them, which it could not be resumed without, but with --although-used. The
    bytes go with `charter gc`.
    """
    from rlhf_core.errors import InvalidInput
    from services.cli.session import open_client

    with open_client(address, token, data) as client:
        plan = client.datasets.delete(name, although_used=although_used, validate_only=True)
        versions = f"{plan.versions} version{'s' * (plan.versions > 1)}, {plan.size:,} bytes"
        if not (yes or dry_run):
            if not sys.stdin.isatty():
                raise InvalidInput(
                    f"--yes: not given, and nobody is there to ask; deleting {plan.id} would take {versions}"
                )
            typer.confirm(f"deleting dataset {plan.id} takes {versions}. Go on?", abort=True)
        done = plan if dry_run else client.datasets.delete(name, although_used=although_used)
    if as_json:
        typer.echo(json.dumps({"deleted": not dry_run, **done._asdict()}, indent=2))
        return
    typer.echo(f"deleting dataset {done.id} {'would take' if dry_run else 'took'} {versions}")


def _looked_at(file: Path, format_: str) -> Dataset:
    """What a file would be as a dataset, every row read. Raises InvalidInput naming every bad one."""
    from rlhf_core.data.row_files import RowFile
    from rlhf_core.datasets.formats import check_file, encoding_of, likely_format
    from rlhf_core.records.datasets import Dataset
    from services.client.dataset import sha256_of

    content = sha256_of(file)  # says what cannot be read
    rows = RowFile(str(file), file)
    wanted = known_format(format_) if format_ else likely_format(rows)
    count, encoding = check_file(rows, wanted), encoding_of(file, wanted)
    size = file.stat().st_size
    return Dataset(id="", format=wanted, encoding=encoding, hash=content, rows=count, size=size)


def known_format(text: str) -> DatasetFormat:
    """Return a format's name. Raises InvalidInput for a format that there is not."""
    from rlhf_core.datasets.formats import FORMATS
    from rlhf_core.errors import InvalidInput, suggestion

    for known in FORMATS:
        if text == known:
            return known
    raise InvalidInput(f"--format: '{text}' is none; {suggestion(text, FORMATS)}", "format")


def write_pieces(file: Path, pieces: Iterable[bytes]) -> int:
    """Write a file whole or not at all, and return its bytes."""
    from rlhf_core.errors import InvalidInput

    passing = file.with_name(f"{file.name}.{os.getpid()}.new")
    size = 0
    try:
        with passing.open("wb") as target:
            for piece in pieces:
                size += target.write(piece)
        os.replace(passing, file)
    except OSError as error:
        raise InvalidInput(f"FILE: '{file}' cannot be written: {error.strerror}", "file") from None
    finally:
        passing.unlink(missing_ok=True)
    return size


def told(dataset: Dataset) -> dict[str, object]:
    """Return the dataset as --json shows it."""
    return {**dataset.model_dump(exclude={"number", "artifact"}), "reference": dataset.reference, "etag": dataset.etag}


def _encoding(text: str) -> Encoding | None:
    from rlhf_core.errors import InvalidInput

    if text in ("jsonl", "parquet"):
        return text
    if text:
        raise InvalidInput(f"--as: '{text}' is not allowed; allowed: jsonl, parquet", "as")
    return None


def _print_table(found: Sequence[Dataset]) -> None:
    from rich.table import Table

    from services.cli.session import plain_console

    table = Table(box=None, pad_edge=False)
    for heading in ("dataset", "format", "rows", "size", "hash", "uploaded"):
        table.add_column(heading, no_wrap=heading in ("dataset", "hash"), overflow="fold")
    for dataset in found:
        facts = (dataset.id, dataset.format, f"{dataset.rows:,}", _size(dataset), dataset.hash[:12])
        table.add_row(*facts, dataset.created_at[:19])
    console = plain_console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def _unit(dataset: Dataset) -> str:
    word = "principle" if dataset.format == "constitution" else "row"
    return word if dataset.rows == 1 else f"{word}s"


def _size(dataset: Dataset) -> str:
    return f"{dataset.size / 2**20:.1f} MiB" if dataset.size >= 2**20 else f"{dataset.size / 2**10:.1f} KiB"
