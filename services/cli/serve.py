"""`charter serve`: the services on a port or a Unix socket."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import options

if TYPE_CHECKING:
    from rlhf_core.config.run import RunConfig
    from services.process import Addresses
    from services.server.config import ServerConfig


Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="0 takes any free one.  [default: 50051]")]
Host = Annotated[str, typer.Option("--host", help="Address to listen on.  [default: 127.0.0.1]")]
Socket = Annotated[Path | None, typer.Option("--socket", help="Listen on this Unix socket instead.")]
Only = Annotated[str, typer.Option("--only", metavar="NAME,...", help="Only these: policy, critique, ...")]
Default = Annotated[
    str, typer.Option("--constitution", metavar="FILE", help="The default one; a file is followed as you edit it.")
]
Process = Annotated[str, typer.Option("--server", metavar="FILE", help="The process's own YAML (deploy/server.yaml).")]
Token = Annotated[
    str,
    typer.Option(
        "--token",
        envvar="CHARTER_TOKEN",
        metavar="TEXT",
        help="Ask every call for this bearer token, which may do everything; safer in the environment than here.",
    ),
]
Http = Annotated[
    str, typer.Option("--http", metavar="HOST:PORT", help="Rewards and OpenAI's chat over HTTP too; port 0 takes any.")
]
HttpRun = Annotated[
    str, typer.Option("--http-run", metavar="RUN", help="Whose reward models score where a request names no run.")
]
Console = Annotated[
    str, typer.Option("--console", metavar="HOST:PORT", help="Pages for people too: label, look on, decide.")
]
TlsCert = Annotated[
    Path | None, typer.Option("--tls-cert", metavar="FILE", help="Encrypt: the server's certificate, PEM.")
]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="Its private key, PEM.")]
TlsClientCa = Annotated[
    Path | None,
    typer.Option("--tls-client-ca", metavar="FILE", help="Ask clients for a certificate of this authority (mTLS)."),
]
TokensFile = Annotated[
    Path | None,
    typer.Option("--tokens", metavar="FILE", help="Ask for tokens, made by `charter token new`; read as it changes."),
]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", help="Allow an address that others can reach without TLS and tokens: all is open."),
]


def serve(
    port: Port = None,
    host: Host = "",
    socket: Socket = None,
    only: Only = "",
    constitution: Default = "",
    server: Process = "",
    file: options.ConfigFile = "",
    overrides: options.Overrides = None,
    http: Http = "",
    http_run: HttpRun = "",
    console: Console = "",
    token: Token = "",
    tokens: TokensFile = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None,
    insecure: Insecure = False,
    data: options.Data = options.DATA,
    store: options.Database = "",
    artifacts: options.Artifacts = "",
) -> None:
    """Serve all services, or some, until Ctrl-C.

    \b
    Examples:
      charter serve
      charter serve --port 0 -s model.device=cuda
      charter serve -c run.yaml --constitution mine.yaml --http 127.0.0.1:8000 --http-run RUN
      charter serve --console 127.0.0.1:8060 --token "$SECRET"
      charter serve --server deploy/server.yaml --only trainer --store postgresql://db/charter
      charter serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --tokens tokens.yaml

    Services: policy, critique, reward, preference, trainer. The YAML's `model` and `feedback` say which models are
    loaded, the server's YAML what belongs to the process. Ctrl-C or SIGTERM drains: a run at work goes back into the
    queue at its next step, calls in flight are finished. A second one leaves at once; nothing answered is lost.
    """
    config = _checked(file, overrides or [], constitution)
    process = _process(server, socket, host, port, only, data, store=store, artifacts=artifacts)
    process = _with_security(process, {"cert": tls_cert, "key": tls_key, "client_ca": tls_client_ca}, tokens, insecure)
    from services.process import serve as run_server
    from services.server.config import ServeConfig

    parts = {"model": config.model, "feedback": config.feedback, "constitution": config.constitution or ""}
    run_server(ServeConfig(**dict(_with_http(process, http, http_run, console)), **parts, token=token), _say_ready)


def _process(
    file: str, socket: Path | None, host: str, port: int | None, only: str, data: Path, **places: str
) -> ServerConfig:
    """The server's YAML, and over it what the options say."""
    from rlhf_core.errors import InvalidInput
    from services.cli.run_config import load_server_config
    from services.server.config import ServerConfig

    config = load_server_config(file or None)
    chosen: dict[str, Any] = {name: url for name, url in places.items() if url}
    if socket:
        if host or port is not None:
            raise InvalidInput("--socket listens on a file alone; leave out --host and --port", "address")
        chosen["address"] = f"unix:{socket.absolute()}"
    elif host or port is not None:
        written = ServerConfig().address if config.address.startswith("unix:") else config.address
        written_host, _, written_port = written.rpartition(":")
        bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
        chosen["address"] = f"{bracketed or written_host}:{written_port if port is None else port}"
    if only:
        chosen["only"] = _only(only)
    if data != options.DATA:
        chosen["data"] = data
    return config.model_copy(update=chosen)


def _with_http(config: ServerConfig, address: str, run: str, console: str) -> ServerConfig:
    """What the options say over what the YAML says."""
    given = {name: value for name, value in (("address", address), ("run", run)) if value}
    pages = {"address": console} if console else {}
    return config.model_copy(
        update={"http": config.http.model_copy(update=given), "console": config.console.model_copy(update=pages)}
    )


def _with_security(
    config: ServerConfig, tls: dict[str, Path | None], tokens: Path | None, insecure: bool
) -> ServerConfig:
    """What the options say over what the YAML says."""
    given = {name: path for name, path in tls.items() if path is not None}
    chosen: dict[str, Any] = {"tls": config.tls.model_copy(update=given)}
    if tokens is not None:
        chosen["tokens"] = tokens
    if insecure:
        chosen["insecure"] = True
    return config.model_copy(update=chosen)


def _checked(file: str, overrides: Sequence[str], constitution: str) -> RunConfig:
    """What the server is to be, with nothing wrong that can be told without a model."""
    from rlhf_core.constitution.load import load_constitution
    from services.cli.preflight import check_model, check_other_models
    from services.cli.run_config import load_config

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
    from services.cli.run_config import nearest
    from services.server.config import ALL

    chosen = tuple(name.strip() for name in names.split(","))
    for name in chosen:
        if name not in ALL:
            raise InvalidInput(f"--only: unknown service '{name}'{nearest(name, ALL)}", "only")
    return chosen


def _say_ready(at: Addresses) -> None:
    print(f"serving on {at.grpc}; stop with Ctrl-C", flush=True)
    if at.http:
        print(f"http on {at.http}", flush=True)
    if at.console:
        print(f"console on {at.console}", flush=True)
    print(f"try: charter call --address {at.grpc}", file=sys.stderr, flush=True)
