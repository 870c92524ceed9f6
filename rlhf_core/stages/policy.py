"""The stage that optimises the policy: PPO from the SFT policy, held-out gold in view, a checkpoint every few steps."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rlhf_core.models.generation import generate
from rlhf_core.models.policy import Policy
from rlhf_core.models.reward_model import RewardModel
from rlhf_core.records import Prompt
from rlhf_core.run_records import Checkpoint, NormPack, Score, StageResult
from rlhf_core.stages.context import Context, Timer
from rlhf_core.stages.prompts import draw, prompts_of, stamp
from rlhf_core.stages.training import publish_policy
from rlhf_core.stages.watching import Watch
from rlhf_core.training.ppo_state import PpoState
from rlhf_core.training.ppo_trainer import PpoStep, train_ppo

TRAINED, REFERENCE = "ppo-policy", "ppo-reference"
WATCHED = 48
"""Held-out prompts that are sampled now and then to draw the held-out curve."""


def ppo_stage(ctx: Context) -> StageResult:
    """Rollouts -> K scores -> weights -> policy; resumes from the last checkpoint."""
    timer = Timer()
    models = load_reward_models(ctx)
    pack = ctx.store.norm_pack(ctx.need("norm_pack").norm_pack)
    policy = ctx.tools.on_device(lambda: _load_policy(ctx, pack.objectives))
    saved = ctx.store.latest_checkpoint(ctx.run.id, "ppo")
    steps = train_ppo(
        policy,
        [models[name] for name in pack.objectives],
        pack,
        prompts_of(ctx, "train"),
        {name: ctx.weights[name] for name in pack.objectives},
        ctx.config.ppo,
        ctx.config.model.max_tokens,
        ctx.config.seed,
        ctx.store.artifacts.get_folder(saved.artifact) if saved else None,
    )
    numbers: dict[str, float] = {}
    watch = Watch(ctx)
    for step in filter(None, ctx.units(steps)):
        numbers = _after_step(ctx, step, policy, models, pack)
        heard = watch.listen(step.samples)
        values = step.metrics.values | numbers | {f"monitor/{name}": n for name, n in heard.numbers().items()}
        ctx.progress(
            "ppo", step.metrics.step, step.metrics.steps, **{k.replace("/", "."): v for k, v in values.items()}
        )
        watch.judge(heard, step.metrics.step)
    ungated = any(ctx.store.reward_model(version).ungated for version in ctx.need("reward").reward_models.values())
    version = publish_policy(ctx, "ppo", TRAINED, ctx.need("sft").policy_version, ctx.config.ppo.steps, ungated)
    drop_adapters(ctx, [TRAINED, REFERENCE, *(model.adapter for model in models.values())])
    return StageResult(
        run_id=ctx.run.id,
        stage="ppo",
        policy_version=version.id,
        counts={"samples": ctx.config.ppo.steps * ctx.config.ppo.prompts_per_step},
        numbers=numbers,
        seconds=timer.seconds,
    )


def _load_policy(ctx: Context, objectives: tuple[str, ...]) -> Policy:
    backbone = ctx.tools.backbone
    folder = ctx.store.artifacts.get_folder(ctx.store.policy_version(ctx.need("sft").policy_version).artifact)
    for name in (TRAINED, REFERENCE):
        if name in backbone.adapters:
            backbone.delete_adapter(name)
        backbone.load_adapter(name, folder)
    return Policy(backbone, TRAINED, objectives, REFERENCE)


def load_reward_models(ctx: Context) -> dict[str, RewardModel]:
    """The run's reward models as adapters of this process's base, by objective."""
    backbone, models = ctx.tools.backbone, {}
    for index, (objective, version) in enumerate(ctx.need("reward").reward_models.items()):
        folder = ctx.store.artifacts.get_folder(ctx.store.reward_model(version).artifact)
        name = f"ppo-reward-{index}"

        def load(name: str = name, folder: Path = folder) -> RewardModel:
            if name in backbone.adapters:
                backbone.delete_adapter(name)
            return RewardModel.load(backbone, name, folder)

        models[objective] = ctx.tools.on_device(load)
    return models


def drop_adapters(ctx: Context, names: list[str]) -> None:
    for name in names:
        ctx.tools.on_device(lambda name=name: ctx.tools.backbone.delete_adapter(name))


def _after_step(
    ctx: Context, step: PpoStep, policy: Policy, models: dict[str, RewardModel], pack: NormPack
) -> dict[str, float]:
    """Store the step's samples and scores, now and then with a checkpoint; returns the held-out numbers, if due."""
    number, settings = step.metrics.step, ctx.config.ppo
    samples = [stamp(sample, ctx, "ppo", f"step-{number}", i) for i, sample in enumerate(step.samples)]
    scores = [
        Score(sample_id=sample.id, objective=objective, reward_model=version, score=float(value))
        for objective, version, row in zip(pack.objectives, pack.reward_models, step.scores, strict=True)
        for sample, value in zip(samples, row, strict=True)
    ]
    due = number % settings.checkpoint_every == 0 or number == settings.steps
    artifact = _save(ctx, step.state) if due else ""
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        ctx.store.add_prompts([sample.prompt for sample in samples])
        ctx.store.add_samples(samples)
        ctx.store.add_scores(scores)
        if artifact:
            ctx.store.add_checkpoint(Checkpoint(run_id=ctx.run.id, stage="ppo", step=number, artifact=artifact))
    if number % settings.eval_every == 0 or number in (1, settings.steps):
        return _watch(ctx, policy, models, pack)
    return {}


def _save(ctx: Context, state: PpoState) -> str:
    with tempfile.TemporaryDirectory() as folder:
        ctx.tools.on_device(lambda: state.save(Path(folder)))
        return ctx.store.artifacts.put_folder(Path(folder))


def _watch(ctx: Context, policy: Policy, models: dict[str, RewardModel], pack: NormPack) -> dict[str, float]:
    """Mean gold and proxy on held-out prompts: looked at, never learned from and never a reason to stop."""
    everything = prompts_of(ctx, "heldout")
    prompts = draw(everything, min(WATCHED, len(everything)), ctx.config.seed, "watch")
    replies = ctx.tools.on_device(lambda: _reply(ctx, policy, prompts))
    conversations = list(zip(prompts, replies, strict=True))
    numbers: dict[str, float] = {}
    for name, mean, sd in zip(pack.objectives, pack.mean, pack.sd, strict=True):
        model = models[name]
        scores = ctx.tools.on_device(lambda model=model: model.score(conversations).mean(1))
        numbers[f"heldout_z/{name}"] = (float(scores.mean()) - mean) / sd
    if ctx.tools.world:
        grades = [ctx.tools.world.gold.score(prompt, reply) for prompt, reply in conversations]
        numbers |= {f"gold/{name}": sum(g[name] for g in grades) / len(grades) for name in grades[0]}
    return numbers


def _reply(ctx: Context, policy: Policy, prompts: list[Prompt]) -> list[str]:
    backbone, settings = policy.backbone, ctx.config
    ids = [backbone.render(prompt.messages) for prompt in prompts]
    with backbone.using(policy.adapter):
        written = generate(
            backbone, ids, n=1, temperature=1.0, max_tokens=settings.model.max_tokens, seed=settings.seed + 1
        )
    return [backbone.decode(result.tokens) for result in written]
