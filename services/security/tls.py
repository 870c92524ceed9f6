"""Encryption: a server's certificate, the certificates of its clients, and what a client trusts. All are PEM files."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import grpc

from rlhf_core.config.base import Settings
from rlhf_core.errors import InvalidInput

log = logging.getLogger("charter.tls")

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
        """CHARTER_TLS_CA, CHARTER_TLS_CERT and CHARTER_TLS_KEY name the files."""
        return cls(*(Path(environ[name]) if environ.get(name) else None for name in (CA, CERT, KEY)))


def server_credentials(config: TlsConfig) -> grpc.ServerCredentials | None:
    """None without encryption. Raises InvalidInput for files that are missing, unreadable or do not belong together.

    Changed files are read again with the next connection, so that a certificate is renewed without a restart.
    """
    if config.cert is None:
        for name in ("key", "client_ca"):
            if getattr(config, name) is not None:
                raise InvalidInput(f"tls.{name} is given without tls.cert, the server's certificate", f"tls.{name}")
        return None
    if config.key is None:
        raise InvalidInput("tls.cert is given without tls.key, its private key", "tls.key")
    files = [config.cert, config.key, *([config.client_ca] if config.client_ca else [])]
    last: list[object] = [_states(files)]

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        if (now := _states(files)) == last[0]:
            return None
        last[0] = now
        try:
            return _certificates(config)
        except InvalidInput as error:
            log.error("the certificate stays as it was: %s", error)
            return None

    return grpc.dynamic_ssl_server_credentials(
        _certificates(config),
        renewed,  # pyright: ignore[reportArgumentType]  # None keeps the certificate, as grpc documents
        require_client_authentication=config.client_ca is not None,
    )


def channel_credentials(tls: ClientTls) -> grpc.ChannelCredentials:
    """Raises InvalidInput naming the environment variable whose file is missing or wrong."""
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
