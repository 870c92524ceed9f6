"""How stages keep and load what is trained: policy versions, reward models, their adapters, checkpoints on the way."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from rlhf_core.records.base import Stage, content_id
from rlhf_core.records.models import Checkpoint, PolicyVersion
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.stages.context import Context
from rlhf_core.training.epoch_state import EpochSnapshot

SECONDS = 25.0
"""From one checkpoint to the next: with an update of a large model after it, half a minute of work is lost."""
EXAMPLES = "examples.txt"
"""In a checkpoint, the hash of what is trained on."""
OWNER = "run.txt"
"""In a checkpoint, the run that may drop it."""


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


def artifact_of(ctx: Context, write: Callable[[Path], None]) -> str:
    """Store what is written to a folder as an artifact; returns its digest."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        return ctx.store.artifacts.put_folder(Path(folder))


def drop_adapters(ctx: Context, names: Iterable[str], models: Iterable[RewardModel] = ()) -> None:
    """Drop these adapters from the policy's base, and the reward models' from theirs."""
    trunks = {(model.backbone, model.adapter) for model in models}
    for base, name in [*((ctx.tools.backbone, name) for name in names), *trunks]:
        ctx.tools.on_device(lambda base=base, name=name: base.adapters.delete(name))


def publish_policy(
    ctx: Context, stage: Stage, adapter: str, parent: str, step: int, ungated: bool = False
) -> PolicyVersion:
    """Save the adapter as an artifact and record it as a policy version."""
    save = ctx.tools.backbone.adapters.save
    digest = artifact_of(ctx, lambda folder: ctx.tools.on_device(lambda: save(adapter, folder)))
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


class EpochCheckpoints:
    """Of a training by epochs, twice a minute and when its run is asked to stop; `done` steps of the stage are past.

    The latest counts; those before it go, with their files.
    """

    def __init__(self, ctx: Context, stage: Stage, examples: Iterable[object], done: int = 0):
        """`examples` are what is trained on: a checkpoint of others is none of this training."""
        self._ctx, self._done = ctx, done
        self._stage: Stage = stage
        self._examples = content_id("examples", *map(repr, examples))
        self._at = time.monotonic()
        self._taken: Checkpoint | None = None
        self._left: list[str] = []

    def latest(self) -> Path | None:
        """Return the folder that this training goes on from; none where it begins."""
        saved = self._ctx.store.checkpoints.latest(self._ctx.run.id, self._stage)
        if saved is None or saved.step <= self._done:
            return None
        folder = self._ctx.store.artifacts.get_folder(saved.artifact)
        learned = folder / EXAMPLES
        if learned.is_file() and learned.read_text() == self._examples:
            return folder
        self._ctx.note(f"what stage '{self._stage}' learns from has changed since step {saved.step}: it begins anew")
        return None

    def keep(self, state: EpochSnapshot) -> None:
        """Take a checkpoint if one is due. To be called where the model is used, and before its step is told."""
        if time.monotonic() - self._at < SECONDS and not self._ctx.should_stop():
            return
        self._ctx.store.garbage.drop(self._left, idle_seconds=0)
        self._left.clear()

        def write(folder: Path) -> None:
            state.save(folder)
            (folder / EXAMPLES).write_text(self._examples)
            # So that no other run has the same files, and the row that names them is not still to come.
            (folder / OWNER).write_text(self._ctx.run.id)

        artifact, step = artifact_of(self._ctx, write), self._done + state.update
        self._taken = Checkpoint(run_id=self._ctx.run.id, stage=self._stage, step=step, artifact=artifact)
        self._at = time.monotonic()

    def store(self) -> None:
        """Store the checkpoint that was taken after a step, where one was, in the commit that tells the step."""
        if self._taken:
            self._left += self._ctx.store.checkpoints.replace(self._taken)
            self._taken = None
