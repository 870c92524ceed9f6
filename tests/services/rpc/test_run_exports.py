"""What runs made, read back whole over a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from charter.v1 import dataset_pb2, dataset_pb2_grpc
from google.protobuf.field_mask_pb2 import FieldMask

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.records.feedback import Preference, Revision
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.store.store import Store
from tests.records import revision
from tests.services.run_server import RunServer, run_server

PAIRS = 23


class Made(NamedTuple):
    """A server, and what its one run holds."""

    server: RunServer
    run_id: str
    samples: list[Sample]
    comparisons: list[Comparison]
    revisions: list[Revision]

    def ask(self, method: str, **fields: Any) -> Any:
        stub = dataset_pb2_grpc.DatasetServiceStub(self.server.connection.channel)
        request = getattr(dataset_pb2, f"{method}Request")(**{"run_id": self.run_id, **fields})
        if method == "ExportRun":
            return list(self.server.connection.stream(stub.ExportRun, request))
        return self.server.connection.call(getattr(stub, method), request)


def written(number: int, side: str, run_id: str) -> Sample:
    text = f"Reply {side} to {number}. " + "Long. " * 30
    made = {"id": f"{side}-{number}", "prompt": Prompt.of(f"How do I wash cup {number}?"), "response": text}
    stage = "label" if side == "a" else "evaluate"
    return Sample.model_validate({**made, "policy_version": f"policy-{side}", "run_id": run_id, "stage": stage})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    data = tmp_path_factory.mktemp("made")
    store = Store.open(data)
    run_id = store.runs.create("pipeline", RunConfig().model_dump_json(), "law", "").id
    pairs = [Comparison.of(written(n, "a", run_id), written(n, "b", run_id), run_id) for n in range(PAIRS)]
    store.comparisons.add(pairs)
    labels = {"objective": "helpful", "labeler": "ai:judge", "choice": "a", "probability": 0.9, "run_id": run_id}
    store.preferences.add(
        [Preference.model_validate({"id": f"l{p.id}", "comparison_id": p.id, **labels}) for p in pairs[:5]]
    )
    steps = [revision(id=f"step-{pair.id}", sample_id=pair.a.id, round=0, run_id=run_id) for pair in pairs[:3]]
    store.revisions.add(steps)
    samples = store.samples.of_run(run_id)
    store.close()
    with run_server(data) as server:
        yield Made(server, run_id, samples, pairs, steps)


def test_samples_comparisons_and_revisions_come_back_whole_and_in_order(made):
    client = made.server.client.datasets
    assert list(client.samples(made.run_id)) == made.samples and len(made.samples) == 2 * PAIRS
    assert list(client.comparisons(made.run_id)) == made.comparisons
    steps = list(client.revisions(made.run_id))
    assert [step.sample_id for step in steps] == [step.sample_id for step in made.revisions]
    assert [(step.round, step.critique) for step in steps] == [(s.round + 1, s.critique) for s in made.revisions]
    labels = list(made.server.client.preference.list_preferences(run_id=made.run_id))
    assert len(labels) == 5


@pytest.mark.parametrize("method", ["ListSamples", "ListComparisons", "ListRevisions"])
def test_pages_hold_each_record_once(made, method):
    field = {"ListSamples": "samples", "ListComparisons": "comparisons", "ListRevisions": "steps"}[method]
    whole = list(getattr(made.ask(method, page_size=1000), field))
    seen, token = [], ""
    while True:
        answer = made.ask(method, page_size=2, page_token=token)
        seen += list(getattr(answer, field))
        if not (token := answer.next_page_token):
            break
    assert seen == whole and len(whole) >= 3


def test_samples_are_filtered_and_masked(made):
    of_b = made.ask("ListSamples", policy_version="policyVersions/policy-b", page_size=1000).samples
    assert len(of_b) == PAIRS and {sample.stage for sample in of_b} == {"evaluate"}
    assert len(made.ask("ListSamples", stage="label", page_size=1000).samples) == PAIRS
    assert not made.ask("ListSamples", stage="label", policy_version="policy-b").samples
    masked = made.ask("ListSamples", read_mask=FieldMask(paths=["id", "prompt.messages"])).samples[0]
    assert masked.id and masked.prompt.messages and not masked.response


@pytest.mark.parametrize(
    ("method", "fields", "field", "told"),
    [
        ("ListSamples", {"run_id": ""}, "run_id", "runs/ID"),
        ("ListSamples", {"run_id": "datasets/x"}, "run_id", "not of runs"),
        ("ListSamples", {"page_size": -1}, "page_size", "allowed: 0 to"),
        ("ListSamples", {"page_token": "x"}, "page_token", "begin again"),
        ("ListSamples", {"policy_version": "runs/x"}, "policy_version", "not of policyVersions"),
        ("ListComparisons", {"read_mask": {"paths": ["aa"]}}, "read_mask", "no field 'aa'"),
        ("ListRevisions", {"read_mask": {"paths": ["sampleid"]}}, "read_mask", 'did you mean "sample_id"'),
        ("ExportRun", {}, "content", "RUN_CONTENT_PREFERENCES"),
        ("ExportRun", {"content": 9}, "content", "9 is not a known value"),
        ("ExportRun", {"content": 1, "labelers": 7}, "labelers", "7 is not a known value"),
        ("ExportRun", {"content": 1, "encoding": 3}, "encoding", "allowed: jsonl, parquet"),
    ],
)
def test_wrong_requests_name_their_field(made, method, fields, field, told):
    with pytest.raises(InvalidInput) as caught:
        made.ask(method, **fields)
    assert caught.value.field == field and told in str(caught.value), str(caught.value)


def test_an_unknown_run_and_nothing_to_export_are_not_found(made):
    for method in ("ListSamples", "ListComparisons", "ListRevisions"):
        with pytest.raises(NotFound, match="no run 'run-9'"):
            made.ask(method, run_id="run-9")
    with pytest.raises(NotFound, match="nothing to export"):
        made.ask("ExportRun", content=1, objective="unheard")


def test_a_runs_labels_can_be_uploaded_again_as_they_came(made, tmp_path: Path):
    found = made.server.client.datasets.export_run("preferences", made.run_id)
    file = tmp_path / "labels.jsonl"
    file.write_bytes(b"".join(found.pieces))
    assert found.rows == 5 == len(file.read_text().splitlines())
    assert json.loads(file.read_text().splitlines()[0])["probability"] == 0.9
    assert made.server.client.datasets.upload(file, "labels-again", "preferences").rows == 5
