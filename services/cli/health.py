"""`charter health`: what a running server says of itself, for probes and for people."""

from __future__ import annotations

from typing import Annotated, Any

import typer

DEFAULT_ADDRESS = "127.0.0.1:50051"
Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="CHARTER_ADDRESS",
        metavar="HOST:PORT",
        help=f"The one process to ask: [https://]HOST:PORT or unix:PATH; default: {DEFAULT_ADDRESS}.",
    ),
]


def health(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A service (charter.v1.PolicyService) or a model (model:judge).")
    ] = "",
    address: Address = "",
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

    from rlhf_core.errors import InvalidInput
    from services.client.connection import Connection

    if address.partition(":")[0].partition("=")[1]:
        raise InvalidInput("--address: names several processes; ask each one: charter health --address HOST:PORT")
    connection = Connection(address or DEFAULT_ADDRESS, timeout_seconds=timeout)
    try:
        stub: Any = health_pb2_grpc.HealthStub(connection.channel)
        request = health_pb2.HealthCheckRequest(service=name)
        answer = connection.call(stub.Check, request)
    finally:
        connection.close()
    state = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    typer.echo(state)
    if state != "SERVING":
        raise typer.Exit(4)
