"""`charter serve`: the services on a port or a Unix socket."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from services import cli_options as options


def serve(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any free one.")] = 50051,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    socket: Annotated[Path | None, typer.Option("--socket", help="Listen on this Unix socket instead.")] = None,
    only: Annotated[str, typer.Option("--only", metavar="NAME,...", help="Only these: policy, critique, ...")] = "",
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
      charter serve --socket /tmp/charter.sock --token "$SECRET"

    Services: policy, critique, reward, preference, trainer. The YAML's `model` and `feedback` say which models are
    loaded. Ctrl-C drains: calls in flight are finished, and a run at work goes on when a server starts again.
    """
    from services.cli_preflight import check_model, check_other_models
    from services.settings import load_config

    config = load_config(file or None, overrides or [])
    check_model(config.model)
    check_other_models(config.feedback)
    services: dict[str, Any] = {"only": _only(only)} if only else {}

    from services import app

    app.serve(
        app.ServeConfig(
            address=f"unix:{socket.absolute()}" if socket else f"{host}:{port}",
            data=data,
            model=config.model,
            feedback=config.feedback,
            token=token,
            insecure=insecure,
            **services,
        ),
        _say_ready,
    )


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
