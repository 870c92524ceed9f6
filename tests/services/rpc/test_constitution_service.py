"""Constitutions over a real socket: status and reload, what an edit does with progress, and their own tests."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from charter.v1 import critique_pb2, critique_pb2_grpc

from rlhf_core.config.run import ModelConfig, RunConfig
from rlhf_core.constitution.load import builtin_text, load_constitution, parse_constitution
from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process
from services.app import _desk
from services.client.client import CharterClient
from services.client.constitution import Named
from services.server.config import ServeConfig
from tests.services.apps import serving

HOUSEHOLD = builtin_text("household")
EDITED = HOUSEHOLD.replace("less risk of fumes?", "fewer fumes?")


def probe(number: int) -> Comparison:
    prompt = Prompt.of(f"Question {number}?")
    a, b = (Sample(id=f"{number}{x}", prompt=prompt, response=f"{x} {number}", policy_version="data") for x in "ab")
    return Comparison(id=f"probe-{number}", a=a, b=b)


PROBES = [probe(number) for number in range(6)]


@pytest.mark.parametrize(("base_model", "temperature"), [("sandbox", 1.0), ("smollm2", 20.0)])
def test_an_edits_labels_are_made_as_a_run_of_the_servers_model_makes_them(base_model, temperature):
    unused: Any = None
    config = ServeConfig(model=ModelConfig(base_model=base_model))
    assert _desk(config, unused, unused, unused, unused)._labels.odds_temperature == temperature


def test_a_difference_comes_with_its_bill(served):
    result = served.client.constitution.diff(Named("household"), Named("mine.yaml", EDITED))
    assert [(r.principle_id, r.field) for r in result.diff.reworded] == [("no-fumes", "compare")]
    assert (result.diff.before.source, result.diff.after.source) == ("household", "mine.yaml")
    assert (result.bill.retrain, result.bill.unaffected) == (("harmless",), ("helpful",))
    assert result.bill.votes is not None and result.effects is None


def test_effects_come_with_progress_and_the_judge(served):
    told: list[tuple[str, int, int]] = []
    result = served.client.constitution.diff(
        Named("household"),
        Named("mine.yaml", EDITED),
        effects=True,
        probes=PROBES,
        on_progress=lambda *step: told.append(step),
    )
    assert result.effects is not None
    assert (result.effects.probes.n, result.effects.judging.asked) == (6, 2 * 6 * 8)
    assert (result.effects.judging.shared, result.effects.judging.again) == (2 * 6 * 6, 2 * 6 * 7)
    assert told[0] == ("judge", 0, 96) and told[-1] == ("judge again", 84, 84)
    judge = served.client.critique.feedback("household").name
    assert result.effects.judging.judge == judge and result.effects.objectives + result.effects.notes


def test_the_same_probes_and_seed_give_the_same_report(served):
    ask = {"effects": True, "probes": PROBES, "pairs": 4, "seed": 3}
    first, second = (
        served.client.constitution.diff(Named("household"), Named("m", EDITED), **ask).effects for _ in range(2)
    )
    assert first.probes == second.probes and first.probes.n == 4
    assert first.objectives == second.objectives and first.flipped == second.flipped


@pytest.mark.parametrize(
    ("before", "options", "error", "words"),
    [
        (Named("nowhere"), {}, NotFound, "no constitution 'nowhere'"),
        (Named("mine.yaml", "id: ["), {}, InvalidInput, "mine.yaml:1"),
        (Named("household"), {"effects": True}, InvalidInput, "no built-in tasks"),
        (Named("household"), {"effects": True, "pairs": 9999}, InvalidInput, "1 to 5000"),
        (Named("household"), {"effects": True, "pairs": -1}, InvalidInput, "1 to 5000"),
    ],
)
def test_a_mistake_is_told_before_the_judge_is_asked(served, before, options, error, words):
    with pytest.raises(error, match=words):
        served.client.constitution.diff(before, Named("household"), **options)


def test_a_caller_who_goes_stops_the_judge(served):
    stub = critique_pb2_grpc.CritiqueServiceStub(served.channel)
    answers = stub.DiffConstitutions(_effects_request(400))
    assert next(answers).WhichOneof("event") == "diff"
    assert next(answers).progress.phase == "judge"
    answers.cancel()
    started = time.monotonic()
    served.client.constitution.test(Named("t", _tested()))
    assert time.monotonic() - started < 5, "the other 6,000 votes are not asked first"


def _effects_request(n: int) -> critique_pb2.DiffConstitutionsRequest:
    from services.wire.samples import comparison_to_message

    return critique_pb2.DiffConstitutionsRequest(
        before=critique_pb2.ConstitutionSource(constitution="household"),
        after=critique_pb2.ConstitutionSource(yaml_text=EDITED),
        effects=True,
        probes=[comparison_to_message(probe(number)) for number in range(n)],
    )


def _tested() -> str:
    """One principle with one test, which nobody can fail to ask."""
    return """
