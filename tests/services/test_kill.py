"""kill -9 of the server in every stage: the run goes on, nothing is lost or doubled, the end is the same."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import CharterError
from rlhf_core.records.base import STAGES
from rlhf_core.records.feedback import Preference
from rlhf_core.records.runs import Run
from rlhf_core.store.store import Store
from services.client.client import CharterClient

TINY = RunConfig.model_validate(
    {
        "model": {"threads": 1},
        "critique": {"prompts": 128},
        "sft": {"epochs": 1},
        "label": {"pairs": 128, "base_share": 0.5, "temperature": 1.5, "abstain_gap": 1.0},
        # Whether the judge is any good is not asked of a run this small.
        "gate": {"allow_ungated": True},
        "reward": {"epochs": 1, "members": 2},
        "norm": {"prompts": 16},
        "ppo": {
            **{"steps": 6, "control_steps": 4, "checkpoint_every": 2},
            **{"prompts_per_step": 16, "minibatch_size": 8, "epochs": 1},
        },
        "evaluation": {"prompts": 8, "training_prompts": 8, "bootstrap": 100, "skills": 4},
    }
)


@contextlib.contextmanager
def serving(data: Path, socket: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process of its own; killed without warning at the end of the block."""
    command = ["serve", "--socket", str(socket), "--data", str(data), "-s", "model.threads=1"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from services.cli.main import main; main()", *command], stdout=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        socket.unlink(missing_ok=True)


def ask(client: CharterClient, run_id: str) -> Run:
    """The run, as soon as the server answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return client.trainer.get_run(run_id)
        except CharterError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def wait_for(client: CharterClient, run_id: str, stages: tuple[str, ...]) -> Run:
    deadline = time.monotonic() + 240
    while (run := ask(client, run_id)).stage not in stages and run.state in ("QUEUED", "RUNNING"):
        assert time.monotonic() < deadline, f"run stands still in stage '{run.stage}'"
        time.sleep(0.05)
    return run


def finish(data: Path, socket: Path, run_id: str) -> None:
    with serving(data, socket), CharterClient.connect(f"unix:{socket}") as client:
        run = wait_for(client, run_id, ("nowhere",))
        assert (run.state, run.error) == ("SUCCEEDED", "")


def create(data: Path, socket: Path) -> str:
    with serving(data, socket), CharterClient.connect(f"unix:{socket}") as client:
        deadline = time.monotonic() + 60
        while True:
            try:
                return client.trainer.create_run(TINY, request_id="the-run").id
            except CharterError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def contents(store: Store, run_id: str) -> dict[str, object]:
    """All that a run left, without the ids that carry the run's own."""
    results = store.stage_results.of_run(run_id)
    return {
        "samples": Counter((s.stage, s.prompt.id, s.response) for s in store.samples.of_run(run_id)),
        "revisions": Counter((r.before, r.after, r.reason) for r in store.revisions.of_run(run_id)),
        "votes": Counter(vote.id for vote in store.votes.find(run_id=run_id)),
        "labels": Counter(
            (p.comparison_id, p.objective, p.probability) for p in store.preferences.find(run_id=run_id, labelers="ai")
        ),
        "policies": [
            store.policy_versions.get(results[stage].policy_version).artifact for stage in ("sft", "ppo", "control")
        ],
        "rewards": [store.reward_models.get(name).artifact for name in results["reward"].reward_models.values()],
    }


@pytest.mark.slow
def test_a_server_killed_in_every_stage_ends_where_an_uninterrupted_one_does(tmp_path: Path):
    data, socket = tmp_path / "killed", tmp_path / "s"
    run_id = create(data, socket)
    label: Preference | None = None
    for stage in STAGES:
        with serving(data, socket), CharterClient.connect(f"unix:{socket}") as client:
            reached = wait_for(client, run_id, STAGES[STAGES.index(stage) :])
            time.sleep(0.3)
            # Not earlier: the reward models would learn from it, and the calm run has no such label.
            if stage == "ppo" and reached.state == "RUNNING":
                pair = client.preference.next_comparison("human:ada", "harmless")
                assert pair is not None
                label = client.preference.submit_preference(
                    pair.id, objective="harmless", labeler="human:ada", choice="a", request_id="label-1"
                )
    finish(data, socket, run_id)
    calm_id = create(tmp_path / "calm", socket)
    finish(tmp_path / "calm", socket, calm_id)
    with contextlib.closing(Store.open(data)) as killed, contextlib.closing(Store.open(tmp_path / "calm")) as calm:
        assert killed.integrity_check() == []
        assert contents(killed, run_id) == contents(calm, calm_id)
        assert label is not None
        assert [p.id for p in killed.preferences.find(labelers="human")] == [label.id]
