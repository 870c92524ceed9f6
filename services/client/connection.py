"""A client's connection: retries, deadlines, limits, and errors that come back as Charter's own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from copy import copy
from typing import Any, TypeVar, cast

import grpc
from grpc_status import rpc_status

from rlhf_core.errors import Exhausted, Interrupted, InvalidInput, Loading, Unavailable
from services.client.stream_timeout import unless_silent
from services.security.tls import SCHEME, ClientTls, channel_credentials
from services.wire.metadata import RUN_KEY, SERVE_APPLICATION
from services.wire.status import error_from_call

MAX_MESSAGE_BYTES = 16 * 2**20
STREAMS = (
    ("charter.v1.CritiqueService", "DiffConstitutions"),
    ("charter.v1.CritiqueService", "ReviseStream"),
    ("charter.v1.DatasetService", "ExportDataset"),
    ("charter.v1.DatasetService", "ExportRun"),
    ("charter.v1.PolicyService", "ExportPolicy"),
    ("charter.v1.PolicyService", "GenerateStream"),
    ("charter.v1.TrainerService", "WatchRun"),
)
"""Methods that answer many times."""
UPLOAD = ("charter.v1.DatasetService", "UploadDataset")
"""Is asked many times, and goes on where it ended by itself."""
CALLS = {
    # Behind a name of several processes calls are spread over all of them.
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        },
        # Without a policy: gRPC (1.85) may never tell the reader of a stream that it has given up trying.
        {"name": [{"service": service, "method": method} for service, method in (*STREAMS, UPLOAD)]},
    ],
}
OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.service_config", json.dumps(CALLS)),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A channel of its own: a new client must not inherit another one's waiting time after a failure.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)

LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""What a caller sees when its server dies or stops; without details, since no server was left to give any."""
FOUND_SECONDS = 60.0
"""A try that lasted longer had found its server, which was lost only then."""
RETRY_SECONDS = 0.5
"""Pause between the tries of a patient connection."""
STREAM_PATIENCE_SECONDS = 3.0
"""How long a stream whose server is away is tried again at least, as gRPC does it with other calls."""
POLL_SECONDS = 0.25
"""How often a long call asks whether it is still wanted."""

T = TypeVar("T")


