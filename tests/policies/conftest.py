"""Runs with policies in a store, as the pipeline would have left them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.records.base import RunState
from rlhf_core.records.models import PolicyVersion
from rlhf_core.records.runs import StageResult
from rlhf_core.store.store import Store
from tests.records import judge_gate, reward_model

Trained = Callable[..., str]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def trained(store: Store) -> Trained:
    """A run that trained a policy; returns the version's id."""

    def train(
        name: str, *, stage: str = "ppo", state: RunState = "SUCCEEDED", gate: bool | None = True, done: bool = True
    ) -> str:
        """`gate` says how the judge of harm stands, None that no judge labelled; without `done` the stage goes on."""
        run = store.runs.create("pipeline", RunConfig().model_dump_json(), "k", "")
        claimed = store.runs.claim("elsewhere:1:1", 3600)
        assert claimed is not None and claimed.id == run.id
        if gate is not None:
            store.stage_results.add(StageResult(run_id=run.id, stage="critique"))
            store.stage_results.add(StageResult(run_id=run.id, stage="label"))
            reason = "" if gate else "agrees with gold on 53.0% of 33 pairs"
            given: dict[str, Any] = {"objective": "harmless", "passed": gate, "reason": reason}
            store.gates.add(judge_gate(id=f"gate-{name}", run_id=run.id, **given))
        model = reward_model(id=f"rm-{name}", run_id=run.id, objective="harmless", ungated=gate is False)
        store.reward_models.add(model if gate is not None else model.model_copy(update={"human_pairs": model.pairs}))
        store.stage_results.add(StageResult(run_id=run.id, stage="reward", reward_models={"harmless": f"rm-{name}"}))
        made = {"id": name, "run_id": run.id, "stage": stage, "parent": "base", "base_model": "b"}
        store.policy_versions.add(
            PolicyVersion.model_validate({**made, "artifact": "0" * 64, "ungated": gate is False and stage == "ppo"})
        )
        if done:
            result = {"run_id": run.id, "stage": stage, "policy_version": name}
            store.stage_results.add(StageResult.model_validate(result))
        if state != "RUNNING":
            store.runs.release(run.id, claimed.fence, state)
        return name

    return train
