"""`charter console`: the pages for people, on a data folder of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options

if TYPE_CHECKING:
    from services.process import Addresses

ADDRESS = "127.0.0.1:8060"


def console(
    address: Annotated[str, typer.Argument(metavar="[HOST:PORT]", help="Port 0 takes any free one.")] = ADDRESS,
    data: options.Data = options.DATA,
) -> None:
    """Open the console on a data folder: label, look on, compare, in a browser.

    \b
    Examples:
      charter console
      charter console 127.0.0.1:0 --data charter-data-real

    Needs no token, so it listens on this machine alone, and no model, so it starts at once; runs and policies
    are carried out and promoted by `charter serve --console`, which has tokens and encryption too. Ctrl-C ends it.
    """
    from services.cli.session import must_exist
    from services.embedded import socket_path
    from services.process import serve
    from services.server.config import WITHOUT_MODEL, ConsoleConfig, ServeConfig

    must_exist(data)
    with socket_path(data) as path:
        pages = ConsoleConfig(address=address)
        serve(
            ServeConfig(address=f"unix:{path}", data=data, only=WITHOUT_MODEL, works=False, console=pages), _say_ready
        )


def _say_ready(at: Addresses) -> None:
    print(f"console on {at.console}; stop with Ctrl-C", flush=True)
