"""Who gets in, by which name, from which page, and what a browser is told to allow."""

from __future__ import annotations

import socket

import httpx2
import pytest

from services.console.guard import MAX_BODY
from services.security.tokens import new_token
from tests.services.console.conftest import console, fill


def test_every_answer_forbids_inline_scripts_styles_and_other_hosts(site):
    for path in ("/label", "/sign-in", "/nothing", "/static/label/desk.js"):
        headers = site.http.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
    assert site.http.get("/label").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:1", "http://["])
def test_what_another_site_sends_is_refused(site, origin):
    headers = {"origin": origin} if origin else {}
    for path in ("/label/name", "/label/next", "/label/steps", "/sign-in", "/sign-out"):
        answer = site.http.post(path, content=b"name=eve", headers=headers)
        assert (answer.status_code, answer.text) == (403, "this request comes from another site")


def test_a_name_that_only_leads_here_is_refused(site):
    """As another site's own name could, whose scripts would then read these pages."""
    assert site.http.get("/label", headers={"host": "evil.example"}).status_code == 400
    assert site.http.get("/label", headers={"host": "localhost"}).status_code == 200


def test_too_much_at_once_is_refused(site):
    answer = site.http.post("/label/steps", content=b"x" * (MAX_BODY + 1), headers={"origin": site.url})
    assert answer.status_code == 413
    answer = site.http.post("/label/steps", content=iter([b"x"]), headers={"origin": site.url})
    assert answer.status_code == 411


def test_a_length_that_the_body_need_not_keep_to_is_refused(site):
    """Of a body in pieces beside a length HTTP reads the pieces, of which there may be any number."""
    host = site.url.removeprefix("http://")
    head = f"POST /sign-in HTTP/1.1\r\nhost: {host}\r\norigin: {site.url}\r\n"
    both = "content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n"
    with socket.create_connection(host.split(":"), timeout=20) as line:
        line.sendall(f"{head}{both}5\r\ntoken\r\n0\r\n\r\n".encode())
        assert line.recv(1000).startswith(b"HTTP/1.1 411 ")


def test_a_body_that_does_not_arrive_holds_nobody_up(site, monkeypatch):
    monkeypatch.setattr("services.console.guard.BODY_SECONDS", 0.2)
    host = site.url.removeprefix("http://")
    head = f"POST /label/steps HTTP/1.1\r\nhost: {host}\r\norigin: {site.url}\r\ncontent-length: 9\r\n\r\n{{"
    with socket.create_connection(host.split(":"), timeout=20) as line:
        line.sendall(head.encode())
        assert line.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_a_page_that_is_not_there_says_so_in_words(site):
    answer = site.http.get("/label/kindness")
    assert answer.status_code == 404
    assert "there is no objective &#39;kindness&#39;" in answer.text and "helpful, harmless" in answer.text
    answer = site.http.get("/no<script>alert(1)</script>")
    assert answer.status_code == 404 and "<script>alert" not in answer.text


def test_who_shows_no_token_signs_in_first_and_is_known_by_a_cookie_that_scripts_cannot_read(tmp_path):
    fill(tmp_path)
    file = tmp_path / "tokens.yaml"
    token = new_token(file, "ana", ("label",))
    with console(tmp_path, tokens=file) as site:
        answer = site.http.get("/label/helpful")
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/label/helpful")
        with_query = site.http.get("/runs?state=FAILED&tag=a").headers["location"]
        assert 'value="/runs?state=FAILED&amp;tag=a"' in site.http.get(with_query).text
        assert site.post("/label/next", {}).status_code == 401
        assert 'name="next" value="/label/helpful"' in site.http.get(answer.headers["location"]).text
        origin = {"origin": site.url}
        wrong = site.http.post("/sign-in", data={"token": "charter_no"}, headers=origin)
        assert (
            wrong.status_code == 401 and "does not know the token" in wrong.text and "set-cookie" not in wrong.headers
        )
        right = site.http.post("/sign-in", data={"token": token, "next": "/label/helpful"}, headers=origin)
        assert (right.status_code, right.headers["location"]) == (303, "/label/helpful")
        cookie = right.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
        page = site.http.get("/label/helpful").text
        assert 'data-labeler="ana"' in page and "Sign out" in page
        site.http.post("/sign-out", headers=origin | {"content-length": "0"})
        assert site.http.get("/label/helpful").status_code == 303


@pytest.mark.parametrize("token", ["\ufeff", "charter_é", "a\x00b", "\U000f0000"])
def test_what_no_cookie_can_hold_is_no_token(site, token):
    answer = site.http.post("/sign-in", data={"token": token}, headers={"origin": site.url})
    assert answer.status_code == 401 and "characters that no token has" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example", "evil"])
def test_signing_in_never_leads_elsewhere(site, target):
    answer = site.http.post("/sign-in", data={"token": "", "next": target}, headers={"origin": site.url})
    assert answer.headers["location"] == "/"


def test_a_token_s_scope_holds_on_the_pages_as_it_does_over_grpc(tmp_path):
    fill(tmp_path)
    file = tmp_path / "tokens.yaml"
    token = new_token(file, "bo", ("read",))
    with console(tmp_path, tokens=file) as site:
        site.http.cookies.set("charter_token", token)
        answer = site.post(
            "/label/next", {"form": "pairs", "objective": "helpful", "count": 1, "since": "2026-01-01T00:00:00Z"}
        )
        assert answer.status_code == 403 and "NextComparison needs label" in answer.json()["error"]["message"]
        page = site.http.get("/label")
        assert "ask whoever runs this server" in page.text and "Label for helpful" not in page.text


def test_a_cookie_that_holds_no_token_is_none(tmp_path):
    file = tmp_path / "tokens.yaml"
    new_token(file, "bo", ("read",))
    with console(tmp_path, tokens=file) as site:
        for cookie in ("", "\x01", "ö", "x" * 5000):
            answer = httpx2.get(f"{site.url}/label", headers={b"cookie": f"charter_token={cookie}".encode()})
            assert answer.status_code == 303
