"""`charter health`: what a running server says of itself, for probes and for people."""

from __future__ import annotations

from typing import Annotated

import typer

from services import cli_options as options

DEFAULT_ADDRESS = "127.0.0.1:50051"


def health(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A service (charter.v1.PolicyService) or a model (model:judge).")
    ] = "",
    address: options.Address = "",
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the answer.")] = 5.0,
) -> None:
    """Ask a server whether it serves.

    \b
    Examples:
      charter health
      charter health --address trainer:50051
      charter health model:judge

    Without a name it asks for the whole process. It is NOT_SERVING while a model loads and once it was told to stop.
    Needs no token. Exit code 0 when it serves, 4 when it does not or cannot be reached.
    """
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from services.channel import Connection

    connection = Connection(address or DEFAULT_ADDRESS, timeout_seconds=timeout)
    try:
        stub = health_pb2_grpc.HealthStub(connection.channel)
        request = health_pb2.HealthCheckRequest(service=name)
        answer = connection.call(stub.Check, request)  # pyright: ignore[reportAttributeAccessIssue]
    finally:
        connection.close()
    state = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    typer.echo(state)
    if state != "SERVING":
        raise typer.Exit(4)
