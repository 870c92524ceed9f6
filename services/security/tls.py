"""Encryption: a server's certificate, the certificates of its clients, and what a client trusts. All are PEM files."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import grpc

from rlhf_core.config.base import Settings
from rlhf_core.errors import InvalidInput

log = logging.getLogger("charter.tls")

T = TypeVar("T")

SCHEME = "https://"
CA, CERT, KEY = "CHARTER_TLS_CA", "CHARTER_TLS_CERT", "CHARTER_TLS_KEY"


class TlsConfig(Settings):
    """A server's encryption; none without `cert`."""

    cert: Path | None = None
    """The server's certificate, with those between it and the authority."""
    key: Path | None = None
    """Its private key, without a passphrase."""
    client_ca: Path | None = None
    """Authority that must have signed the certificate of every client (mutual TLS); none asks clients for none."""


class ClientTls(NamedTuple):
    """What a client trusts and shows: its own authority instead of the system's, and its certificate."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @classmethod
    def of_environment(cls, environ: Mapping[str, str] = os.environ) -> ClientTls:
        """Read CHARTER_TLS_CA, CHARTER_TLS_CERT and CHARTER_TLS_KEY, which name the files."""
        return cls(*(Path(environ[name]) if environ.get(name) else None for name in (CA, CERT, KEY)))


def server_credentials(config: TlsConfig) -> grpc.ServerCredentials | None:
    """Load the server's credentials; none without encryption.

    Raises InvalidInput for files that are missing or unreadable.

    Changed files are read again with the next connection, so that a certificate is renewed without a restart.
    """
    if config.cert is None:
        for name in ("key", "client_ca"):
            if getattr(config, name) is not None:
                raise InvalidInput(f"tls.{name} is given without tls.cert, the server's certificate", f"tls.{name}")
        return None
    if config.key is None:
        raise InvalidInput("tls.cert is given without tls.key, its private key", "tls.key")
    return grpc.dynamic_ssl_server_credentials(
        _certificates(config),
        # None keeps the certificate, as grpc documents.
        _Renewal(config, _certificates).renewed,  # pyright: ignore[reportArgumentType]
        require_client_authentication=config.client_ca is not None,
    )


def server_context(config: TlsConfig) -> ssl.SSLContext | None:
    """Return the same encryption for a server of Python's own; the files must have passed `server_credentials`."""
    if config.cert is None:
        return None
    context, renewal = _context(config), _Renewal(config, _context)

    def on_hello(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _first: ssl.SSLContext) -> None:
        nonlocal context
        context = renewal.renewed() or context
        connection.context = context

    context.sni_callback = on_hello  # called for every connection, with a name or without
    return context


class _Renewal(Generic[T]):
    """What is made of a server's files, made anew when they have changed."""

    def __init__(self, config: TlsConfig, make: Callable[[TlsConfig], T]):
        self._config, self._make = config, make
        self._files = [file for file in (config.cert, config.key, config.client_ca) if file]
        self._last = _states(self._files)

    def renewed(self) -> T | None:
        """Make it anew; None where nothing has changed, or what there is now is wrong."""
        if (now := _states(self._files)) == self._last:
            return None
        self._last = now
        try:
            return self._make(self._config)
        except InvalidInput as error:
            log.error("the certificate stays as it was: %s", error)
            return None


def channel_credentials(tls: ClientTls) -> grpc.ChannelCredentials:
    """Load a client's credentials.

    Raises InvalidInput naming the environment variable whose file is missing or wrong.
    """
    if (tls.cert is None) != (tls.key is None):
        raise InvalidInput(f"tls: give {CERT} and {KEY} together", CERT if tls.cert is None else KEY)
    ca, cert, key = (read(path, name) if path else None for path, name in zip(tls, (CA, CERT, KEY), strict=True))
    if tls.ca:
        _check_authority(tls.ca, CA)
    if tls.cert and tls.key:
        _check_pair(tls.cert, tls.key, CERT)
    return grpc.ssl_channel_credentials(ca, key, cert)


def read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{field}: '{path}' cannot be read: {error.strerror}", field) from None


def _certificates(config: TlsConfig) -> grpc.ServerCertificateConfiguration:
    assert config.cert is not None and config.key is not None
    cert, key = read(config.cert, "tls.cert"), read(config.key, "tls.key")
    _check_pair(config.cert, config.key, "tls.cert")
    authority = None
    if config.client_ca:
        authority = read(config.client_ca, "tls.client_ca")
        _check_authority(config.client_ca, "tls.client_ca")
    return grpc.ssl_server_certificate_configuration([(key, cert)], authority)


def _context(config: TlsConfig) -> ssl.SSLContext:
    _certificates(config)  # says what is wrong with the files
    assert config.cert is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(config.cert, config.key)
    if config.client_ca:
        context.load_verify_locations(cafile=config.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _check_pair(cert: Path, key: Path, field: str) -> None:
    """gRPC itself would say nothing, and fail every handshake."""
    try:
        # An empty passphrase, or OpenSSL would ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise InvalidInput(
            f"{field}: '{cert}' and '{key}' are not a certificate and its private key in PEM: {error}", field
        ) from None


def _check_authority(path: Path, field: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError) as error:
        raise InvalidInput(f"{field}: '{path}' is no certificate in PEM: {error}", field) from None


def _states(files: list[Path]) -> list[tuple[int, int] | None]:
    return [(path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else None for path in files]
