"""The console beside the services: its address, encryption, and that it goes when the process goes."""

from __future__ import annotations

import builtins
import ssl
import threading
import time

import httpx2
import pytest
import trustme

from rlhf_core.errors import InvalidInput
from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process
from services.security.tls import TlsConfig
from services.security.tokens import new_token
from services.server.config import WITHOUT_MODEL, ConsoleConfig, ServeConfig
from tests.services.apps import started
from tests.services.console.conftest import console
from tests.services.run_server import CONFIG


def config(folder, address: str, **more) -> ServeConfig:
    return ServeConfig(
        address=f"unix:{folder}/s",
        data=folder,
        **{"only": WITHOUT_MODEL, "console": ConsoleConfig(address=address), **more},
    )


def refused(config: ServeConfig) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught, started(config):
        pass
    return caught.value


def test_an_address_that_is_taken_or_open_to_all_or_none_is_refused_by_its_setting(tmp_path):
    (tmp_path / "two").mkdir()
    with console(tmp_path) as site:
        taken = refused(config(tmp_path / "two", site.url.removeprefix("http://")))
    reachable, none = (refused(config(tmp_path, address)) for address in ("0.0.0.0:0", "nowhere"))
    assert {error.field for error in (taken, reachable, none)} == {"console.address"}
    assert "cannot listen" in str(taken) and "not both TLS and tokens" in str(reachable)
    assert "is a socket" in str(refused(config(tmp_path, "unix:/tmp/x")))


def test_where_packages_are_missing_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "services.console.server":
            raise ImportError("No module named 'jinja2'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    error = refused(config(tmp_path, "127.0.0.1:0"))
    assert "jinja2" in str(error) and ".[console]" in str(error)


def test_behind_tls_and_tokens_others_may_reach_it_and_the_cookie_is_kept_to_encrypted_lines(tmp_path):
    authority = trustme.CA()
    made = authority.issue_cert("localhost")
    cert, key, tokens = (tmp_path / name for name in ("cert.pem", "key.pem", "tokens.yaml"))
    made.private_key_pem.write_to_path(key)
    made.cert_chain_pems[0].write_to_path(cert)
    token = new_token(tokens, "ana", ("label",))
    protected = {"tls": TlsConfig(cert=cert, key=key), "tokens": tokens}
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with started(config(tmp_path, "0.0.0.0:0", **protected)) as app:
        url = app.console_address.replace("0.0.0.0", "localhost")
        assert url.startswith("https://")
        with httpx2.Client(base_url=url, verify=trust) as http:
            answer = http.post("/sign-in", data={"token": token}, headers={"origin": url})
            assert answer.status_code == 303 and "Secure" in answer.headers["set-cookie"]
            assert "ana" in http.get("/label").text


def test_names_of_a_proxy_are_known_where_they_are_named(tmp_path):
    settings = ConsoleConfig(address="127.0.0.1:0", hosts=("labels.example",))
    with started(config(tmp_path, "", console=settings)) as app, httpx2.Client(base_url=app.console_address) as http:
        codes = {host: http.get("/label", headers={"host": host}).status_code for host in (
            "labels.example", "localhost:1", "evil.example")}  # fmt: skip
    assert codes == {"labels.example": 200, "localhost:1": 200, "evil.example": 400}


def test_a_page_that_follows_a_run_does_not_hold_up_the_end_of_the_process(tmp_path):
    store = Store.open(tmp_path)
    store.workers.sign_in(this_process())
    store.close()
    following, ended = threading.Event(), threading.Event()

    def follow(url: str) -> None:
        with httpx2.stream("GET", url, timeout=60) as answer:
            for _ in answer.iter_lines():
                following.set()
        ended.set()

    with console(tmp_path, grace_seconds=30) as site:
        run = site.grpc.trainer.create_run(CONFIG).id
        thread = threading.Thread(target=follow, args=(f"{site.url}/runs/{run}/events",))
        thread.start()
        assert following.wait(20)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    assert ended.wait(5)
    thread.join()


def test_pages_whose_service_is_not_here_are_not_led_to(tmp_path):
    labels = config(tmp_path, "127.0.0.1:0", only=("preference",), works=False)
    with started(labels) as app, httpx2.Client(base_url=app.console_address, timeout=30) as http:
        home = http.get("/", follow_redirects=True)
        assert home.status_code == 200 and home.url.path == "/label"
        assert 'href="/label"' in home.text and 'href="/policies"' not in home.text and 'href="/runs"' not in home.text


def test_a_page_that_says_what_went_wrong_keeps_the_menu(site):
    for path in ("/nowhere", "/runs/run-gone", "/runs?state=NONE", "/label/kind"):
        answer = site.http.get(path)
        assert answer.status_code >= 400 and "That did not work" in answer.text
        assert 'aria-label="Pages"' in answer.text and 'href="/label"' in answer.text, path
