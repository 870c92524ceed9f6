"""From a second machine's view: nothing but stubs and an address, no folder in common with the server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from charter.v1 import (
    common_pb2,
    critique_pb2,
    critique_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    policy_pb2,
    policy_pb2_grpc,
    preference_pb2,
    preference_pb2_grpc,
    trainer_pb2,
    trainer_pb2_grpc,
)

from rlhf_core.config.run import ModelConfig
from rlhf_core.constitution.load import builtin_text
from services.server.config import ServeConfig
from tests.services.apps import started
from tests.small_run import SMALL

QUESTIONS = [f"How do I clean the {place} of {room}?" for place in ("floor", "wall") for room in ["kitchen", "bath"]]


class Stubs:
    """What a client in any language has."""

    def __init__(self, channel: grpc.Channel):
        self.data = dataset_pb2_grpc.DatasetServiceStub(channel)
        self.trainer = trainer_pb2_grpc.TrainerServiceStub(channel)
        self.policy = policy_pb2_grpc.PolicyServiceStub(channel)
        self.critique = critique_pb2_grpc.CritiqueServiceStub(channel)
        self.preference = preference_pb2_grpc.PreferenceServiceStub(channel)

    def upload(self, name: str, format_: int, data: bytes) -> dataset_pb2.Dataset:
        spec = dataset_pb2.DatasetUpload(
            dataset_id=name, format=format_, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data)
        )
        parts = [dataset_pb2.UploadDatasetRequest(upload=spec)]
        for offset in range(0, len(data), 100):
            chunk = dataset_pb2.DatasetChunk(offset=offset, data=data[offset : offset + 100])
            parts.append(dataset_pb2.UploadDatasetRequest(chunk=chunk))
        return self.data.UploadDataset(iter(parts)).dataset


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stubs]:
    """A server whose only folder that runs may name files of is its own data folder."""
    data = tmp_path_factory.mktemp("far-away")
    config = ServeConfig(address="127.0.0.1:0", data=data, roots=(), model=ModelConfig(threads=1))
    with started(config) as app, grpc.insecure_channel(app.address) as channel:
        yield Stubs(channel)


def lines(*rows: dict[str, object]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


@pytest.mark.slow
def test_a_client_brings_all_it_has_trains_takes_all_away_and_leaves_nothing(stubs: Stubs, tmp_path: Path):
    prompts = stubs.upload("asked", dataset_pb2.DATASET_FORMAT_PROMPTS, lines(*({"prompt": q} for q in QUESTIONS * 4)))
    pair = {"prompt": QUESTIONS[0], "chosen": "Sweep it, then mop it.", "rejected": "No."}
    pairs = stubs.upload("pairs", dataset_pb2.DATASET_FORMAT_PREFERENCES, lines(pair, {**pair, "rejected": "Why?"}))
    text = builtin_text("household").replace("id: household", "id: far-away")
    checked = stubs.critique.CheckConstitution(critique_pb2.CheckConstitutionRequest(yaml_text=text))
    assert not [problem for problem in checked.problems if problem.code.startswith("C")]
    law = stubs.upload("law", dataset_pb2.DATASET_FORMAT_CONSTITUTION, text.encode())
    assert (prompts.rows, pairs.rows, law.rows > 3) == (16, 2, True)

    config = SMALL.model_dump(mode="json", exclude_unset=True)
    config |= {"constitution": "dataset:law", "model": {}, "data": {"prompts": "dataset:asked"}}
    config["data"] |= {"preferences": "dataset:pairs", "preferences_objective": "helpful"}
    run = stubs.trainer.CreateRun(trainer_pb2.CreateRunRequest(config_json=json.dumps(config))).run
    named = json.loads(run.config_json)
    assert named["constitution"] == law.reference and named["data"]["prompts"] == prompts.reference
    *_, end = stubs.trainer.WatchRun(trainer_pb2.WatchRunRequest(run_id=run.id))
    assert end.run.state == trainer_pb2.RUN_STATE_SUCCEEDED, end.run.error
    assert json.loads(stubs.trainer.GetReport(trainer_pb2.GetReportRequest(run_id=run.id)).report_json)

    promotion = policy_pb2.PromotePolicyRequest(policy_version=run.id, allow_ungated=True, reason="a test")
    version = stubs.policy.PromotePolicy(promotion).change.policy_version
    answer = stubs.policy.Generate(policy_pb2.GenerateRequest(prompts=[common_pb2.Prompt(text=QUESTIONS[0])]))
    assert (answer.policy_version, answer.policy_alias) == (version, "production")

    labels = _labels(stubs, run.id)
    pairs_of_run = stubs.data.ListComparisons(dataset_pb2.ListComparisonsRequest(run_id=run.id, page_size=1000))
    assert {label.comparison_id for label in labels} <= {pair.id for pair in pairs_of_run.comparisons}
    samples = stubs.data.ListSamples(dataset_pb2.ListSamplesRequest(run_id=run.id, page_size=1000)).samples
    assert {sample.prompt.messages[-1].content for sample in samples} <= set(QUESTIONS)
    steps = stubs.data.ListRevisions(dataset_pb2.ListRevisionsRequest(run_id=run.id)).steps
    assert steps and all(step.critique.principle_id for step in steps)
    rows = _exported(stubs, run.id)
    assert rows and all(row["lineage"]["run_id"] == run.id for row in rows)
    again = stubs.upload("labels", dataset_pb2.DATASET_FORMAT_PREFERENCES, lines(*rows))
    assert again.rows == len(rows)
    _take_policy(stubs, version, tmp_path / "adapter")

    _delete_all(stubs, run.id)


def _labels(stubs: Stubs, run_id: str) -> list[preference_pb2.Preference]:
    request = preference_pb2.ListPreferencesRequest(run_id=run_id, page_size=1000)
    found = list(stubs.preference.ListPreferences(request).preferences)
    assert found
    return found


def _exported(stubs: Stubs, run_id: str) -> list[dict]:
    """The labels of the run for an objective that has some."""
    objectives = {label.objective for label in _labels(stubs, run_id) if not label.abstained}
    content = dataset_pb2.RUN_CONTENT_PREFERENCES
    request = dataset_pb2.ExportRunRequest(run_id=run_id, content=content, objective=min(objectives))
    data = b"".join(answer.data for answer in stubs.data.ExportRun(request))
    return [json.loads(line) for line in data.splitlines()]


def _take_policy(stubs: Stubs, version: str, folder: Path) -> None:
    folder.mkdir()
    for answer in stubs.policy.ExportPolicy(policy_pb2.ExportPolicyRequest()):
        assert answer.policy_version in ("", version)
        if answer.path:
            with (folder / answer.path).open("ab") as file:
                file.write(answer.data)
    assert json.loads((folder / "adapter_config.json").read_text())["peft_type"] == "LORA"
    assert (folder / "adapter_model.safetensors").stat().st_size > 1000
    assert version in (folder / "README.md").read_text()


def _delete_all(stubs: Stubs, run_id: str) -> None:
    stubs.policy.RollbackPolicy(policy_pb2.RollbackPolicyRequest())
    with pytest.raises(grpc.RpcError) as caught:
        stubs.data.DeleteDataset(dataset_pb2.DeleteDatasetRequest(dataset_id="asked"))
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert stubs.trainer.DeleteRun(trainer_pb2.DeleteRunRequest(run_id=run_id)).rows["samples"] > 0
    for dataset in stubs.data.ListDatasets(dataset_pb2.ListDatasetsRequest()).datasets:
        stubs.data.DeleteDataset(dataset_pb2.DeleteDatasetRequest(dataset_id=dataset.name))
    assert not stubs.data.ListDatasets(dataset_pb2.ListDatasetsRequest()).datasets
    assert not stubs.trainer.ListRuns(trainer_pb2.ListRunsRequest()).runs
    assert not stubs.policy.ListPolicies(policy_pb2.ListPoliciesRequest()).policies