schema: constitution/v1
id: one
version: 1.0.0
title: One
objectives: {good: {}}
principles:
  - id: short
    title: Short
    serves: {good: 1}
    compare: Which reply is shorter?
    tests: [{prompt: "Hello?", prefer: "Hi.", over: "Hello there."}]
"""


def test_the_tests_of_a_constitution_are_judged(served):
    judge, results = served.client.constitution.test(Named("household"))
    expected = [(p.id, n + 1) for p in load_constitution("household").principles for n in range(len(p.tests))]
    assert [(r.principle_id, r.number) for r in results if r.kind == "test"] == expected
    assert judge == served.client.critique.feedback("household").name
    assert all(-1 <= r.margin <= 1 and r.passed == (not r.reason) for r in results)
    some = served.client.constitution.test(Named("household"), ["no-cuts"]).results
    assert {r.principle_id for r in some} == {"no-cuts"}
    with pytest.raises(NotFound, match="no-cutz"):
        served.client.constitution.test(Named("household"), ["no-cutz"])


def test_a_built_in_default_is_always_valid(served):
    status = served.client.constitution.status()
    assert (status.state, status.source, status.problems) == ("VALID", "assistant", ())
    assert status.active_hash == load_constitution("assistant").hash


def test_a_followed_file_takes_over_while_runs_stay_pinned(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text(HOUSEHOLD)
    first, second = (parse_constitution(text, "mine.yaml").hash for text in (HOUSEHOLD, EDITED))
    store = Store.open(tmp_path / "d")
    store.workers.sign_in(this_process())  # without a worker the server refuses runs, as nobody would carry them out
    store.close()

    def edit(address: str) -> None:
        with CharterClient.connect(address) as client:
            pinned = client.trainer.create_run(RunConfig())
            file.write_text(EDITED)
            later = client.trainer.create_run(RunConfig())
            file.write_text(EDITED.replace("serves:", "server:"))
            broken = client.trainer.create_run(RunConfig())
            assert (later.constitution_hash, broken.constitution_hash) == (second, second)
            assert client.trainer.get_run(pinned.id).constitution_hash == first

    address, data = f"unix:{tmp_path}/s", tmp_path / "d"
    serving(ServeConfig(address=address, data=data, only=("trainer",), constitution=str(file)), edit)


def test_the_status_says_why_an_edit_is_not_in_force(tmp_path: Path, model_config):
    file = tmp_path / "mine.yaml"
    file.write_text(HOUSEHOLD)

    def edit(address: str) -> None:
        with CharterClient.connect(address) as client:
            before = client.constitution.status()
            assert (before.state, before.source) == ("VALID", str(file))
            file.write_text(EDITED.replace("serves:", "server:", 1))
            broken = client.constitution.status()
            assert (broken.state, broken.active_hash) == ("INVALID", before.active_hash)
            assert any(p.code == "C010" and p.file == str(file) and p.line > 1 for p in broken.problems)
            file.write_text(EDITED)
            after = client.constitution.status()
            assert after.state == "VALID" and after.active_hash != before.active_hash
            assert client.critique.get_constitution(before.active_hash).constitution.hash == before.active_hash

    address, data = f"unix:{tmp_path}/s", tmp_path / "d"
    serving(
        ServeConfig(address=address, data=data, model=model_config, only=("critique",), constitution=str(file)), edit
    )


def test_a_check_tells_errors_and_warnings(served):
    lenient = HOUSEHOLD.replace("critique: Check the reply for fumes.", "critique: List the faults.", 1)
    warned = served.client.critique.check_constitution(lenient)
    assert warned.constitution is not None and "W101" in [problem.code for problem in warned.problems]
    broken = served.client.critique.check_constitution(HOUSEHOLD.replace("serves:", "server:", 1))
    assert broken.constitution is None and "C010" in [problem.code for problem in broken.problems]


def test_a_stub_alone_reads_the_summary(served):
    stub = critique_pb2_grpc.CritiqueServiceStub(served.channel)
    [update] = stub.DiffConstitutions(
        critique_pb2.DiffConstitutionsRequest(
            before=critique_pb2.ConstitutionSource(constitution="household"),
            after=critique_pb2.ConstitutionSource(yaml_text=EDITED),
        )
    )
    assert (list(update.diff.reworded), list(update.diff.retrain)) == (["no-fumes"], ["harmless"])
    assert json.loads(update.diff.json).keys() == {"diff", "bill"}
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.DiffConstitutions(critique_pb2.DiffConstitutionsRequest(pairs=-1, effects=True)))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
