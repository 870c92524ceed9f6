"""Who may call over HTTP, how much at once, what is logged, and what a server says that comes or goes."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import threading
import time
from contextlib import closing

import httpx2
import pytest
import trustme

from rlhf_core.errors import InvalidInput
from services.http.calls import Asked, Door, Endpoint, Gate, Pieces
from services.http.server import HttpServer
from services.security import callers
from services.security.tls import TlsConfig
from services.security.tokens import Tokens, new_token, revoke_token
from services.server.config import WITHOUT_MODEL, HttpConfig, ServeConfig
from services.server.limits import Limits, Turnstile
from services.telemetry.metrics import REGISTRY
from tests.services.apps import started

SAMPLES = {"samples": [{"prompt": "How do I dust?", "response": "Softly."}]}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, model_config, trained):
    """A server that asks for tokens, and takes two calls of each client and small bodies."""
    data = tmp_path_factory.mktemp("guarded")
    run, file = trained(data), data / "tokens.yaml"
    token = new_token(file, "reader", ["read"])
    config = ServeConfig(
        address=f"unix:{data}/s",
        data=data,
        model=model_config,
        works=False,
        only=("reward",),
        tokens=file,
        limits=Limits(calls_per_client=2, message_bytes=4096, text_characters=300, items=3),
        http=HttpConfig(address="127.0.0.1:0", run=run),
        grace_seconds=0,
    )
    with started(config) as app, httpx2.Client(base_url=app.http_address, timeout=60) as http:
        yield app, http, token, file


def begun(address: str, token: str) -> socket.socket:
    """A call whose body does not come."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    call = socket.create_connection((host, int(port)), timeout=30)
    head = f"POST /v1/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 100\r\n\r\n{{"
    before = at_work()
    call.sendall(head.encode())
    until = time.monotonic() + 10
    while at_work() == before and time.monotonic() < until:
        time.sleep(0.005)
    return call


def at_work() -> float:
    return REGISTRY.get_sample_value("charter_calls_at_work") or 0.0


def counted(code: str) -> float:
    labels = {"service": "http", "method": "/v1/score", "code": code}
    return REGISTRY.get_sample_value("charter_calls_total", labels) or 0.0


def settled(code: str) -> float:
    """The count once it rests: a call is counted after its caller has the answer."""
    before = counted(code)
    time.sleep(0.3)
    while (now := counted(code)) != before:
        before = now
        time.sleep(0.3)
    return now


def test_a_token_is_asked_for_as_bearer_or_as_the_password_of_the_address(guarded):
    app, http, token, file = guarded
    label = new_token(file, "other", ["label"])
    for headers, status in (
        ({}, 401),
        ({"authorization": "Bearer nonsense"}, 401),
        ({"authorization": "Basic !!!"}, 401),
        ({"authorization": f"Bearer {token}"}, 200),
        ({"authorization": f"Bearer {label}"}, 200),
    ):
        answer = http.post("/v1/score", json=SAMPLES, headers=headers)
        assert answer.status_code == status, answer.text
        assert (answer.headers.get("www-authenticate") == "Bearer") == (status == 401)
    assert httpx2.post(app.http_address.replace("//", f"//charter:{token}@") + "/v1/score", json=SAMPLES).is_success
    assert http.get("/health").json() == {"status": "serving"}


def test_the_limits_are_those_of_grpc(guarded):
    _, http, token, _ = guarded
    bearer = {"authorization": f"Bearer {token}"}
    for samples, param in (
        ([{"prompt": "x" * 301, "response": "y"}], "samples[0].prompt.text"),
        (SAMPLES["samples"] * 4, "samples"),
    ):
        answer = http.post("/v1/score", json={"samples": samples}, headers=bearer)
        assert answer.status_code == 400 and answer.json()["error"]["param"] == param
    large = http.post("/v1/score", content=b" " * 5000, headers=bearer)
    streamed = http.post("/v1/score", content=iter([b" " * 3000] * 2), headers=bearer)
    assert large.status_code == streamed.status_code == 413


def test_too_many_calls_are_told_when_to_try_again_and_one_that_leaves_makes_room(guarded):
    app, http, token, _ = guarded
    before = counted("CANCELLED")
    bearer = {"authorization": f"Bearer {token}"}
    with closing(begun(app.http_address, token)), closing(begun(app.http_address, token)):
        answer = http.post("/v1/score", json=SAMPLES, headers=bearer)
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "EXHAUSTED"
        assert answer.headers["retry-after"] == "1" and answer.headers["retry-after-ms"] == "500"
    until = time.monotonic() + 10
    while not http.post("/v1/score", json=SAMPLES, headers=bearer).is_success:
        assert time.monotonic() < until
    assert counted("CANCELLED") == before + 2


