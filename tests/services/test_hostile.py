"""Requests that nobody should send: the server answers each with a reason, and goes on.

`make hostile` sends 10,000 of them over gRPC, as many over HTTP and to the console, and prints what came of it; HOSTILE
says how many, HOSTILE_SEED which.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import grpc
import pytest
from charter.v1 import assessment_pb2, critique_pb2, dataset_pb2, policy_pb2, preference_pb2, reward_pb2, trainer_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rlhf_core.records.samples import Prompt
from services.client.client import CharterClient
from services.embedded import embedded_server
from tests.services.hostile import DEADLINE_SECONDS, Attack, Outcome, attacks, methods, send

PROMPT = {"text": "How do I dust?"}
SAMPLE = {"prompt": PROMPT, "response": "Softly."}
PAIR = {"a": SAMPLE, "b": {"prompt": PROMPT, "response": "Not at all."}}
PRINCIPLE = {"constitution": "household", "principle_id": "no-fumes"}
GOOD: tuple[Message, ...] = (
    policy_pb2.GenerateRequest(prompts=[PROMPT], n=2, max_tokens=2, seed=1),
    policy_pb2.GenerateStreamRequest(prompt=PROMPT, max_tokens=2),
    critique_pb2.CritiqueRequest(samples=[SAMPLE], principle=PRINCIPLE),
    critique_pb2.ReviseRequest(samples=[SAMPLE], critiques=[{"text": "Say more."}], principle=PRINCIPLE),
    critique_pb2.CompareRequest(comparisons=[PAIR], principles=[PRINCIPLE]),
    critique_pb2.DiffConstitutionsRequest(before={"constitution": "household"}, after={"constitution": "assistant"}),
    critique_pb2.TestConstitutionRequest(constitution={"constitution": "household"}, principle_ids=["needed-steps"]),
    reward_pb2.ScoreRequest(samples=[SAMPLE], reward_models=["reward-helpful"]),
    preference_pb2.SubmitPreferenceRequest(comparison=PAIR, objective="helpful", labeler="ann", choice="CHOICE_A"),
    preference_pb2.NextComparisonRequest(labeler="ann", objective="helpful"),
    preference_pb2.ListPreferencesRequest(page_size=2),
    assessment_pb2.SubmitAssessmentRequest(
        form="ASSESSMENT_FORM_SPANS",
        samples=[SAMPLE],
        objective="harmless",
        labeler="ann",
        faults={"spans": [{"start": 0, "end": 3, "principle_id": "name-the-real-dangers"}]},
    ),
    assessment_pb2.NextAssessmentRequest(labeler="ann", objective="helpful", form="ASSESSMENT_FORM_RANKING"),
    assessment_pb2.ListAssessmentsRequest(page_size=2, with_samples=True),
    trainer_pb2.CreateRunRequest(config_json="{}", validate_only=True),
    dataset_pb2.UploadDatasetRequest(
        upload={"dataset_id": "mine", "format": "DATASET_FORMAT_PROMPTS", "sha256": "0" * 64, "size_bytes": 9}
    ),
    dataset_pb2.UploadDatasetRequest(chunk={"offset": 0, "data": b'{"prompt":'}),
    dataset_pb2.GetUploadRequest(sha256="0" * 64),
    dataset_pb2.ListDatasetsRequest(page_size=2),
)
EXPECTED = frozenset(
    (
        *(grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND),
        *(grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.ABORTED),
    )
)
WAVE = 250
SEED = int(os.environ.get("HOSTILE_SEED", "1"))


def good(method: MethodDescriptor) -> list[Message]:
    return [request for request in GOOD if method.input_type == request.DESCRIPTOR]


@pytest.fixture(scope="module")
def target(tmp_path_factory, model_config, trained):
    """A server of its own, as what is sent to it stays in its store. Its runs do nothing."""
    data = tmp_path_factory.mktemp("hostile")
    run_id = trained(data)
    with (
        embedded_server(data, model_config, pipeline=lambda *_: None) as address,
        grpc.insecure_channel(address) as channel,
    ):
        yield address, channel, (run_id, "policy-1", "reward-helpful", "household", "helpful", "needed-steps")


def wrong(outcome: Outcome) -> bool:
    unnamed = outcome.code == grpc.StatusCode.INVALID_ARGUMENT and not all(outcome.fields or ("",))
    if outcome.code == grpc.StatusCode.PERMISSION_DENIED:
        # Nobody is kept from anything here but somebody whom an earlier request has shut out.
        return outcome.fields != ("labeler",) or not outcome.text.endswith("gets nothing more to label")
    return unnamed or outcome.code not in EXPECTED or (outcome.code != grpc.StatusCode.OK and not outcome.text)


class Report(NamedTuple):
    codes: Counter[str]
    """How the calls ended."""
    bad: list[str]
    """Those that ended wrongly."""
    longest: float
    """Seconds of the longest."""


def assault(channel: grpc.Channel, wave: Iterable[Attack], threads: int) -> Report:
    def timed(attack: Attack) -> tuple[Attack, Outcome, float]:
        begun = time.monotonic()
        return attack, send(channel, attack), time.monotonic() - begun

    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(timed, wave))
    bad = [
        f"{attack.path} {outcome.code.name} {outcome.fields} {outcome.text[:300]!r} after {attack.data[:200]!r}"
        for attack, outcome, _ in results
        if wrong(outcome)
    ]
    codes = Counter(outcome.code.name for _, outcome, _ in results)
    return Report(codes, bad, max(seconds for *_, seconds in results))


def still_well(address: str) -> None:
    with CharterClient.connect(address, timeout_seconds=30) as client, grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        assert len(client.policy.generate([Prompt.of("How do I dust?")], n=2, max_tokens=2, seed=1)) == 2


def test_every_method_is_attacked():
    seen = {attack.method for attack in islice(attacks(SEED, good, ("x",)), 2000)}
    assert seen == set(methods())


def test_the_good_requests_are_good(target):
    _, channel, _ = target
    for request in GOOD:
        if isinstance(request, dataset_pb2.UploadDatasetRequest) and request.HasField("chunk"):
            continue  # good behind what it is a part of
        method = next(found for found in methods() if found.input_type == request.DESCRIPTOR)
        assert send(channel, Attack(method, request.SerializeToString())).code == grpc.StatusCode.OK, method.name


@pytest.mark.slow
def test_no_text_of_a_request_is_in_the_log(target, caplog):
    _, channel, known = target
    secret = "Canary7f3a"
    with caplog.at_level(logging.INFO, logger="charter"):
        for request in GOOD:
            method = next(found for found in methods() if found.input_type == request.DESCRIPTOR)
            for broken in (False, True):
                data = request.SerializeToString().replace(b"How do I dust?", f"Do {secret}!".encode())
                send(channel, Attack(method, data[:-1] if broken else data))
        for attack in islice(attacks(SEED + 1, good, (*known, secret)), 40):
            send(channel, attack)
    assert "PolicyService/Generate OK" in caplog.text and secret not in caplog.text


@pytest.mark.slow
def test_300_hostile_requests_are_refused_with_the_field_or_answered(target):
    address, channel, known = target
    report = assault(channel, islice(attacks(SEED, good, known), 300), threads=4)
    assert not report.bad, "\n".join(report.bad)
    assert report.longest < DEADLINE_SECONDS
    still_well(address)


@pytest.mark.slow
def test_10000_hostile_requests_are_refused_with_the_field_or_answered(target):
    address, channel, known = target
    begun, left = time.monotonic(), int(os.environ.get("HOSTILE", "10000"))
    stream, codes, bad = attacks(SEED, good, known), Counter[str](), []
    while left > 0:
        report = assault(channel, islice(stream, min(left, WAVE)), threads=8)
        left -= WAVE
        codes += report.codes
        bad += report.bad
        told = f"longest of the last {WAVE}: {report.longest:.1f} s; {len(bad)} wrong; {time.monotonic() - begun:.0f} s"
        print(f"{codes.total()}: {dict(codes.most_common())}; {told}", flush=True)
    assert not bad, "\n".join(bad[:40])
    still_well(address)
