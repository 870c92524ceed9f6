"""Bodies that nobody should send: each is refused with a reason or answered; none is an error of ours, none hangs."""

from __future__ import annotations

import copy
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx2
import pytest

from tests.services.hostile import FLOATS, INTS, TEXTS
from tests.services.http.conftest import Edge

TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How do I dust?"}]
RENDERED = "<|user|>How do I dust?<|end|><|assistant|>"
SAID = {"id": "m", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Softly."}]}
GOOD: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/score", {"samples": [{"prompt": TALK, "response": "Softly."}], "weights": {"helpful": 1}}),
    ("/get_reward", {"query": [f"{RENDERED}Softly.<|end|>"], "prompts": [RENDERED], "labels": [None]}),
    ("/remote_rm", {"prompt": TALK, "response": "Softly.", "label": None}),
    ("/classify", {"model": "rm", "input": f"{RENDERED}Softly.<|end|>"}),
    ("/v1/embeddings", {"model": "rm", "input": [f"{RENDERED}Softly."]}),
    ("/verify", {"responses_create_params": {"input": TALK}, "response": {"output": [SAID]}}),
    ("/seed_session", {}),
    ("/aggregate_metrics", {"verify_responses": [{"reward": 1.0, "z_helpful": 0.5}]}),
    (
        "/v1/chat/completions",
        {"model": "base", "messages": TALK, "max_tokens": 2, "n": 1, "seed": 1, "stop": ["x"], "temperature": 1},
    ),
    (
        "/v1/chat/completions",
        {"model": "policy-1", "messages": TALK, "max_tokens": 2, "stream": True, "logprobs": True},
    ),
)
JOBS = "/v1/fine_tuning/jobs"
REFUSED: tuple[tuple[str, dict[str, Any]], ...] = (
    (JOBS, {"model": "base", "training_file": "absent", "seed": 1, "config": {"ppo": {"steps": 1}}, "metadata": {}}),
    *((f"{JOBS}/*/{verb}", {}) for verb in ("cancel", "pause", "resume")),
)
"""Well formed, of files and jobs that are not there."""
FORM = (
    b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{"prompt": "A?"}\r\n--x--\r\n'
)
VALUES: tuple[Any, ...] = (
    *TEXTS,
    *INTS,
    *FLOATS[:8],
    None,
    True,
    False,
    [],
    {},
    [[]],
    [{}],
    {"a": [1]},
    10**400,
    "x" * 5000,
)
QUERIES = (
    "",
    "?",
    "?run=%00",
    "?run=x&run=y",
    "?weights=",
    "?weights=helpful=1e999",
    "?weights==",
    "?a[]=1",
    "?%ff=%fe",
)
EXPECTED = frozenset((200, 400, 404, 405, 409, 413))
ONE = f"{JOBS}/*"
ASKED: tuple[tuple[str, str], ...] = (
    *(("GET", path) for path in ("/v1/objectives", "/v1/models", "/v1/models/*", "/health", "/*", "/v1/*")),
    *(("GET", path) for path in ("/v1/files", "/v1/files/*", "/v1/files/*/content")),
    ("DELETE", "/v1/files/*"),
    *(("GET", path) for path in (JOBS, ONE, f"{ONE}/events", f"{ONE}/checkpoints")),
    *((verb, "/v1/score") for verb in ("GET", "PUT", "DELETE", "OPTIONS", "HEAD", "BREW")),
)
"""Without a body; any name may stand for the star."""
PARAMETERS = ("run", "weights", "objectives", "purpose", "limit", "after", "order", "include", "a[]", "")
SEED = int(os.environ.get("HOSTILE_SEED", "1"))


class Attack(NamedTuple):
    path: str
    data: bytes
    verb: str = "POST"


def questions(seed: int, known: Sequence[str]) -> Iterator[Attack]:
    """Calls without a body: names and parameters that were never given, or of things that are there."""
    rng = random.Random(seed)
    words = (*TEXTS, *known, "9" * 5000, "-0", "1.5", "ftevent-x-9", f"ftevent-{'9' * 30}", "<script>alert(1)</script>")
    while True:
        verb, path = rng.choice(ASKED)
        for _ in range(path.count("*")):
            path = path.replace("*", in_address(rng, rng.choice(words)), 1)
        asked = [f"{rng.choice(PARAMETERS)}={in_address(rng, rng.choice(words))}" for _ in range(rng.randrange(3))]
        yield Attack(f"{path}?{'&'.join(asked)}" if asked else path, b"", verb)


def in_address(rng: random.Random, text: str) -> str:
    """As an address has it, or with bytes that are no text."""
    if rng.random() < 0.1:
        return "".join(f"%{byte:02x}" for byte in rng.randbytes(5))
    return quote(text[:6000].encode("utf-8", "surrogatepass"), safe="" if rng.random() < 0.8 else "/:;,")


