"""What no page of the console sends: each is refused in words, whatever stands in an address, a form or a cookie."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import httpx2
import pytest

from rlhf_core.config.run import ModelConfig
from services.server.config import ConsoleConfig, ServeConfig
from tests.services.apps import started
from tests.services.console.conftest import fill
from tests.services.hostile import TEXTS

SCRIPT = "<script>alert(1)</script>"
PAGES = ("/", "/label", "/label/*", "/runs", "/runs/*", "/compare", "/policies", "/constitution", "/sign-in", "/*")
PARAMETERS = ("run", "state", "tag", "page", "a", "b", "gate", "next", "after", "")
FORMS: dict[str, tuple[str, ...]] = {
    "/label/name": ("name",),
    "/runs/*": ("verb", "request_id", "note", "display_name"),
    "/policies": ("verb", "alias", "policy", "reason", "allow_ungated", "request_id"),
    "/sign-in": ("token", "next"),
    "/sign-out": (),
}
VERBS = ("note", "pause", "resume", "cancel", "promote", "rollback")
LOOK = {"objective": "helpful", "run": "", "gate": False, "count": 2, "since": "2026-01-01T00:00:00Z"}
LABEL = {"kind": "label", "id": "x", "comparison": "c", "objective": "helpful", "choice": "left", "swapped": True}
SCRIPTS: dict[str, Any] = {
    "/label/next": LOOK,
    "/label/steps": {"labeler": "me", "steps": [LABEL, {**LABEL, "kind": "undo"}]},
    "/constitution/check": "id: x",
}
DATES = ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01", 1e300, -(10**30), 0)
COOKIES = ("", "charter_name=%ff", f"charter_name={quote(SCRIPT)}", "charter_token=x; charter_name=human%3Aann", "a; =")
EXPECTED = frozenset((200, 303, 307, 400, 401, 403, 404, 405, 409, 411, 413))


class Attack(NamedTuple):
    verb: str
    path: str
    data: bytes
    cookie: str
    last: str
    """What a browser says that it has heard last."""


@pytest.fixture(scope="module")
def console(
    tmp_path_factory: pytest.TempPathFactory, model_config: ModelConfig, trained: Callable[[Path], str]
) -> Iterator[tuple[httpx2.Client, tuple[str, ...]]]:
    """Of a server with every service, and names of what it has."""
    data = tmp_path_factory.mktemp("console")
    run = trained(data)
    fill(data)
    at = ConsoleConfig(address="127.0.0.1:0")
    config = ServeConfig(address=f"unix:{data}/s", data=data, model=model_config, works=False, console=at)
    with started(config) as app, httpx2.Client(base_url=app.console_address, timeout=60) as http:
        yield http, (run, run[-6:], "policy-1", "helpful", "production", "CANCELLED")


def attacks(seed: int, known: tuple[str, ...]) -> Iterator[Attack]:
    rng = random.Random(seed)
    words = (*TEXTS, *known, *known, SCRIPT, "9" * 5000, "٣", "//evil.example", "\ud800")

    def word() -> str:
        return rng.choice(words)[:4000]

    def address(path: str) -> str:
        while "*" in path:
            path = path.replace("*", quote(word().encode("utf-8", "surrogatepass"), safe=""), 1)
        return path

    while True:
        cookie = rng.choice(COOKIES) if rng.random() < 0.2 else ""
        last = rng.choice(("", "", "-1", "7", "x", "9" * 5000))
        kind = rng.randrange(3)
        if kind == 0:
            pairs = [(rng.choice(PARAMETERS), word().encode("utf-8", "surrogatepass")) for _ in range(rng.randrange(3))]
            yield Attack("GET", f"{address(rng.choice(PAGES))}?{urlencode(pairs)}", b"", cookie, last)
        elif kind == 1:
            path = rng.choice(list(FORMS))
            fields = {name: word().encode("utf-8", "surrogatepass") for name in FORMS[path] if rng.random() < 0.8}
            if "verb" in fields and rng.random() < 0.7:
                fields["verb"] = rng.choice(VERBS).encode()
            yield Attack("POST", address(path), spoilt(rng, urlencode(fields).encode()), cookie, last)
        else:
            path = rng.choice(list(SCRIPTS))
            body = json.loads(json.dumps(SCRIPTS[path]))
            if isinstance(body, dict):
                place = rng.choice((body, *body.get("steps", ())))
                place[rng.choice(list(place))] = rng.choice((word(), None, 3, -1, [], {}, True, *DATES))
            text = (json.dumps(body) if isinstance(body, dict) else word()).encode("utf-8", "surrogatepass")
            yield Attack("POST", path, spoilt(rng, text), cookie, last)


def spoilt(rng: random.Random, data: bytes) -> bytes:
    """Mostly as it is."""
    place = rng.randrange(len(data) + 1)
    broken = (data[:place], data[:place] + rng.randbytes(3) + data[place:], b"[" * 5000, b"")
    return rng.choice(broken) if rng.random() < 0.2 else data


def assault(http: httpx2.Client, wave: Iterator[Attack]) -> Counter[int]:
    """How many calls ended with each status. Fails on those that ended wrongly."""
    bad, statuses = [], Counter[int]()
    origin = str(http.base_url).rstrip("/")
    for attack in wave:
        headers = {"origin": origin, "last-event-id": attack.last, "cookie": attack.cookie}
        answer = http.request(attack.verb, attack.path, content=attack.data, headers=headers)
        http.cookies.clear()
        statuses[answer.status_code] += 1
        if answer.status_code not in EXPECTED or "Traceback" in answer.text or SCRIPT in page_of(answer):
            told = f"{answer.status_code} {answer.text[:300]!r} after {attack.data[:300]!r}"
            bad.append(f"{attack.verb} {attack.path[:300]} {attack.cookie} {told}")
    assert not bad, "\n".join(bad[:40])
    return statuses


def page_of(answer: httpx2.Response) -> str:
    """What a browser would read as a page."""
    return answer.text if answer.headers.get("content-type", "").startswith("text/html") else ""


def test_120_hostile_visits_are_refused_with_a_reason_or_answered(console):
    http, known = console
    statuses = assault(http, islice(attacks(1, known), 120))
    assert {200, 303, 400, 404} <= set(statuses)
    assert http.get("/runs").is_success


def test_a_browser_that_has_heard_what_never_was_is_answered_all_the_same(console):
    http, (run, *_) = console
    for last in ("9" * 5000, "-1", "٣".encode()):
        with http.stream("GET", f"/runs/{run}/events", headers={"last-event-id": last}) as answer:
            assert answer.status_code == 200
            heard = answer.read().decode()
            assert ("event: " in heard) == (last != "9" * 5000), "what is no number is nothing heard"


@pytest.mark.slow
def test_10000_hostile_visits_are_refused_with_a_reason_or_answered(console):
    http, known = console
    begun, left = time.monotonic(), int(os.environ.get("HOSTILE", "2000"))
    statuses = assault(http, islice(attacks(int(os.environ.get("HOSTILE_SEED", "1")), known), left))
    print(f"{statuses.total()}: {dict(statuses.most_common())}; {time.monotonic() - begun:.0f} s", flush=True)
    assert http.get("/runs").is_success
