"""Sessions: what a browser keeps of a sign-in, what ends it, and what TLS adds."""

from __future__ import annotations

import ssl
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest
import trustme
from google.protobuf.duration_pb2 import Duration

from rlhf_core.store.store import Store
from services.console import runs, sessions
from services.console.sessions import Sessions
from services.security import callers
from services.security.tls import TlsConfig
from services.security.tokens import new_token, revoke_token
from services.server.config import WITHOUT_MODEL, ConsoleConfig, ServeConfig
from tests.services.apps import started
from tests.services.console.conftest import Site, console, fill


def sign_in(site: Site, token: str) -> str:
    """The cookie's value."""
    answer = site.http.post("/sign-in", data={"token": token}, headers={"origin": site.url})
    assert answer.status_code == 303
    return site.http.cookies["charter_token"]


def gets_in(site: Site, cookie: str) -> bool:
    return httpx2.get(f"{site.url}/runs", cookies={"charter_token": cookie}).status_code == 200


def test_a_browser_never_holds_the_token_and_each_sign_in_draws_another_number(tmp_path: Path):
    fill(tmp_path, 1)
    file = tmp_path / "tokens.yaml"
    token = new_token(file, "ana", ("read",))
    with console(tmp_path, tokens=file) as site:
        first = sign_in(site, token)
        second = sign_in(site, token)
        assert token not in (first, second) and first != second and min(len(first), len(second)) >= 43
        assert gets_in(site, second) and not gets_in(site, first), "a new sign-in ends what was before it"


def test_what_was_signed_out_gets_in_no_more_and_neither_does_a_revoked_token(tmp_path: Path):
    fill(tmp_path, 1)
    file = tmp_path / "tokens.yaml"
    ana, bo = (new_token(file, name, ("read",)) for name in ("ana", "bo"))
    with console(tmp_path, tokens=file) as site:
        stolen = sign_in(site, ana)
        site.http.post("/sign-out", headers={"origin": site.url, "content-length": "0"})
        assert not gets_in(site, stolen)
        kept = sign_in(site, bo)
        assert gets_in(site, kept)
        revoke_token(file, "bo")
        assert not gets_in(site, kept)


@pytest.mark.parametrize("end", ["sign-out", "revoke"])
def test_a_page_s_events_end_with_the_session_or_its_token(tmp_path: Path, monkeypatch, end: str):
    monkeypatch.setattr(callers, "RECHECK_SECONDS", 0.05)
    monkeypatch.setattr(runs, "HEARTBEAT", Duration(seconds=1))
    with closing(Store.open(tmp_path)) as store:
        run = store.runs.create("pipeline", "{}", "hash", "r").id
    file = tmp_path / "tokens.yaml"
    token = new_token(file, "ana", ("read",))
    with console(tmp_path, tokens=file) as site:
        sign_in(site, token)
        with site.http.stream("GET", f"/runs/{run}/events") as answer:
            lines = answer.iter_lines()
            assert next(lines)
            if end == "revoke":
                revoke_token(file, "ana")
            else:
                httpx2.post(f"{site.url}/sign-out", headers={"origin": site.url}, cookies=dict(site.http.cookies))
            told = list(lines)
        assert "event: end" not in told


def test_a_session_may_what_its_token_may_by_now(tmp_path: Path):
    fill(tmp_path, 1)
    file = tmp_path / "tokens.yaml"
    token = new_token(file, "ana", ("read",))
    with console(tmp_path, tokens=file) as site:
        kept = sign_in(site, token)
        assert gets_in(site, kept)
        file.write_text(file.read_text().replace("read", "annotate"))
        assert not gets_in(site, kept)
        page = httpx2.get(f"{site.url}/label", cookies={"charter_token": kept}).text
        assert "pair waits for you" in page and 'href="/runs"' not in page


def test_a_session_is_over_when_it_is_not_used_or_too_old_and_the_oldest_makes_room(monkeypatch):
    clock = 0.0
    monkeypatch.setattr(sessions, "time", SimpleNamespace(monotonic=lambda: clock))
    held = Sessions()
    idle, busy = held.begin("a"), held.begin("b")
    for _ in range(14):
        clock += sessions.IDLE_SECONDS
        assert held.token(busy) == "b"
    assert not held.is_open(idle) and held.is_open(busy), "as what it began, such as events, must know"
    assert held.token(idle) is None
    clock += 1
    assert not held.is_open(busy)
    assert held.token(busy) is None, "a week is over"
    monkeypatch.setattr(sessions, "MOST", 2)
    first, second, third = (held.begin(name) for name in "cde")
    assert [held.token(number) for number in (first, second, third)] == [None, "d", "e"]


@pytest.fixture
def encrypted(tmp_path: Path) -> tuple[TlsConfig, ssl.SSLContext]:
    ca = trustme.CA()
    made, context = ca.issue_cert("localhost"), ssl.create_default_context()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made.private_key_pem.write_to_path(key)
    made.cert_chain_pems[0].write_to_path(cert)
    ca.configure_trust(context)
    return TlsConfig(cert=cert, key=key), context


def test_over_tls_a_cookie_is_of_this_host_alone_and_browsers_come_back_in_no_other_way(tmp_path, encrypted):
    tls, context = encrypted
    file = tmp_path / "tokens.yaml"
    token = new_token(file, "ana", ("label",))
    config = ServeConfig(
        address=f"unix:{tmp_path}/s",
        data=tmp_path / "d",
        only=WITHOUT_MODEL,
        tls=tls,
        tokens=file,
        console=ConsoleConfig(address="localhost:0"),
    )
    with started(config) as app, httpx2.Client(base_url=app.console_address, verify=context) as http:
        origin = {"origin": app.console_address}
        answer = http.post("/sign-in", data={"token": token}, headers=origin)
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-charter_token=") and "Secure" in cookie and "Path=/" in cookie
        assert "Domain" not in cookie and answer.headers["strict-transport-security"] == "max-age=31536000"
        assert http.get("/runs").status_code == 200
        out = http.post("/sign-out", headers=origin | {"content-length": "0"})
        assert out.headers["set-cookie"].startswith('__Host-charter_token=""') and "Secure" in out.headers["set-cookie"]


def test_without_tls_no_browser_is_told_to_insist_on_it(site):
    assert "strict-transport-security" not in site.http.get("/runs").headers
