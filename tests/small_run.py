"""A whole run that is over in half a minute, and what it leaves that must not depend on where or how it ran."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from rlhf_core.config.run import RunConfig
from rlhf_core.records.base import STAGES
from rlhf_core.records.runs import StepMetrics
from rlhf_core.store.store import Store
from services.client.client import CharterClient

SMALL = RunConfig.model_validate(
    {
        "model": {"threads": 1},
        "critique": {"prompts": 12, "rounds": 1},
        "sft": {"epochs": 1},
        "label": {"pairs": 24, "base_share": 0.5, "temperature": 1.5, "principles_per_label": 1},
        # Whether the judge is any good is not asked of a run this small.
        "gate": {"allow_ungated": True},
        "reward": {"epochs": 1, "members": 1},
        "norm": {"prompts": 8},
        "ppo": {
            **{"steps": 2, "control_steps": 1, "checkpoint_every": 1},
            **{"prompts_per_step": 8, "minibatch_size": 8, "epochs": 1},
        },
        "evaluation": {"prompts": 4, "training_prompts": 4, "bootstrap": 100, "skills": 0},
    }
)
OF_THE_RUN = ("created_at", "wall_seconds", "stage_seconds", "peak_memory_mb")
"""What a report says of the run itself rather than of its result."""


class Outcome(NamedTuple):
    weights: list[str]
    """Digests of the adapters: equal digests are equal bytes."""
    responses: list[tuple[str, str, str]]
    votes: list[str]
    numbers: list[tuple[str, dict[str, float]]]
    metrics: list[StepMetrics]
    """Of each training step, without what the clock says; one that was done twice is here once if it came out alike."""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(repr(tuple(self)).encode()).hexdigest()


def outcome(data: Path, run_id: str) -> Outcome:
    with contextlib.closing(Store.open(data)) as store:
        results = store.stage_results.of_run(run_id)
        assert tuple(results) == STAGES
        policies = [
            store.policy_versions.get(results[stage].policy_version).artifact for stage in ("sft", "ppo", "control")
        ]
        rewards = [store.reward_models.get(name).artifact for name in results["reward"].reward_models.values()]
        return Outcome(
            weights=policies + rewards,
            responses=sorted((s.stage, s.prompt.id, s.response) for s in store.samples.of_run(run_id)),
            votes=sorted(vote.model_dump_json(exclude={"run_id"}) for vote in store.votes.find(run_id=run_id)),
            numbers=[(stage, dict(results[stage].numbers)) for stage in STAGES],
            metrics=metrics_of(store, run_id),
        )


def metrics_of(store: Store, run_id: str) -> list[StepMetrics]:
    """What each training step told, in order, without what the clock says."""
    events = store.events.of_run(run_id, limit=100_000)
    told = [StepMetrics.model_validate_json(event.body) for event in events if event.kind == "metrics"]
    timeless = [
        step.model_copy(update={"values": {name: n for name, n in step.values.items() if "second" not in name}})
        for step in told
        if step.values
    ]
    return sorted({step.model_dump_json(): step for step in timeless}.values(), key=lambda one: (one.stage, one.step))


def finished(client: CharterClient, config: RunConfig = SMALL) -> str:
    """The id of a small run that has been carried out."""
    run = client.trainer.create_run(config)
    for _ in client.trainer.watch_run(run.id):
        pass
    ended = client.trainer.get_run(run.id)
    assert (ended.state, ended.error) == ("SUCCEEDED", "")
    return run.id


def report(client: CharterClient, run_id: str) -> dict[str, Any]:
    """The report without what tells one run from another: its id, and ids that are made of it."""
    text = client.trainer.get_report(run_id).replace(run_id, "RUN")
    result = json.loads(re.sub(r"\b([a-z]+)-[0-9a-f]{20}\b", r"\1-ID", text))
    result["curves"] = [curve for curve in result["curves"] if "seconds" not in curve["name"]]
    return {name: value for name, value in result.items() if name not in OF_THE_RUN}