@pytest.mark.parametrize("as_file", [False, True])
def test_a_stream_and_a_file_end_with_the_token_that_began_them(tmp_path, monkeypatch, as_file):
    monkeypatch.setattr(callers, "RECHECK_SECONDS", 0.0)
    file, sent = tmp_path / "tokens.yaml", []
    bearer = f"Bearer {new_token(file, 'ada', ['read'])}".encode()

    async def answer(asked: Asked):
        async def texts():
            yield "first"
            revoke_token(file, "ada")
            yield "second"

        async def pieces():
            async for text in texts():
                yield text.encode()

        return Pieces(pieces()) if as_file else texts()

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    gate = Gate(Tokens(file), Limits(), Turnstile(Limits()))
    door = Door("/charter.v1.PolicyService/GenerateStream", answer, "", "nothing")
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/x",
        "query_string": b"",
        "headers": [(b"authorization", bearer)],
    }
    asyncio.run(Endpoint(gate, "/x", {"GET": door})(scope, receive, send))
    told = b"".join(message.get("body", b"") for message in sent)
    assert b"first" in told and b"second" not in told
    assert as_file or b"does not know the token" in told


def test_a_call_is_named_counted_and_logged_without_its_text(guarded, caplog):
    _, http, token, _ = guarded
    before = settled("OK")
    headers = {"authorization": f"Bearer {token}", "x-request-id": "mine-7"}
    with caplog.at_level(logging.DEBUG, logger="charter"):
        secret = {"samples": [{"prompt": "Canary7f3a", "response": "Canary7f3a"}]}
        answer = http.post("/v1/score", json=secret, headers=headers)
        wrong = http.post("/v1/score", json={"samples": [{"prompt": "Canary7f3a"}]}, headers=headers)
    assert answer.headers["x-request-id"] == wrong.headers["x-request-id"] == "mine-7"
    assert settled("OK") == before + 1 and "http//v1/score OK in" in caplog.text and "Canary" not in caplog.text


def test_a_server_that_goes_tells_the_calls_that_it_cuts_off(tmp_path, model_config, trained, caplog):
    run = trained(tmp_path)
    config = ServeConfig(
        address=f"unix:{tmp_path}/s",
        data=tmp_path,
        model=model_config,
        works=False,
        only=("reward",),
        http=HttpConfig(address="127.0.0.1:0", run=run),
        grace_seconds=0,
    )
    said: list[bytes] = []
    with started(config) as app:
        call = begun(app.http_address, "none")
        reading = threading.Thread(target=lambda: said.append(call.makefile("rb").read()))
        reading.start()
        time.sleep(0.2)
        begin = time.monotonic()
    assert time.monotonic() - begin < 5
    reading.join(10)
    call.close()
    head, _, body = said[0].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503") and "going down" in json.loads(body)["error"]["message"]
    assert "Traceback" not in caplog.text


def test_a_server_says_that_it_loads_and_its_address_is_its_own(tmp_path):
    async def scenario() -> None:
        server = HttpServer("127.0.0.1:0", TlsConfig(), 8, may_be_open=False)
        with pytest.raises(InvalidInput, match="cannot listen on"):
            HttpServer(server.listener.address.removeprefix("http://"), TlsConfig(), 8, may_be_open=False)
        server.listener.open()
        async with httpx2.AsyncClient(base_url=server.listener.address) as http:
            for path in ("/health", "/v1/score", "/nothing"):
                answer = await http.get(path)
                assert answer.status_code == 503 and answer.json()["error"]["code"] == "LOADING"
                assert answer.headers["retry-after"] == "1"
        await server.listener.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("0.0.0.0:0", "can be reached from other machines"),
        ("unix:/tmp/s", "is a socket"),
        ("8000", "is not host:port"),
        ("127.0.0.1:99999", "is not host:port"),
        ("no.such.host.invalid:0", "can be reached"),
    ],
)
def test_an_address_that_cannot_be_is_refused(tmp_path, address, words):
    config = ServeConfig(address=f"unix:{tmp_path}/s", data=tmp_path / "d", http=HttpConfig(address=address))
    with pytest.raises(InvalidInput, match=words) as caught, started(config):
        pass
    assert caught.value.field == "http.address" and not (tmp_path / "d").exists()


def test_the_edge_is_encrypted_as_grpc_is_and_shows_a_renewed_certificate(tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def renew() -> ssl.SSLContext:
        """A new authority and a certificate of it; what trusts it alone."""
        ca = trustme.CA()
        made, context = ca.issue_cert("localhost"), ssl.create_default_context()
        made.private_key_pem.write_to_path(key)
        made.cert_chain_pems[0].write_to_path(cert)
        ca.configure_trust(context)
        return context

    first = renew()
    config = ServeConfig(
        address=f"unix:{tmp_path}/s",
        data=tmp_path / "d",
        only=WITHOUT_MODEL,
        tls=TlsConfig(cert=cert, key=key),
        http=HttpConfig(address="localhost:0"),
    )
    with started(config) as app:
        assert app.http_address.startswith("https://localhost:")
        assert httpx2.get(f"{app.http_address}/health", verify=first).is_success
        second = renew()
        assert httpx2.get(f"{app.http_address}/health", verify=second).is_success
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"{app.http_address}/health", verify=first)
