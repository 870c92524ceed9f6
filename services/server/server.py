"""The gRPC server: address, encryption, health and reflection, the same for every service."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from rlhf_core.errors import InvalidInput
from services.security.tls import TlsConfig, server_credentials
from services.security.tokens import Tokens
from services.server.call_log import CallInterceptor
from services.server.health import SERVING, Health
from services.server.interceptors import ErrorInterceptor, Gate
from services.server.limits import Limits, Turnstile
from services.server.starting import LateHandlers

BACKSTOP = 4
"""Calls that gRPC lets in, for each one that may be at work: those too many get an answer that says so."""


CONNECTION_SECONDS = 300
"""Until a client is told to connect anew, once its calls are done: where a name stands for several processes, new ones
are found then."""


class Service(NamedTuple):
    """A service to be offered: its full name, the generated function that adds it, and what answers."""

    name: str
    add: Callable[[Any, Any], None]
    servicer: object


class Server:
    """A bound address; `open` answers health on it, `offer` adds the services, `drain` lets calls at work finish."""

    def __init__(
        self,
        address: str,
        tokens: Tokens | None = None,
        tls: TlsConfig | None = None,
        limits: Limits | None = None,
        insecure: bool = False,
        reflects: bool | None = None,
    ):
        """`reflects` says whether the server describes its methods; None: only where nobody else reaches it.

        Raises InvalidInput when the address is taken, open to others without protection, or not an address.
        """
        credentials = server_credentials(tls or TlsConfig())
        check_address(address, insecure or (credentials is not None and bool(tokens)))
        limits = limits or Limits()
        self.turnstile = Turnstile(limits)
        """Counts the calls at work, for whatever else lets calls into this process."""
        self._server = grpc.aio.server(
            interceptors=[CallInterceptor(), ErrorInterceptor(), Gate(tokens or Tokens(), limits, self.turnstile)],
            options=_options(limits.message_bytes),
            maximum_concurrent_rpcs=BACKSTOP * limits.calls,
        )
        self._folder = tempfile.TemporaryDirectory(prefix="charter-") if credentials else None
        self.address = self._bind(address, credentials)
        self.inner = self._bind(f"unix:{self._folder.name}/inner") if self._folder else self.address
        """Where the process reaches itself: its certificate may name only what others call it."""
        self.draining = asyncio.Event()
        """Set when the server goes; calls that last for ever end then."""
        self._reflects = is_local(address) if reflects is None else reflects
        self._started = False
        self._health = Health()
        self._late = LateHandlers()

    def _bind(self, address: str, credentials: grpc.ServerCredentials | None = None) -> str:
        try:
            if credentials:
                port = self._server.add_secure_port(address, credentials)
            else:
                port = self._server.add_insecure_port(address)
        except RuntimeError:
            port = 0
        if port == 0:
            raise InvalidInput(f"address: cannot listen on {address}; is it taken? choose another port", "address")
        if address.startswith("unix:"):
            os.chmod(address.removeprefix("unix:"), 0o600)
            return address
        return f"{address.rpartition(':')[0]}:{port}"

    async def open(self, services: Sequence[str], models: Sequence[str]) -> None:
        """Answer health for services and models that are still to come; calls to them are told to try again."""
        self._health = Health((*services, *models))
        self._late.expect(services)
        self._server.add_generic_rpc_handlers((self._late,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if self._reflects:
            shown = (*services, "grpc.health.v1.Health", reflection.SERVICE_NAME)
            reflection.enable_server_reflection(shown, self._server)
        await self._server.start()
        self._started = True

    async def offer(self, services: Sequence[Service]) -> None:
        """Say SERVING for all from now on."""
        for service in services:
            service.add(service.servicer, self._late)
        self._late.expect(())
        await self._health.set(self._health.names, SERVING)

    async def leave(self) -> None:
        """Say NOT_SERVING from now on, so that balancers turn elsewhere; calls are still taken."""
        self.draining.set()
        await self._health.leave()

    async def drain(self, grace_seconds: float) -> None:
        """Refuse new calls at once; those at work have `grace_seconds` to finish."""
        await self.leave()
        await self._server.stop(grace_seconds)

    async def close(self) -> None:
        """Let go of the address. gRPC keeps that of a server that never started until it has been."""
        if not self._started:
            await self._server.start()
        await self._server.stop(None)
        if self._folder:
            self._folder.cleanup()


def is_local(address: str) -> bool:
    """Tell whether only this machine reaches the address."""
    host = address.rpartition(":")[0].strip("[]")
    if address.startswith("unix:") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _options(message_bytes: int) -> tuple[tuple[str, int], ...]:
    return (
        # Without this a second server on the same port would silently get half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_connection_age_ms", CONNECTION_SECONDS * 1000),
        ("grpc.max_send_message_length", message_bytes),
        ("grpc.max_receive_message_length", message_bytes),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),
    )


def check_address(address: str, may_be_open: bool, field: str = "address") -> None:
    """Refuse what is no address, or one that others reach and that may not be open to them."""
    if address.startswith("unix:"):
        _check_socket(Path(address.removeprefix("unix:")))
        return
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 2**16):
        raise InvalidInput(f"{field}: '{address}' is not host:port or unix:/path", field)
    if not is_local(address) and not may_be_open:
        raise InvalidInput(
            f"{field}: {host} can be reached from other machines, and the server has not both TLS and tokens",
            field,
            hint="use 127.0.0.1; or give --tls-cert, --tls-key and --tokens (charter token new); "
            "or --insecure, and let everybody who reaches it read all texts and do everything",
        )


def _check_socket(path: Path) -> None:
    """gRPC would take over the socket of a living server without a word."""
    if len(os.fsencode(path)) > 100:
        raise InvalidInput(f"address: the path of the socket is longer than 100 bytes: {path}", "address")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise InvalidInput(f"address: another server listens on {path}", "address")
