"""`charter serve`: the services on a port or a Unix socket."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services import cli_options as options


def serve(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any free one.")] = 50051,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    socket: Annotated[Path | None, typer.Option("--socket", help="Listen on this Unix socket instead.")] = None,
    only: Annotated[str, typer.Option("--only", metavar="NAME,...", help="Only these: policy, critique, ...")] = "",
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow other machines without a token.")] = False,
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
      charter serve --host 0.0.0.0 --token "$CHARTER_TOKEN"

    Services: policy, critique, reward, preference, trainer. The YAML's `model` section says which base model is
    loaded. Ctrl-C drains: calls in flight are finished, a run is left where it is and goes on when a server
    starts again on the same --data.
    """
