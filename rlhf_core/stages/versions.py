"""How stages keep and load what is trained: policy versions, reward models, their adapters, checkpoints on the way."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from rlhf_core.records.base import Stage, content_id
from rlhf_core.records.models import Checkpoint, PolicyVersion
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.stages.context import Context
from rlhf_core.training.epoch_state import EpochState

SECONDS = 25.0
"""From one checkpoint to the next: with an update of a large model after it, half a minute of work is lost."""


def load_reward_models(ctx: Context, versions: Mapping[str, str], prefix: str) -> dict[str, RewardModel]:
    """Load reward models, by objective, as adapters named by the prefix; models of one trunk share an adapter."""
    models: dict[str, RewardModel] = {}
    adapters: dict[str, str] = {}
    for objective, version_id in versions.items():
        version = ctx.store.reward_models.get(version_id)
        folder, fresh = ctx.store.artifacts.get_folder(version.artifact), version.artifact not in adapters
        name = adapters.setdefault(version.artifact, f"{prefix}-{len(adapters)}")

        def load(version=version, folder: Path = folder, name: str = name, fresh: bool = fresh) -> RewardModel:
            base = ctx.tools.base_of(version.base_model)
            if fresh and name in base.adapters:
                base.adapters.delete(name)
            return RewardModel.load(base, name, folder, version.objective)

        models[objective] = ctx.tools.on_device(load)
    return models


def drop_adapters(ctx: Context, names: Iterable[str], models: Iterable[RewardModel] = ()) -> None:
    """Drop these adapters from the policy's base, and the reward models' from theirs."""
    trunks = {(model.backbone, model.adapter) for model in models}
    for base, name in [*((ctx.tools.backbone, name) for name in names), *trunks]:
        ctx.tools.on_device(lambda base=base, name=name: base.adapters.delete(name))


def publish_policy(
    ctx: Context, stage: Stage, adapter: str, parent: str, step: int, ungated: bool = False
) -> PolicyVersion:
    """Save the adapter as an artifact and record it as a policy version."""
    with tempfile.TemporaryDirectory() as folder:
        ctx.tools.on_device(lambda: ctx.tools.backbone.adapters.save(adapter, Path(folder)))
        digest = ctx.store.artifacts.put_folder(Path(folder))
    version = PolicyVersion(
        id=content_id("policy", ctx.run.id, stage, digest),
        run_id=ctx.run.id,
        stage=stage,
        parent=parent,
        base_model=ctx.tools.backbone.name,
        artifact=digest,
        step=step,
        ungated=ungated,
    )
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        ctx.store.policy_versions.add(version)
    return version


def fresh_adapter(ctx: Context, adapter: str, seed: int) -> None:
    """Make a new adapter; one that a failed attempt in this process left under the name is dropped."""
    if adapter in ctx.tools.backbone.adapters:
        ctx.tools.backbone.adapters.delete(adapter)
    ctx.tools.backbone.adapters.add(adapter, seed)


class EpochCheckpoints:
    """Of a training by epochs, twice a minute and when its run is asked to stop; `done` steps of the stage are past."""

    def __init__(self, ctx: Context, stage: Stage, done: int = 0):
        self._ctx, self._done = ctx, done
        self._stage: Stage = stage
        self._at = time.monotonic()

    def latest(self) -> Path | None:
        """The folder that this training goes on from; none where it begins."""
        saved = self._ctx.store.checkpoints.latest(self._ctx.run.id, self._stage)
        return self._ctx.store.artifacts.get_folder(saved.artifact) if saved and saved.step > self._done else None

    def keep(self, state: EpochState) -> None:
        """Store a checkpoint if one is due. To be called where the model is used."""
        if time.monotonic() - self._at < SECONDS and not self._ctx.should_stop():
            return
        with tempfile.TemporaryDirectory() as folder:
            state.save(Path(folder))
            artifact = self._ctx.store.artifacts.put_folder(Path(folder))
        step = self._done + state.optimizer.update
        with self._ctx.store.transaction(self._ctx.run.id, self._ctx.run.fence):
            self._ctx.store.checkpoints.add(
                Checkpoint(run_id=self._ctx.run.id, stage=self._stage, step=step, artifact=artifact)
            )
        self._at = time.monotonic()
