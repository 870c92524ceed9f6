"""Bodies that nobody should send: each is refused with a reason or answered; none is an error of ours, none hangs."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx2

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
EXPECTED = frozenset((200, 400, 404, 409, 413))


class Attack(NamedTuple):
    path: str
    data: bytes


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
            tree[rng.choice(TEXTS)] = rng.choice(VALUES)
        return
    key = rng.choice(keys)
    if isinstance(tree[key], dict | list) and rng.random() < 0.7:
        spoil(rng, tree[key])
    else:
        tree[key] = rng.choice(VALUES)


def test_every_path_is_attacked(edge: Edge):
    asked = edge.http.get("/nothing").json()["error"]["message"].partition("there are: ")[2].split(", ")
    posted = {path for path in asked if edge.http.request("POST", path, content=b"{}").status_code != 405}
    assert posted - {"/health"} == {path for path, _ in GOOD + REFUSED} | {"/v1/files"}


def test_the_good_bodies_are_good(edge: Edge):
    for path, body in GOOD:
        assert edge.http.post(path, json=body).status_code == 200, path


def test_400_hostile_bodies_are_refused_with_a_reason_or_answered(edge: Edge):
    bad = []
    for _, attack in zip(range(400), attacks(1), strict=False):
        answer = edge.http.post(attack.path, content=attack.data, timeout=60)
        if wrong(answer):
            bad.append(f"{attack.path} {answer.status_code} {answer.text[:300]!r} after {attack.data[:300]!r}")
    assert not bad, "\n".join(bad)
    assert edge.http.get("/health").is_success


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
    return not (answer.is_success or answer.json()["error"]["message"])
