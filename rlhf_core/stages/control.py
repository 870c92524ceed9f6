"""The control of PPO: the same training from the same policy, but that it is not paid its scores.

What it changes is not the rewards' doing, so the report takes it off before it calls anything PPO's gain.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial

from rlhf_core.config.scalarization import weights_at
from rlhf_core.models.policy import REFERENCE, TRAINED
from rlhf_core.records.models import Checkpoint
from rlhf_core.records.runs import StageResult
from rlhf_core.stages.context import Context, Timer
from rlhf_core.stages.demonstrations import replayed
from rlhf_core.stages.ppo import checkpoint_of, load_policy, train
from rlhf_core.stages.versions import drop_adapters, load_reward_models, publish_policy


def control_stage(ctx: Context) -> StageResult:
    """Train PPO's control for `ppo.control_steps` steps, paid as `ppo.control_pays` says; resume a checkpoint."""
    timer, steps = Timer(), ctx.config.ppo.control_steps
    if not steps:
        return StageResult(run_id=ctx.run.id, stage="control", seconds=timer.seconds)
    config = ctx.config.ppo.model_copy(update={"pays": ctx.config.ppo.control_pays, "steps": steps})
    models = load_reward_models(ctx, ctx.need("reward").reward_models, "control-reward")
    pack = ctx.store.norm_packs.get(ctx.need("norm_pack").norm_pack)
    policy = ctx.tools.on_device(lambda: load_policy(ctx, pack.objectives))
    # Those that the run began with: what someone gives it on the way is PPO's to take up.
    begun = {name: ctx.weights[name] for name in pack.objectives}
    weights, replay = partial(weights_at, config.dial, begun), replayed(ctx).demonstrations
    with closing(train(ctx, "control", policy, models, pack, weights, config, replay)) as training:
        for step in training:
            number = step.metrics.step
            due = number % config.checkpoint_every == 0 or number == steps or ctx.should_stop()
            artifact = checkpoint_of(ctx, step.state) if due else ""
            store = partial(_store, ctx, number, artifact)
            ctx.progress("control", number, steps, store, kl=step.metrics.values["kl"])
    version = publish_policy(ctx, "control", TRAINED, ctx.need("sft").policy_version, steps)
    drop_adapters(ctx, [TRAINED, REFERENCE], models.values())
    return StageResult(run_id=ctx.run.id, stage="control", policy_version=version.id, seconds=timer.seconds)


def _store(ctx: Context, step: int, artifact: str) -> None:
    if artifact:
        ctx.store.checkpoints.add(Checkpoint(run_id=ctx.run.id, stage="control", step=step, artifact=artifact))