def attacks(seed: int) -> Iterator[Attack]:
    """Good bodies with some values replaced, and bytes that were cut, flipped or nested too deep."""
    rng = random.Random(seed)
    while True:
        path, body = rng.choice(GOOD + REFUSED)
        path += rng.choice(QUERIES) if rng.random() < 0.2 else ""
        if rng.random() < 0.7:
            spoilt = copy.deepcopy(body)
            for _ in range(rng.randint(1, 3)):
                spoil(rng, spoilt)
            yield Attack(path, json.dumps(spoilt).encode("utf-8", "surrogatepass"))
        else:
            data = json.dumps(body).encode()
            place = rng.randrange(len(data))
            spoilt = (data[:place], data[:place] + rng.randbytes(3) + data[place:], b"[" * 5000, b'{"a":' * 5000, b"")
            yield Attack(
                path, rng.choice((*spoilt, b'"\\ud800"', rng.randbytes(50), data + data, b"\xef\xbb\xbf" + data))
            )


def spoil(rng: random.Random, tree: Any) -> None:
    """Another value in one place, at any depth, or another key."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    if not keys or rng.random() < 0.1:
        if isinstance(tree, dict):
            tree[rng.choice(TEXTS)] = copy.deepcopy(rng.choice(VALUES))
        return
    key = rng.choice(keys)
    if isinstance(tree[key], dict | list) and rng.random() < 0.7:
        spoil(rng, tree[key])
    else:
        tree[key] = copy.deepcopy(rng.choice(VALUES))


def test_every_path_is_attacked(edge: Edge):
    asked = edge.http.get("/nothing").json()["error"]["message"].partition("there are: ")[2].split(", ")
    posted = {path for path in asked if edge.http.request("POST", path, content=b"{}").status_code != 405}
    assert posted - {"/health"} == {path for path, _ in GOOD + REFUSED} | {"/v1/files"}


def test_the_good_bodies_are_good(edge: Edge):
    for path, body in GOOD:
        assert edge.http.post(path, json=body).status_code == 200, path


def assault(edge: Edge, wave: Iterable[Attack]) -> Counter[int]:
    """How many calls ended with each status. Fails on those that ended wrongly."""
    bad, statuses = [], Counter[int]()
    for attack in wave:
        answer = edge.http.request(attack.verb, attack.path, content=attack.data, timeout=60)
        statuses[answer.status_code] += 1
        if wrong(answer):
            told = f"{answer.status_code} {answer.text[:300]!r} after {attack.data[:300]!r}"
            bad.append(f"{attack.verb} {attack.path[:300]} {told}")
    assert not bad, "\n".join(bad[:40])
    assert edge.http.get("/health").is_success
    return statuses


def test_400_hostile_bodies_are_refused_with_a_reason_or_answered(edge: Edge):
    assault(edge, islice(attacks(1), 400))


def test_every_path_that_takes_no_body_is_asked(edge: Edge):
    told = edge.http.get("/nothing").json()["error"]["message"].partition("there are: ")[2].split(", ")
    answers = {path: edge.http.request("BREW", path) for path in told if path != "/health"}
    asked = {path for path, answer in answers.items() if "GET" in answer.json()["error"]["message"]}
    assert asked <= {path for _, path in ASKED}, asked


def test_200_hostile_questions_are_refused_with_a_reason_or_answered(edge: Edge):
    statuses = assault(edge, islice(questions(1, ("policy-1", edge.run)), 200))
    assert {200, 400, 404, 405} <= set(statuses)


@pytest.mark.slow
def test_10000_hostile_calls_are_refused_with_a_reason_or_answered(edge: Edge):
    begun, left = time.monotonic(), int(os.environ.get("HOSTILE", "2000"))
    statuses = assault(edge, islice(attacks(SEED), left // 2))
    statuses += assault(edge, islice(questions(SEED, ("policy-1", edge.run)), left - left // 2))
    print(f"{statuses.total()}: {dict(statuses.most_common())}; {time.monotonic() - begun:.0f} s", flush=True)


def test_200_hostile_forms_are_refused_with_a_reason_or_answered(edge: Edge):
    rng, bad, headers = random.Random(1), [], {"content-type": "multipart/form-data; boundary=x"}
    assert edge.http.post("/v1/files", content=FORM, headers=headers).status_code == 200
    for _ in range(200):
        data = FORM
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(data) + 1)
            cut = data[place : place + rng.choice((0, 1, 20))]
            data = data[:place] + rng.choice((b"", rng.randbytes(2), cut * 40, b"\r\n--x")) + data[place + len(cut) :]
        answer = edge.http.post("/v1/files", content=data, headers=headers)
        if wrong(answer):
            bad.append(f"{answer.status_code} {answer.text[:300]!r} after {data!r}")
    assert not bad, "\n".join(bad)


def wrong(answer: httpx2.Response) -> bool:
    if answer.status_code not in EXPECTED or "Traceback" in answer.text:
        return True
    return not (answer.is_success or answer.request.method == "HEAD" or answer.json()["error"]["message"])
