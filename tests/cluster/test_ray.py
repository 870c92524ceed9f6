"""An installation on a real Ray cluster of one node: it starts, works, loses processes, and is gone without a trace.

Left out where Ray is not installed: pip install -e '.[dev,postgres,ray]', then pytest -m slow tests/cluster
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest
from charter.v1 import dataset_pb2, dataset_pb2_grpc, policy_pb2, policy_pb2_grpc, trainer_pb2, trainer_pb2_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.records.runs import Run
from rlhf_core.records.samples import Prompt
from rlhf_core.store.databases.place import connect_to
from services.client.client import CharterClient
from services.embedded import embedded_server
from tests.cluster.ray_head import actors
from tests.cluster.ray_head import learners_of_ray as learner_pids
from tests.processes import HERE, MAIN, ROOT
from tests.small_run import SMALL, Outcome, finished, outcome

if TYPE_CHECKING:
    from tests.store.postgres_server import Server

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
PATIENCE = 300.0
EACH = ["--cpus", "0.3", "-s", "model.threads=1"]
"""So that six processes have room on four CPUs."""
LONGER = SMALL.model_copy(update={"ppo": SMALL.ppo.model_copy(update={"steps": 6})})
"""With time between the first step of PPO, which is looked for twice a second, and the last."""


class Place(NamedTuple):
    """What the processes share, and where the tests look into it."""

    database: str
    artifacts: str
    data: Path

    @property
    def options(self) -> list[str]:
        return ["--store", self.database, "--artifacts", self.artifacts, "--data", str(self.data)]


@pytest.fixture(scope="module")
def ray() -> Iterator[str]:
    from tests.cluster.ray_head import head

    with head() as found:
        yield found.dashboard


@pytest.fixture(scope="module")
def place(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("ray")
    return Place(postgres.empty(), f"file://{folder}/shared", folder / "data")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Of SQLite and one process."""
    data = tmp_path_factory.mktemp("sqlite")
    with embedded_server(data, SMALL.model) as address, CharterClient.connect(address) as client:
        run_id = finished(client, LONGER)
    return outcome(data, run_id)