class Connection:
    """One address, and how to call it."""

    def __init__(
        self,
        address: str,
        token: str = "",
        timeout_seconds: float = 600.0,
        patience_seconds: float = 0.0,
        tls: ClientTls | None = None,
    ):
        """`https://` before the address encrypts, by `tls` or else by the files that the environment names.

        `patience_seconds` is how long a call is made again while its server is away, or too busy to take it.

        Give it only to callers whose calls may be repeated: those with a request id, and those that change nothing.
        """
        _check(address, token)
        self.address = address
        self.channel = _open(address, tls)
        self._timeout = timeout_seconds
        self._patience = patience_seconds
        self._unwanted: Callable[[], bool] = lambda: False
        self._metadata = (SERVE_APPLICATION, *([("authorization", f"Bearer {token}")] if token else ()))

    def until(self, unwanted: Callable[[], bool], run_id: str = "") -> Connection:
        """Return the same connection for one piece of work: its calls are not made again once that is unwanted.

        With a `run_id` the servers' logs say for which run each call was.
        """
        other = copy(self)
        other._unwanted = unwanted
        other._metadata = (*self._metadata, *([(RUN_KEY, run_id)] if run_id else ()))
        return other

    def call(self, method: Callable[..., T], request: Any, gone: Callable[[], bool] | None = None) -> T:
        """Make one unary call. Raises the server's error, or Unavailable once the caller is `gone`.

        The server stops too.
        """
        lost_at = time.monotonic()
        while True:
            tried_at = time.monotonic()
            try:
                if gone is None:
                    return method(request, timeout=self._timeout, metadata=self._metadata)
                return self._patiently(method, request, gone)
            except ValueError as error:
                if "closed channel" not in str(error):
                    raise
                raise Unavailable(f"the connection to {self.address} has been closed") from None
            except grpc.RpcError as error:
                now = time.monotonic()
                lost_at = now if now - tried_at > FOUND_SECONDS else lost_at
                if not _may_come_back(error) or now - lost_at > self._patience or (gone or self._unwanted)():
                    raise error_from_call(error, self.address) from None
            time.sleep(RETRY_SECONDS)

    def _patiently(self, method: Any, request: Any, gone: Callable[[], bool]) -> Any:
        pending = method.future(request, timeout=self._timeout, metadata=self._metadata)
        while True:
            try:
                return pending.result(timeout=POLL_SECONDS)
            except grpc.FutureTimeoutError:
                if gone():
                    pending.cancel()
                    raise Unavailable("given up: the caller is gone") from None

    def pages(self, method: Callable[..., Any], request: Any) -> Iterator[Any]:
        """Yield the answers to a list request, page after page, until the last."""
        while True:
            answer = self.call(method, request)
            yield answer
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def stream(
        self,
        method: Callable[..., Any],
        request: Any,
        timeout_seconds: float | None = None,
        silence_seconds: float | None = None,
    ) -> Iterator[Any]:
        """Make a call that answers many times; leaving the loop cancels it. Without a timeout it may last for ever.

        While it has not answered it is made again like any other call.
        Raises Unavailable when `silence_seconds` pass without an answer, for streams that send heartbeats.
        """
        lost_at, answered = time.monotonic(), False
        while True:
            answers = method(request, timeout=timeout_seconds, metadata=self._metadata)
            try:
                for answer in unless_silent(answers, silence_seconds) if silence_seconds else answers:
                    answered = True
                    yield answer
                return
            except grpc.RpcError as error:
                waited = time.monotonic() - lost_at
                patience = max(self._patience, STREAM_PATIENCE_SECONDS)
                if answered or not _may_come_back(error) or waited > patience or self._unwanted():
                    raise error_from_call(error, self.address) from None
            finally:
                answers.cancel()
            time.sleep(RETRY_SECONDS)

    def close(self) -> None:
        self.channel.close()


def _check(address: str, token: str) -> None:
    """InvalidInput for what can be no address or no token: gRPC would look for a server in vain, or blame itself."""
    if not address.strip():
        raise InvalidInput("address: empty; write it as host:port or unix:/path/to/socket", "address")
    target = address.removeprefix(SCHEME).rstrip("/")
    host, colon, port = target.rpartition(":")
    has_port = bool(host and colon) and port.isdecimal() and 0 < int(port) < 2**16
    is_bare = address.startswith(SCHEME) and (not colon or target.endswith("]"))
    if not (address.startswith("unix:") or has_port or is_bare) or address.startswith("http://"):
        text = f"address: '{address}' is none; write it as host:port, https://host:port or unix:/path/to/socket"
        raise InvalidInput(text, "address")
    if not (token.isascii() and token.isprintable()):
        raise InvalidInput("token: holds characters that no token has", "token")


def _open(address: str, tls: ClientTls | None) -> grpc.Channel:
    if not address.startswith(SCHEME):
        return grpc.insecure_channel(address, options=OPTIONS)
    target = address.removeprefix(SCHEME).rstrip("/")
    if ":" not in target.rpartition("]")[2]:
        target += ":443"
    return grpc.secure_channel(target, channel_credentials(tls or ClientTls.of_environment()), options=OPTIONS)


def _may_come_back(error: grpc.RpcError) -> bool:
    """Whether the same call may yet be answered: its server or the store's was lost, is not ready, or had no room."""
    call = cast(grpc.Call, error)
    if rpc_status.from_call(call) is None:
        return call.code() in LOST
    return isinstance(error_from_call(error, ""), (Loading, Exhausted, Interrupted))
