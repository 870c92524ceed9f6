"""The stage that optimises the policy: PPO from the SFT policy, held-out gold in view, a checkpoint every few steps."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from functools import partial

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.config.scalarization import weights_at
from rlhf_core.models.policy import REFERENCE, TRAINED, Policy
from rlhf_core.records.base import Stage
from rlhf_core.records.models import Checkpoint, NormPack, Score
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Demonstration
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.stages.context import Context, Timer
from rlhf_core.stages.demonstrations import replayed
from rlhf_core.stages.elsewhere.learners import ppo_by_learners
from rlhf_core.stages.elsewhere.remote_samples import ppo_sampler
from rlhf_core.stages.ppo_watch import Audit, Watch
from rlhf_core.stages.prompts import ppo_prompts
from rlhf_core.stages.samples import stamp
from rlhf_core.stages.versions import artifact_of, drop_adapters, load_reward_models, publish_policy
from rlhf_core.training.epoch_state import Resumable
from rlhf_core.training.parallel import ALONE
from rlhf_core.training.ppo.ptx import Replay
from rlhf_core.training.ppo.rule_penalties import rule_shares
from rlhf_core.training.ppo.state import PpoState
from rlhf_core.training.ppo.trainer import PpoStep, train_ppo


def ppo_stage(ctx: Context) -> StageResult:
    """Train the policy: rollouts, K scores, weights; resume the last checkpoint, and end early where it must."""
    timer, rewarded = Timer(), ctx.need("reward")
    models = load_reward_models(ctx, rewarded.reward_models, "ppo-reward")
    auditors = load_reward_models(ctx, rewarded.auditors, "ppo-auditor")
    pack = ctx.store.norm_packs.get(ctx.need("norm_pack").norm_pack)
    policy = ctx.tools.on_device(lambda: load_policy(ctx, pack.objectives))
    saved = ctx.store.checkpoints.latest(ctx.run.id, "ppo")
    audit = Audit(ctx, policy, models, pack, auditors)
    if saved is None:
        audit.look(0)
    done = saved.step if saved else 0
    _tell_of_another_temperature(ctx, pack)
    (replay, counts), watch, best = replayed(ctx), Watch(ctx), 0
    weights = partial(_weights, ctx, pack.objectives)
    with closing(train(ctx, "ppo", policy, models, pack, weights, ctx.config.ppo, replay)) as steps:
        for step in steps:
            done = step.metrics.step
            numbers, ending, store = _after_step(ctx, step, audit)
            heard = watch.listen(step.samples)
            values = step.metrics.values | numbers | {f"monitor/{name}": n for name, n in heard.numbers().items()}
            values |= rule_shares(ctx.constitution.principles, step.samples)
            ctx.progress("ppo", done, step.metrics.steps, store, **{k.replace("/", "."): v for k, v in values.items()})
            watch.judge(heard, done)
            if ending:
                back = ctx.config.ppo.stop.parted == "stop"
                best = _go_back(ctx, policy, _best_kept(ctx, audit, done, step)) if back else 0
                kept = f"the policy is that of step {best or done}"
                ctx.note(f"PPO ended at step {done}, as ppo.stop asks: {ending}; {kept}")
                break
    ungated = any(ctx.store.reward_models.get(version).ungated for version in rewarded.reward_models.values())
    version = publish_policy(ctx, "ppo", TRAINED, ctx.need("sft").policy_version, best or done, ungated)
    drop_adapters(ctx, [TRAINED, REFERENCE], [*models.values(), *auditors.values()])
    return StageResult(
        run_id=ctx.run.id,
        stage="ppo",
        policy_version=version.id,
        counts={"samples": done * ctx.config.ppo.samples_per_step, **counts},
        numbers=audit.numbers(best or done),
        seconds=timer.seconds,
    )


def _tell_of_another_temperature(ctx: Context, pack: NormPack) -> None:
    if pack.temperature != ctx.config.ppo.temperature:
        ctx.note(
            f"the scale of scores was measured at temperature {pack.temperature:g} and rollouts run at "
            f"{ctx.config.ppo.temperature:g}: the policy starts away from 0; start_at=norm_pack measures it anew"
        )


def train(
    ctx: Context,
    stage: Stage,
    policy: Policy,
    models: Mapping[str, RewardModel],
    pack: NormPack,
    weights: Callable[[int], Mapping[str, float]],
    config: PpoConfig,
    replay: Sequence[Demonstration],
) -> Generator[PpoStep]:
    """Do PPO on the run's training prompts, here or by learner processes, from the stage's last checkpoint on."""
    saved = ctx.store.checkpoints.latest(ctx.run.id, stage)
    checkpoint = ctx.store.artifacts.get_folder(saved.artifact) if saved else None
    if ctx.learner.processes > 1:
        done = saved.step if saved else 0
        yield from ppo_by_learners(ctx, stage, policy, pack, weights, config, checkpoint, done, replay)
        return
    with ppo_sampler(ctx, stage, config) as sampler:
        parts = train_ppo(
            policy,
            [models[name] for name in pack.objectives],
            pack,
            ppo_prompts(ctx),
            weights,
            config,
            ctx.config.model.max_tokens,
            ctx.config.seed,
            checkpoint,
            Replay.begin(policy.backbone, replay, config, ctx.config.seed),
            ctx.constitution.principles,
            ALONE,
            sampler,
        )
        with closing(parts):
            yield from filter(None, ctx.units(parts))


def _weights(ctx: Context, objectives: tuple[str, ...], step: int) -> dict[str, float]:
    """The weights of a step: what someone gave the run while it ran, or else what its schedule says."""
    given = ctx.store.weights.take(ctx.run.id, ctx.run.fence, step)
    if given is not None and given.from_step == step:
        text = ", ".join(f"{name} {weight:g}" for name, weight in given.weights.items())
        ctx.note(f"PPO step {step} takes up new weights: {text}")
    weights = given.weights if given else weights_at(ctx.config.ppo.dial, ctx.weights, step)
    return {name: weights[name] for name in objectives}


def weights_of(step: PpoStep) -> dict[str, float]:
    """Return the weights of a step."""
    mark = "weight/"
    return {name.removeprefix(mark): n for name, n in step.metrics.values.items() if name.startswith(mark)}


def _best_kept(ctx: Context, audit: Audit, done: int, step: PpoStep) -> int:
    """The best step of which there is a policy: weights that changed on the way made others better afterwards."""

    def has_policy(number: int) -> bool:
        return number == done or ctx.store.checkpoints.at(ctx.run.id, "ppo", number) is not None

    return audit.best(done, weights_of(step), has_policy)


def _go_back(ctx: Context, policy: Policy, step: int) -> int:
    """Make the policy that of an earlier step, where there is a checkpoint of it; returns the step, or 0."""
    saved = ctx.store.checkpoints.at(ctx.run.id, "ppo", step)
    if saved is None:
        return 0
    folder = ctx.store.artifacts.get_folder(saved.artifact)
    ctx.tools.on_device(lambda: PpoState.begin(policy, ctx.config.ppo, folder))
    return step


def load_policy(ctx: Context, objectives: tuple[str, ...]) -> Policy:
    """Load the fine-tuned policy to train it; its reference is a copy of it as it is now."""
    folder = ctx.store.artifacts.get_folder(ctx.store.policy_versions.get(ctx.need("sft").policy_version).artifact)
    dense = ctx.config.ppo.tune == "full"
    return Policy.starting_from(ctx.tools.backbone, folder, objectives, dense)


def _after_step(ctx: Context, step: PpoStep, audit: Audit) -> tuple[dict[str, float], str, Callable[[], None]]:
    """Return the held-out numbers, if due, why PPO must end here, if it must, and what stores the step.

    That are its samples and scores, now and then with a checkpoint.
    """
    number, settings, pack = step.metrics.step, ctx.config.ppo, audit.pack
    samples = [stamp(sample, ctx, "ppo", f"step-{number}", i) for i, sample in enumerate(step.samples)]
    scores = [
        Score(sample_id=sample.id, objective=objective, reward_model=version, score=float(value))
        for objective, version, row in zip(pack.objectives, pack.reward_models, step.scores, strict=True)
        for sample, value in zip(samples, row, strict=True)
    ]
    watched = number % settings.eval_every == 0 or number in (1, settings.steps)
    numbers = audit.look(number) if watched else {}
    ending = audit.verdict(number, step.metrics.values["kl"])
    # A run that may be stopped for its auditors goes back to the last step that they liked as well as any.
    returns = watched and settings.stop.parted == "stop" and audit.best(number, weights_of(step)) == number
    # A run that is asked to stop goes on from here, not from the last checkpoint.
    due = number % settings.checkpoint_every == 0 or number == settings.steps or returns or ctx.should_stop()
    # Without a checkpoint of the step that ends PPO, one that is killed here does it again and ends alike.
    artifact = checkpoint_of(ctx, step.state) if due and not ending else ""

    def store() -> None:
        ctx.store.prompts.add([sample.prompt for sample in samples])
        ctx.store.samples.add(samples)
        ctx.store.scores.add(scores)
        if artifact:
            ctx.store.checkpoints.add(Checkpoint(run_id=ctx.run.id, stage="ppo", step=number, artifact=artifact))

    return numbers, ending, store


def checkpoint_of(ctx: Context, state: Resumable) -> str:
    """Store all that PPO needs to go on; returns the artifact."""
    return artifact_of(ctx, lambda folder: ctx.tools.on_device(lambda: state.save(folder)))