def charter(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", MAIN, "cluster", *words]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("CHARTER")}
    return subprocess.run(command, cwd=ROOT, env=inherited | HERE, capture_output=True, text=True, check=False)


def up(ray: str, place: Place, *words: str) -> str:
    """The address of an installation that serves."""
    done = charter("up", "--ray", ray, "--insecure", *EACH, *place.options, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "serving on" in done.stdout
    return standing(ray)["address"]


def standing(ray: str) -> dict[str, Any]:
    return json.loads(charter("status", "--ray", ray, "--json").stdout)


def pids(ray: str, role: str) -> set[int]:
    deployments = standing(ray)["application"]["deployments"]
    return {one["pid"] for one in deployments[role]["replicas"] if one["state"] == "RUNNING"}


def eventually(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def reached(client: CharterClient, run_id: str, stage: str) -> Run:
    deadline = time.monotonic() + PATIENCE
    while (run := client.trainer.get_run(run_id)).stage != stage and run.state in ("QUEUED", "RUNNING"):
        assert time.monotonic() < deadline, f"run stands still in stage '{run.stage}'"
        time.sleep(0.05)
    return run


def owner(run_id: str, place: Place) -> int | None:
    """The process that carries out a run."""
    with contextlib.closing(connect_to(place.database)) as connections:
        [row] = connections.rows("SELECT lease_owner FROM runs WHERE id = ?", [run_id])
    return int(row["lease_owner"].split(":")[1]) if row["lease_owner"] else None


def test_a_run_ends_like_that_of_one_process_though_its_worker_and_the_policy_are_killed(
    ray: str, place: Place, calm: Outcome
):
    with CharterClient.connect(up(ray, place, "--workers", "2")) as client:
        run_id = client.trainer.create_run(LONGER).id
        reached(client, run_id, "critique")
        [policy] = pids(ray, "policy")
        os.kill(policy, signal.SIGKILL)
        assert reached(client, run_id, "reward").attempt == 1
        killed, workers = owner(run_id, place), pids(ray, "worker")
        assert killed in workers and len(workers) == 2
        os.kill(killed, signal.SIGKILL)
        for _ in client.trainer.watch_run(run_id):
            pass
        run = client.trainer.get_run(run_id)
        assert not run.error, run.error
        assert (run.state, run.attempt) == ("SUCCEEDED", 2)
    assert outcome(place.data, run_id) == calm
    eventually(lambda: len(pids(ray, "worker") - {killed}) == 2, "the killed worker did not come back")


def test_calls_come_back_with_what_the_server_said_and_of_streams_that_fail_without_details(ray: str, place: Place):
    address = up(ray, place, "--workers", "2")
    with CharterClient.connect(address) as client, grpc.insecure_channel(address) as channel:
        with pytest.raises(NotFound, match="no run 'nobody'"):
            client.trainer.get_run("nobody")
        with pytest.raises(InvalidInput) as wrong:
            client.policy.generate([Prompt.of("How?")], n=300)
        assert wrong.value.field == "n"
        assert client.policy.get_server_info().base_model == "sandbox"
        policy = policy_pb2_grpc.PolicyServiceStub(channel)
        assert list(policy.GenerateStream(policy_pb2.GenerateStreamRequest(prompt={"text": "How?"})))[-1].finished
        trainer = trainer_pb2_grpc.TrainerServiceStub(channel)
        with pytest.raises(grpc.RpcError) as once:
            trainer.GetRun(trainer_pb2.GetRunRequest(run_id="nobody"))
        status = rpc_status.from_call(once.value)
        assert status is not None and status.details[0].Is(error_details_pb2.ErrorInfo.DESCRIPTOR)
        with pytest.raises(grpc.RpcError) as stream:
            list(trainer.WatchRun(trainer_pb2.WatchRunRequest(run_id="nobody")))
        assert (stream.value.code(), stream.value.details()) == (once.value.code(), "no run 'nobody' in the store")
        assert rpc_status.from_call(stream.value) is None
        parts = iter([dataset_pb2.UploadDatasetRequest(chunk=dataset_pb2.DatasetChunk(data=b"x"))])
        with pytest.raises(grpc.RpcError) as upload:
            dataset_pb2_grpc.DatasetServiceStub(channel).UploadDataset(parts)
        assert upload.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_two_learners_of_ray_train_end_like_one_process_though_one_is_killed(ray: str, place: Place, calm: Outcome):
    before = learner_pids()
    with CharterClient.connect(up(ray, place, "--workers", "1", "--learners", "2")) as client:
        run_id = client.trainer.create_run(LONGER).id
        reached(client, run_id, "ppo")
        eventually(
            lambda: (run := client.trainer.get_run(run_id)).step >= 1 or run.stage != "ppo", "no step of PPO is done"
        )
        two, run = learner_pids() - before, client.trainer.get_run(run_id)
        assert (run.stage, run.attempt, len(two)) == ("ppo", 1, 2), run.error
        os.kill(min(two), signal.SIGKILL)
        for _ in client.trainer.watch_run(run_id):
            pass
        run = client.trainer.get_run(run_id)
        assert not run.error, run.error
        assert (run.state, run.attempt) == ("SUCCEEDED", 2)
    assert (place.data / "runs" / run_id / "learner" / "ray").is_dir()
    found = outcome(place.data, run_id)
    assert found.votes == calm.votes
    for (stage, numbers), (_, expected) in zip(found.numbers, calm.numbers, strict=True):
        assert numbers == pytest.approx(expected, rel=1e-3, abs=1e-4), stage
    eventually(lambda: not learner_pids() - before, "learners are left")


def test_down_leaves_nothing_of_ours_and_all_of_others(ray: str, place: Place):
    from services.cluster.dashboard import RayDashboard

    with CharterClient.connect(up(ray, place)) as client:
        run_id = client.trainer.create_run(SMALL).id
        reached(client, run_id, "label")
    dashboard = RayDashboard(ray)
    now = dashboard.serving()
    ours = now.applications["charter"].deployed_app_config
    other = {"name": "other", "route_prefix": "/other", "import_path": "tests.cluster.tenant:app"}
    dashboard.deploy({"applications": [ours, other]})
    eventually(lambda: dashboard.serving().applications["other"].status == "RUNNING", "the other does not run")
    with CharterClient.connect(standing(ray)["address"]) as client:
        assert client.trainer.get_run(run_id).id == run_id
    done = charter("down", "--ray", ray)
    assert (done.returncode, done.stdout) == (0, "all processes have ended\n")
    assert {name: one.status for name, one in dashboard.serving().applications.items()} == {"other": "RUNNING"}
    assert owner(run_id, place) is None

    assert {name for name in actors(ray) if "charter" in name} == set()
    up(ray, place)
    assert set(dashboard.serving().applications) == {"other", "charter"}
    dashboard.deploy({"applications": [dashboard.serving().applications["charter"].deployed_app_config]})
    eventually(lambda: "other" not in dashboard.serving().applications, "the other stays")
    assert charter("down", "--ray", ray).returncode == 0
    eventually(lambda: actors(ray) == set(), "actors are left")
    assert standing(ray) == {"address": None, "application": None}


def test_what_does_not_fit_and_what_cannot_start_is_said_at_once(ray: str, place: Place):
    many = charter("up", "--ray", ray, "--insecure", *place.options, "-s", "model.threads=2")
    assert many.returncode == 2 and "ask for 9 CPU, and the cluster has 4 CPU" in many.stderr
    large = charter("up", "--ray", ray, "--insecure", *place.options, "-s", "model.device=cuda")
    assert large.returncode == 2 and "1 GPU, and" in large.stderr
    wrong = "postgresql://nobody@127.0.0.1:1/nothing"
    failed = charter("up", "--ray", ray, "--insecure", *EACH, "--data", str(place.data / "new"), "--store", wrong)
    assert failed.returncode == 5 and "policy: rlhf_core.errors." in failed.stderr and "127.0.0.1" in failed.stderr
    assert len(failed.stderr.splitlines()) <= 10
    assert charter("down", "--ray", ray).returncode == 0
