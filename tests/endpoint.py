"""A real HTTP server that speaks OpenAI's chat protocol as a script says, on a port of its own."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})
    wait_seconds: float = 0.0


class Request(NamedTuple):
    path: str
    key: str
    body: dict[str, Any]
    at: float

    @property
    def asked(self) -> str:
        return self.body["messages"][-1]["content"]


Script = Callable[[Request, int], Reply]
"""The reply to a request; the number counts requests from 0."""


def says(
    text: str, top: dict[str, float] | None = None, tokens: tuple[int, int] | None = (100, 10), model: str = "tiny-1"
) -> Reply:
    """A completion; `top` are probabilities of first tokens."""
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if top:
        ranked = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in top.items()]
        choice["logprobs"] = {"content": [{**ranked[0], "top_logprobs": ranked}]}
    body: dict[str, Any] = {"id": "x", "object": "chat.completion", "model": model, "choices": [choice]}
    if tokens:
        body["usage"] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    return Reply(200, json.dumps(body).encode())


def fails(status: int, message: str = "", code: str = "", **headers: str) -> Reply:
    body = json.dumps({"error": {"message": message, "type": "x", "code": code}}).encode()
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def in_turn(replies: Sequence[Reply]) -> Script:
    """One reply after the other; the last one for ever."""
    return lambda _, number: replies[min(number, len(replies) - 1)]


class Served(NamedTuple):
    url: str
    requests: list[Request]
    most_at_once: list[int]


@contextmanager
def served(script: Script) -> Iterator[Served]:
    """The server's address and what it was asked."""
    requests: list[Request] = []
    lock, at_work, most = threading.Lock(), [0], [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                request = Request(self.path, self.headers.get("authorization", ""), body, time.monotonic())
                number = len(requests)
                requests.append(request)
                at_work[0] += 1
                most[0] = max(most[0], at_work[0])
            reply = script(request, number)
            time.sleep(reply.wait_seconds)
            with lock:
                at_work[0] -= 1
            try:
                self.send_response(reply.status)
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)
            except OSError:
                self.close_connection = True  # The client did not wait.

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NO_PROXY", "127.0.0.1")
            yield Served(f"http://127.0.0.1:{server.server_port}/v1", requests, most)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
