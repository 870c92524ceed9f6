"""OpenAI's own client uploads files, starts fine-tuning jobs on them, looks on, and stops them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from rlhf_core.config.run import ModelConfig, RunConfig
from rlhf_core.records.models import PolicyVersion
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from services.server.config import HttpConfig, ServeConfig
from tests.services.apps import started
from tests.services.conftest import SLOW_SEED, few_steps
from tests.services.http.conftest import Edge

SHOWN = b'{"messages": [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "Yes."}]}\n'
PROMPTS = b'{"prompt": "How do I dust?"}\n{"prompt": "How do I sweep?"}\n'
PAIRS = b'{"prompt": "Tea?", "chosen": "Yes.", "rejected": "No."}\n'


@pytest.fixture(scope="module")
def edge(
    tmp_path_factory: pytest.TempPathFactory, model_config: ModelConfig, trained: Callable[[Path], str]
) -> Iterator[Edge]:
    """A server that carries out runs of a few steps."""
    data = tmp_path_factory.mktemp("jobs")
    run = trained(data)
    add_run_with_a_control(data)
    config = ServeConfig(
        address=f"unix:{data}/s", data=data, model=model_config, http=HttpConfig(address="127.0.0.1:0")
    )
    with (
        started(config, few_steps) as app,
        httpx2.Client(base_url=app.http_address, timeout=60) as http,
        CharterClient.connect(app.address, timeout_seconds=60) as client,
    ):
        yield Edge(app.http_address, http, client, run, "")


def add_run_with_a_control(data: Path) -> None:
    """Finished, and named so."""
    with closing(Store.open(data)) as store:
        constitution = store.runs.page(1)[0][0].constitution_hash
        run = store.runs.create("pipeline", RunConfig().model_dump_json(), constitution, "r", "with a control")
        claimed = store.runs.claim("elsewhere:1:1", 3600)
        assert claimed and claimed.id == run.id
        for stage in ("ppo", "control"):
            store.policy_versions.add(
                PolicyVersion(id=f"policy-{stage}", run_id=run.id, stage=stage, parent="", base_model="m", artifact="")
            )
        store.runs.release(run.id, claimed.fence, "SUCCEEDED")


@pytest.fixture(scope="module")
def client(edge: Edge) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{edge.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def ended(client: openai.OpenAI, job_id: str) -> Any:
    for _ in range(300):
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.status in ("succeeded", "failed", "cancelled"):
            return job
        time.sleep(0.1)
    raise AssertionError("the job does not end")


def test_a_file_is_a_dataset_and_comes_back_byte_for_byte(edge, client):
    file = client.files.create(file=("My shown.jsonl", SHOWN), purpose="fine-tune")
    assert file.id.startswith("my-shown-") and (file.bytes, file.filename) == (len(SHOWN), "My shown.jsonl")
    assert (file.object, file.status, file.purpose) == ("file", "processed", "fine-tune")
    assert abs(file.created_at - time.time()) < 60
    assert client.files.create(file=("My shown.jsonl", SHOWN), purpose="fine-tune").id == file.id
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == SHOWN
    assert edge.grpc.datasets.get(file.id).dataset.format == "demonstrations"
    other = client.files.create(file=("asked.jsonl", PROMPTS), purpose="fine-tune")
    assert [found.id for found in client.files.list()][:2] == [other.id, file.id]
    assert [found.id for found in client.files.list(limit=1)][:2] == [other.id, file.id]
    assert client.files.list(purpose="batch").data == []
    gone = client.files.delete(other.id)
    assert (gone.id, gone.deleted) == (other.id, True)
    with pytest.raises(openai.NotFoundError, match="no dataset"):
        client.files.retrieve(other.id)


def test_a_large_file_comes_piece_by_piece(edge, client, tmp_path):
    (tmp_path / "rows").write_text("".join(f'{{"prompt": "{number} {"x" * 10_000}"}}\n' for number in range(300)))
    stored = edge.grpc.datasets.upload(tmp_path / "rows", "large", "prompts")
    with edge.http.stream("GET", f"/v1/files/{stored.id}/content") as answer:
        assert answer.status_code == 200 and "content-length" not in answer.headers
        assert "x-request-id" in answer.headers
        found = b"".join(answer.iter_bytes())
    assert found == (tmp_path / "rows").read_bytes() and len(found) > 3e6
    assert edge.http.get("/v1/files/absent/content").status_code == 404


def test_a_job_is_a_run_that_is_watched_to_its_end(edge, client):
    file = client.files.create(file=("shown.jsonl", SHOWN), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model="base",
        training_file=file.id,
        seed=3,
        suffix="mine",
        metadata={"team": "house"},
        hyperparameters={"n_epochs": 2},
        extra_body={"config": {"constitution": "household"}},
    )
    assert job.training_file == file.id and job.seed == 3 and job.status in ("queued", "running")
    assert job.hyperparameters.n_epochs == 2 and job.method is not None and job.method.type == "supervised"
    run = edge.grpc.trainer.get_run(job.id)
    assert (run.kind, run.display_name, run.tags) == ("sft", "mine", {"team": "house"})
    assert json.loads(run.config)["data"]["demonstrations"].startswith(f"dataset:{file.id}@")
    done = ended(client, job.id)
    assert (done.status, done.error) == ("succeeded", None) and done.finished_at >= done.created_at
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=4))
    assert len({event.id for event in events}) == len(events) > 8
    assert "SUCCEEDED" in events[0].message and events[-1].message == "state: QUEUED"
    steps = [event.data for event in events if event.type == "metrics"]
    assert [step["step"] for step in steps] == list(range(8, 0, -1)) and "loss" in steps[0]
    assert client.fine_tuning.jobs.list(limit=1).data[0].id == job.id
    with pytest.raises(openai.ConflictError, match="what runs were given"):
        client.files.delete(file.id)


def test_the_checkpoints_of_a_job_are_the_versions_that_it_made(edge, client):
    assert client.fine_tuning.jobs.retrieve(edge.run).fine_tuned_model == "policy-1"
    (found,) = client.fine_tuning.jobs.checkpoints.list(edge.run)
    assert (found.fine_tuned_model_checkpoint, found.fine_tuning_job_id) == ("policy-1", edge.run)
    assert found.object == "fine_tuning.job.checkpoint" and found.step_number == 0


def test_the_model_of_a_job_is_the_trained_policy_and_never_its_control(edge, client):
    job = client.fine_tuning.jobs.retrieve(edge.grpc.trainer.get_run("with a control").id)
    assert (job.status, job.fine_tuned_model) == ("succeeded", "policy-ppo")
    made = client.fine_tuning.jobs.checkpoints.list(job.id)
    assert [each.fine_tuned_model_checkpoint for each in made] == ["policy-control", "policy-ppo"]


def test_a_job_is_paused_resumed_and_cancelled(client):
    file = client.files.create(file=("asked.jsonl", PROMPTS), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model="base",
        training_file=file.id,
        validation_file=client.files.create(file=("held.jsonl", b'{"prompt": "Held?"}\n'), purpose="fine-tune").id,
        method={"type": "reinforcement"},
        seed=SLOW_SEED,
        extra_body={"config": {"constitution": "household", "gate": {"allow_ungated": True}}},
    )
    assert job.method is not None and job.method.type == "reinforcement" and job.validation_file
    client.fine_tuning.jobs.pause(job.id)
    for _ in range(100):
        if client.fine_tuning.jobs.retrieve(job.id).status == "paused":
            break
        time.sleep(0.1)
    assert client.fine_tuning.jobs.retrieve(job.id).status == "paused"
    assert client.fine_tuning.jobs.resume(job.id).status in ("queued", "running")
    client.fine_tuning.jobs.cancel(job.id)
    assert ended(client, job.id).status == "cancelled"
    with pytest.raises(openai.ConflictError, match="CANCELLED"):
        client.fine_tuning.jobs.resume(job.id)


def test_a_bad_row_of_a_file_is_told_by_its_line_and_nothing_stays(edge, client):
    before = len(edge.grpc.datasets.list().datasets)
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("bad.jsonl", SHOWN + b'{"messages": []}\n'), purpose="fine-tune")
    assert "bad.jsonl:2:" in caught.value.message and caught.value.param == "file"
    assert len(edge.grpc.datasets.list().datasets) == before


@pytest.mark.parametrize(
    ("file", "more", "param", "told"),
    [
        (("x.jsonl", SHOWN), {"purpose": "batch"}, "purpose", "allowed: fine-tune"),
        (("x.jsonl", SHOWN), {"expires_after": {"anchor": "created_at", "seconds": 3600}}, "expires_after", "leave it"),
        (("x.jsonl", b""), {}, "file", "no rows"),
        (("x.jsonl", b"not json\n"), {}, "file", "x.jsonl:1: this is not JSON"),
        (("x.jsonl", b'{"question": 1}\n'), {}, "file", "no key of this row"),
        (("x.jsonl", b"PAR1 no"), {}, "file", "Parquet"),
    ],
)
def test_a_file_that_cannot_be_is_refused_with_its_field(client, file, more, param, told):
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(**{"file": file, "purpose": "fine-tune", **more})
    assert str(caught.value.param).startswith(param) and told in caught.value.message, caught.value.message


@pytest.mark.parametrize(
    ("asked", "param", "told"),
    [
        ({"model": "gpt-9"}, "model", "allowed: base"),
        ({"training_file": "absent"}, None, "no dataset"),
        ({"training_file": "A B"}, "training_file", "dataset:NAME"),
        ({"training_file": "PAIRS"}, "training_file", "holds preferences"),
        ({"method": {"type": "dpo"}}, "method.type", "supervised"),
        ({"method": {"type": "reinforcement"}}, "training_file", "for reinforcement"),
        ({"hyperparameters": {"learning_rate_multiplier": 3}}, "hyperparameters", ""),
        ({"hyperparameters": {"n_epochs": 0}}, "sft.epochs", ""),
        ({"validation_file": "PAIRS"}, "validation_file", "supervised"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]}, "integrations", ""),
        ({"metadata": {"a b": "x"}}, "tags", "cannot be a key"),
        ({"seed": -1}, "seed", ""),
        ({"suffix": "x" * 65}, "suffix", ""),
        ({"extra_body": {"config": {"ppo": {"stepz": 1}}}}, "ppo.stepz", ""),
        ({"extra_body": {"config": {"model": {"base_model": "other"}}}}, "model.base_model", "this server has"),
        ({"extra_body": {"nonsense": 1}}, "nonsense", ""),
    ],
)
def test_a_job_that_cannot_be_is_refused_with_its_field_and_none_is_made(edge, client, asked, param, told):
    shown = client.files.create(file=("shown.jsonl", SHOWN), purpose="fine-tune").id
    pairs = client.files.create(file=("pairs.jsonl", PAIRS), purpose="fine-tune").id
    given = {name: pairs if value == "PAIRS" else value for name, value in asked.items()}
    before = len(edge.grpc.trainer.list_runs(1000).runs)
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as caught:
        client.fine_tuning.jobs.create(**{"model": "base", "training_file": shown, **given})
    assert (param or "") in str(caught.value.param or "") and told in caught.value.message, caught.value.body
    assert len(edge.grpc.trainer.list_runs(1000).runs) == before


@pytest.mark.parametrize(
    ("verb", "path", "status", "told"),
    [
        ("GET", "/v1/files?limit=0", 400, "allowed: 1 to"),
        ("GET", "/v1/files?limit=%C2%B2", 400, "allowed: 1 to"),
        ("GET", "/v1/files?order=up", 400, "allowed: asc, desc"),
        ("GET", "/v1/files?after=nobody", 400, "not in this list"),
        ("GET", "/v1/files/..%2F..%2Fetc", 404, ""),
        ("DELETE", "/v1/files/absent", 404, "no dataset"),
        ("PUT", "/v1/files", 405, "asked by POST or GET"),
        ("POST", "/v1/files", 400, "multipart/form-data"),
        ("GET", "/v1/files/absent/content", 404, "no dataset"),
        ("GET", "/v1/fine_tuning/jobs/run-9", 404, "no run"),
        ("POST", "/v1/fine_tuning/jobs/run-9/cancel", 404, "no run"),
        ("GET", "/v1/fine_tuning/jobs/run-9/events", 404, "no run"),
        ("GET", "/v1/fine_tuning/jobs/RUN/events?after=x", 400, "no event's id"),
        ("GET", "/v1/fine_tuning/jobs/RUN/checkpoints?after=x", 400, "not in this list"),
        ("POST", "/v1/fine_tuning/jobs", 400, "not JSON"),
        ("DELETE", "/v1/fine_tuning/jobs/RUN", 405, "asked by GET"),
    ],
)
def test_other_wrong_calls_say_what_is_wrong(edge, verb, path, status, told):
    answer = edge.http.request(verb, path.replace("RUN", edge.run))
    assert answer.status_code == status and told in answer.json()["error"]["message"], answer.text


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "multipart/form-data"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\nhi\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (b"garbage", "multipart/form-data; boundary=y"),
        (b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n\xff\r\n--x--", "multipart/form-data; boundary=x"),
        (b"a=b", "application/x-www-form-urlencoded"),
    ],
)  # fmt: skip
def test_a_form_that_is_none_is_refused(edge, body, kind):
    answer = edge.http.post("/v1/files", content=body, headers={"content-type": kind})
    assert answer.status_code == 400 and answer.json()["error"]["message"], answer.text
