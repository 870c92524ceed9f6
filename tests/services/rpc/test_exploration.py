"""Samples of a run found over gRPC, page by page, and all that is known of one, up to the hashes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from charter.v1 import exploration_pb2, exploration_pb2_grpc

from rlhf_core.config.run import DataConfig, RunConfig
from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.records.exploration import Between, SampleFilter
from rlhf_core.records.models import GoldScore, PolicyVersion, Score
from rlhf_core.records.runs import StageResult
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from services.client.connection import Connection
from services.embedded import embedded_server
from tests.records import norm_pack, revision, reward_model
from tests.store.examples import comparison, preference, sample, vote

DATASET = f"dataset:mine@{'ab' * 32}"


class Explored(NamedTuple):
    run: str
    connection: Connection

    def ask(self, method: str, **fields: Any) -> Any:
        stub = exploration_pb2_grpc.ExplorationServiceStub(self.connection.channel)
        request = getattr(exploration_pb2, f"{method}Request")(**fields)
        return self.connection.call(getattr(stub, method), request)

    def find(self, **fields: Any) -> list[str]:
        found = self.ask("FindSamples", run_id=self.run, **fields)
        return [each.sample.id for each in found.samples]


def filled(folder: Path) -> str:
    """A run of two policies, whose second one is still without an id in the PPO samples; scores of sd 2."""
    with closing(Store.open(folder)) as store:
        config = RunConfig(data=DataConfig(prompts=DATASET))
        run = store.runs.create("pipeline", config.model_dump_json(), "constitution-hash", "", "first").id
        result = {"run_id": run}
        for name, parent, stage in (("policy-1", "base", "sft"), ("policy-2", "policy-1", "ppo")):
            made: dict[str, Any] = {
                "run_id": run,
                "stage": stage,
                "parent": parent,
                "base_model": "b",
                "artifact": f"adapter of {name}",
            }
            store.policy_versions.add(PolicyVersion(id=name, **made))
            store.stage_results.add(StageResult.model_validate(result | {"stage": stage, "policy_version": name}))
        store.reward_models.add(reward_model(id="a", run_id=run, artifact="adapter of a"))
        store.norm_packs.add(norm_pack(run_id=run, sd=(2.0, 1.0)))
        store.stage_results.add(StageResult(run_id=run, stage="norm_pack", norm_pack="pack"))
        store.samples.add(
            sample(f"s{number}", run, "ppo", "ppo-policy").model_copy(update={"kl": float(number)})
            for number in range(5)
        )
        scores = [Score(sample_id=f"s{n}", objective="helpful", reward_model="a", score=-n) for n in range(5)]
        store.scores.add([scores[0].model_copy(update={"steps": (0.5, -0.5)}), *scores[1:]])
        store.revisions.add([revision(id="r", sample_id="s1", run_id=run)])
        store.comparisons.add([comparison("c", run).model_copy(update={"a": sample("s1", run, "ppo", "ppo-policy")})])
        store.votes.add([vote("v", run_id=run)])
        store.preferences.submit(preference("p", run_id=run), "q")
        store.gold_scores.add([GoldScore(sample_id="s1", kind="helpful", score=0.5)])
        return run


@pytest.fixture
def explored(tmp_path: Path) -> Iterator[Explored]:
    run = filled(tmp_path)
    with embedded_server(tmp_path, None) as address, closing(Connection(address, timeout_seconds=30)) as connection:
        yield Explored(run, connection)


def test_samples_are_found_by_ranges_verdict_and_text(explored):
    assert explored.find(stage="ppo") == ["s0", "s1", "s2", "s3", "s4"]
    assert explored.find(objective="helpful", min_score=-3, max_score=-2) == ["s2", "s3"]
    assert explored.find(min_kl=3) == ["s3", "s4"] and explored.find(max_kl=0) == ["s0"]
    said = revision(id="r", sample_id="s1").critique
    assert explored.find(verdict="VERDICT_VIOLATES", principle_id=said.principle_id) == ["s1"]
    assert explored.find(text="ANSWER S4") == ["s4"]
    [first, *_] = explored.ask("FindSamples", run_id="first", min_kl=0, page_size=1).samples
    assert (first.scores[0].score, first.scores[0].z, list(first.scores[0].steps)) == (0, 0, [0.5, -0.5])
    assert first.sample.kl == 0 and first.sample.HasField("kl")


def test_the_client_finds_what_the_store_does_page_by_page(tmp_path: Path):
    run = filled(tmp_path)
    wanted = SampleFilter(objective="helpful", score=Between(low=-3), kl=Between(low=1))
    with closing(Store.open(tmp_path)) as store:
        expected, terms = store.sample_search.find(run, wanted, 10).found, store.sample_search.terms(run)
    with embedded_server(tmp_path, None) as address, CharterClient.connect(address) as client:
        found = [each.model_copy(update={"place": 0}) for each in expected]
        assert list(client.exploration.find("first", wanted, page_size=2)) == found and len(found) == 3
        assert client.exploration.page(run, wanted, 1)[1:] != ("", 3, True) == client.exploration.page(run, wanted)[1:]
        assert client.exploration.terms(run) == terms
        assert client.exploration.sample("s1").sample.id == "s1"


def test_pages_follow_one_another_and_say_how_many_match(explored):
    first = explored.ask("FindSamples", run_id=explored.run, min_kl=1, page_size=3)
    assert [each.sample.id for each in first.samples] == ["s1", "s2", "s3"]
    assert (first.matches, first.exact, first.cut) == (4, True, False)
    token = first.next_page_token
    second = explored.ask("FindSamples", run_id=explored.run, min_kl=1, page_size=3, page_token=token)
    assert [each.sample.id for each in second.samples] == ["s4"] and not second.next_page_token
    with pytest.raises(InvalidInput, match="for these filters"):
        explored.ask("FindSamples", run_id=explored.run, min_kl=2, page_token=token)


def test_long_samples_come_in_smaller_pages_and_none_is_left_out(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("services.rpc.exploration.MAX_PAGE_BYTES", 600)
    filled(tmp_path)
    with embedded_server(tmp_path, None) as address, CharterClient.connect(address) as client:
        assert len(client.exploration.page("first").samples) < 5
        assert [found.sample.id for found in client.exploration.find("first")] == ["s0", "s1", "s2", "s3", "s4", "c-b"]


def test_what_there_is_to_find_is_told_with_counts(explored):
    terms = explored.ask("ListSampleTerms", run_id=explored.run).terms
    kinds = exploration_pb2.SampleTerm
    told = {(term.kind, term.name, term.detail): term.samples for term in terms}
    assert told[kinds.KIND_STAGE, "ppo", ""] == 5 and told[kinds.KIND_SCORE, "helpful", "a"] == 5
    [kl] = [term for term in terms if term.kind == kinds.KIND_KL]
    assert (kl.low, kl.high, kl.exact) == (0, 4, True)


def test_a_sample_is_told_with_all_that_was_said_of_it_and_what_it_comes_from(explored):
    told = explored.ask("GetSample", sample_id="s1")
    assert [step.sample_id for step in told.steps] == ["s1"]
    [judged] = told.comparisons
    assert [v.id for v in judged.votes] == ["v"] and [p.id for p in judged.preferences] == ["p"]
    assert told.scores[0].z == -0.5 and dict(told.gold) == {"helpful": 0.5}
    lineage = told.lineage
    assert [version.artifact for version in lineage.policy_versions] == ["adapter of policy-2", "adapter of policy-1"]
    assert [model.artifact for model in lineage.reward_models] == ["adapter of a"]
    assert (list(lineage.run_ids), lineage.norm_pack) == ([explored.run], "pack")
    assert (lineage.constitution_hash, list(lineage.datasets)) == ("constitution-hash", [DATASET])


@pytest.mark.parametrize(
    ("method", "fields", "field"),
    [
        ("FindSamples", {}, "run_id"),
        ("FindSamples", {"run_id": "first", "min_score": 1}, "objective"),
        ("FindSamples", {"run_id": "first", "max_kl": float("nan")}, "max_kl"),
        ("FindSamples", {"run_id": "first", "text": "x" * 201}, "text"),
        ("FindSamples", {"run_id": "first", "page_size": -1}, "page_size"),
        ("ListSampleTerms", {}, "run_id"),
        ("GetSample", {}, "sample_id"),
    ],
)
def test_what_is_wrong_with_a_question_is_named(explored, method, fields, field):
    with pytest.raises(InvalidInput) as caught:
        explored.ask(method, **fields)
    assert caught.value.field == field


def test_what_is_not_there_is_not_found(explored):
    for method, fields in (("GetSample", {"sample_id": "gone"}), ("FindSamples", {"run_id": "gone"})):
        with pytest.raises(NotFound, match="gone"):
            explored.ask(method, **fields)
