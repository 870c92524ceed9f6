"""A console on a free port before a store of pairs, and a real browser where this machine has one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from services.server.config import WITHOUT_MODEL, ConsoleConfig, ServeConfig
from tests.services.apps import started

CHROMIUM = shutil.which("chromium")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


class Site(NamedTuple):
    """The console's address, a plain client of it, and one of the same server over gRPC."""

    url: str
    http: httpx2.Client
    grpc: CharterClient
    data: Path

    def post(self, path: str, json: object = None, **fields: object) -> httpx2.Response:
        """As a script of a page would."""
        headers = {"origin": self.url, "accept": "application/json"} | dict(fields.pop("headers", {}) or {})
        return self.http.post(path, json=json, headers=headers, **fields)


def pair(number: int, left: str = "Use a soft cloth.", right: str = "Use a wire brush.") -> Comparison:
    prompt = Prompt.of(f"How do I clean window {number}?")
    texts = {f"w{number}a": left, f"w{number}b": right}
    both = [Sample(id=id_, prompt=prompt, response=text, policy_version="base") for id_, text in texts.items()]
    return Comparison.of(*both, run_id="")


def fill(data: Path, pairs: int = 40, replies: int = 2) -> None:
    """Pairs, and as many replies to each prompt: with three of them or more they can be ranked."""
    store = Store.open(data)
    made = [pair(number) for number in range(pairs)]
    store.comparisons.add(made)
    store.samples.add(
        one.a.model_copy(update={"id": f"{one.a.id}{extra}", "response": f"Use soap, {extra} times."})
        for one in made
        for extra in range(2, replies)
    )
    store.close()


@contextmanager
def console(data: Path, **settings: object) -> Iterator[Site]:
    address = f"unix:{data}/s"
    config = ServeConfig(
        address=address, data=data, only=WITHOUT_MODEL, console=ConsoleConfig(address="127.0.0.1:0"), **settings
    )
    with (
        started(config) as app,
        httpx2.Client(base_url=app.console_address, timeout=30) as http,
        CharterClient.connect(address, timeout_seconds=30) as client,
    ):
        yield Site(app.console_address, http, client, data)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Forty pairs, no tokens."""
    fill(tmp_path)
    with console(tmp_path) as started_site:
        yield started_site


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Not for longer: the driver's event loop would be in the way of tests that run one of their own."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield found
        found.close()


@pytest.fixture
def chromium(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens browser profiles, each of its own; a script's error, or a line that the policy stops, fails the test."""
    contexts, wrong = [], []

    def opened(**settings: Any) -> Any:
        context = browser.new_context(**settings)
        context.on("weberror", lambda error: wrong.append(str(error.error)))
        context.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        contexts.append(context)
        return context

    yield opened
    for context in contexts:
        context.close()
    assert [line for line in wrong if not line.startswith("Failed to load resource")] == []
