"""`charter doctor`: what of this machine would stop or slow a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options

if TYPE_CHECKING:
    from services.cli.doctor_checks import Check

MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def doctor(
    data: options.Data = options.DATA,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port that `serve` would take.")] = 50051,
    file: options.ConfigFile = "",
    as_json: options.Json = False,
) -> None:
    """Check this machine before a run.

    \b
    Examples:
      charter doctor
      charter doctor --data /mnt/big/charter --port 6000
      charter doctor -c run.yaml
      charter doctor --json

    Looks at versions, threads, GPU, extras, disk, port, data folder and the shipped model; at a store that is there,
    whether it is sound, how its runs stand, and which artifacts nothing refers to. With a run's YAML it also asks
    one token of every endpoint named in it, so that a wrong address, key or model is told before a run.
    Exit code 0 when nothing fails (warnings are allowed), 4 otherwise.
    """
    from services.cli.doctor_checks import examine

    checks = [*examine(data, port), *(_endpoints(file) if file else ())]
    if as_json:
        typer.echo(json.dumps({"checks": [check._asdict() for check in checks]}, indent=2))
    else:
        for check in checks:
            typer.echo(f"{MARKS[check.level]}  {check.name:<12} {check.detail}")
            if check.hint:
                typer.echo(f"{'':6}{'':<12}   -> {check.hint}")
    if any(check.level == "fail" for check in checks):
        raise typer.Exit(4)


def _endpoints(file: str) -> Iterator[Check]:
    from rlhf_core.errors import CharterError
    from services.cli.doctor_checks import Check
    from services.cli.run_config import load_config
    from services.serving.endpoints import connect

    feedback = load_config(file).feedback
    for place, backend in feedback.asked().items():
        if not backend.served_name:
            continue
        role = place.removeprefix("feedback.")
        try:
            endpoint = connect(backend, place)
        except CharterError as error:
            yield Check(role, "fail", str(error))
            continue
        given = "gives log-probabilities" if endpoint.gives_logprobs else "gives no log-probabilities: asked for text"
        yield Check(role, "ok", f"{endpoint.name} answers and {given}")
