"""`charter serve`: the services on a port or a Unix socket."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services import cli_options as options

if TYPE_CHECKING:
    from rlhf_core.config import RunConfig


def serve(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any free one.")] = 50051,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    socket: Annotated[Path | None, typer.Option("--socket", help="Listen on this Unix socket instead.")] = None,
    only: Annotated[str, typer.Option("--only", metavar="NAME,...", help="Only these: policy, critique, ...")] = "",
    constitution: Annotated[
        str, typer.Option("--constitution", metavar="FILE", help="The default one; a file is followed as you edit it.")
    ] = "",
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow an address that others can reach.")] = False,
    file: options.ConfigFile = "",
    overrides: options.Overrides = None,
    token: options.Token = "",
    data: options.Data = options.DATA,
) -> None:
    """Serve all services, or some, until Ctrl-C.

    \b
    Examples:
      charter serve
      charter serve --port 0 -s model.device=cuda
      charter serve -c run.yaml --only policy,critique
      charter serve --constitution mine.yaml
      charter serve --socket /tmp/charter.sock --token "$SECRET"

    Services: policy, critique, reward, preference, trainer. The YAML's `model` and `feedback` say which models are
    loaded. Ctrl-C drains: calls in flight are finished, and a run at work goes on when a server starts again.
    """
    config = _checked(file, overrides or [], constitution)
    services: dict[str, Any] = {"only": _only(only)} if only else {}

    from services import app

    app.serve(
        app.ServeConfig(
            address=f"unix:{socket.absolute()}" if socket else f"{host}:{port}",
            data=data,
            model=config.model,
            feedback=config.feedback,
            constitution=config.constitution or "",
            token=token,
            insecure=insecure,
            **services,
        ),
        _say_ready,
    )


def _checked(file: str, overrides: Sequence[str], constitution: str) -> RunConfig:
    """What the server is to be, with nothing wrong that can be told without a model."""
    from rlhf_core.constitution.load import load_constitution
    from services.cli_preflight import check_model, check_other_models
    from services.settings import load_config

    config = load_config(file or None, overrides)
    check_model(config.model)
    check_other_models(config.feedback)
    if constitution:
        config = config.model_copy(update={"constitution": constitution})
    if config.constitution:
        load_constitution(config.constitution)
    return config


def _only(names: str) -> tuple[str, ...]:
    from rlhf_core.errors import InvalidInput
    from services.app import ALL
    from services.settings import nearest

    chosen = tuple(name.strip() for name in names.split(","))
    for name in chosen:
        if name not in ALL:
            raise InvalidInput(f"--only: unknown service '{name}'{nearest(name, ALL)}", "only")
    return chosen


def _say_ready(address: str) -> None:
    print(f"serving on {address}; stop with Ctrl-C", flush=True)
    print(f"try: charter call --address {address}", file=sys.stderr, flush=True)
