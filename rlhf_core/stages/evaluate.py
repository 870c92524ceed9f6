"""The stage that evaluates: every policy on prompts that nothing was trained on, and on some of those for training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlhf_core.data.prompt_draws import draw
from rlhf_core.evaluation.gains import CONTROL, SHIPPED, TRAINED, TUNED
from rlhf_core.evaluation.monitors import drifts, monitor
from rlhf_core.inference.choice_logprobs import choose
from rlhf_core.inference.generate import chat
from rlhf_core.interfaces import Conversation
from rlhf_core.records.base import Stage
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import BASE_POLICY, Prompt, Sample, Split
from rlhf_core.stages.context import Context, Timer, chunks
from rlhf_core.stages.prompts import all_prompts, prompts_of
from rlhf_core.stages.samples import CHUNK, gold_scores, sample_all

HELD_OUT, SEEN = "evaluate", "evaluate_seen"
"""Stages of the answers to held-out prompts and to those of the training split. The prompts do not tell which is which:
of each the store keeps the split that its first run gave it."""


def evaluate_stage(ctx: Context) -> StageResult:
    """Sample every policy on the same held-out prompts and on some of those for training; score and grade them all."""
    timer, settings = Timer(), ctx.config.evaluation
    prompts, trained = _asked(ctx, "heldout", settings.prompts), _asked(ctx, "train", settings.training_prompts)
    policies = [*evaluated_policies(ctx), *control_policy(ctx)]
    first: list[Sample] = []
    done, total = 0, len(policies) * (len(prompts) + len(trained))
    for number, (name, version) in enumerate(policies):
        samples: list[Sample] = []
        for stage, asked in ((HELD_OUT, prompts), (SEEN, trained)):
            for piece in chunks(asked, ctx.piece(max(1, len(asked)))):
                answers = _measured(ctx, stage, piece, version)
                samples += answers if stage == HELD_OUT else []
                done += len(piece)
                ctx.progress("evaluate", done, total)
        ctx.note(f"evaluated {name} on {len(prompts)} held-out prompts and {len(trained)} of the training split")
        first = first or samples
        for drift in drifts(monitor(samples, first), ctx.config.monitors, monitor(first)) if number else ():
            ctx.note(f"{name}: {drift}", alarm=True)
    counts = {"prompts": len(prompts), "training_prompts": len(trained)}
    counts["samples"] = sum(counts.values()) * settings.samples * len(policies)
    if alike := all_prompts(ctx).alike:
        counts["left_out_heldout"] = alike
    return StageResult(run_id=ctx.run.id, stage="evaluate", counts=counts, numbers=_skills(ctx), seconds=timer.seconds)


def _asked(ctx: Context, split: Split, count: int) -> list[Prompt]:
    everything = prompts_of(ctx, split)
    return draw(everything, min(count, len(everything)), ctx.config.seed, "evaluate")


def _measured(ctx: Context, stage: str, prompts: Sequence[Prompt], version: str) -> list[Sample]:
    """A policy's stored answers, with the reward models' scores and gold beside them."""
    settings, rewarded = ctx.config.evaluation, ctx.results.get("reward")
    models = [*rewarded.reward_models.values(), *rewarded.auditors.values()] if rewarded else []
    samples = sample_all(ctx, stage, prompts, version, settings.samples, settings.temperature)
    scores = ctx.tools.scorer.score(samples, models) if models and samples else []
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        ctx.store.scores.add(scores)
        ctx.store.gold_scores.add(gold_scores(ctx, samples))
    return samples


def _skills(ctx: Context) -> dict[str, float]:
    """The built-in model's skills as flat numbers, where there is a world to test them in."""
    tools, settings = ctx.tools, ctx.config
    if tools.world is None or not settings.evaluation.skills:
        return {}

    def ask(conversations: Sequence[Conversation]) -> list[str]:
        pieces = chunks(conversations, CHUNK)
        backbone, limit = tools.backbone, settings.model.feedback_tokens
        return [text for piece in pieces for text in tools.on_device(lambda part=piece: chat(backbone, part, limit))]

    def weigh(conversations: Sequence[Conversation], labels: Sequence[str]) -> list[list[float]]:
        pieces = chunks(conversations, CHUNK)
        return [
            row for piece in pieces for row in tools.on_device(lambda part=piece: choose(tools.backbone, part, labels))
        ]

    report = tools.world.skills(ask, weigh, ctx.constitution, settings.evaluation.skills, settings.seed)
    return dict(_flat("skill", report.model_dump()))


def _flat(prefix: str, value: object) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(f"{prefix}.{name}", inner)
    elif isinstance(value, (int, float)):
        yield prefix, float(value)


def evaluated_policies(ctx: Context) -> list[tuple[str, str]]:
    """Name and version of each policy that the run compares, in the order in which they came to be."""
    trained: tuple[tuple[Stage, str], ...] = (("sft", TUNED), ("ppo", TRAINED))
    policies = [(name, ctx.results[stage].policy_version) for stage, name in trained if stage in ctx.results]
    return [(SHIPPED, BASE_POLICY), *policies]


def control_policy(ctx: Context) -> list[tuple[str, str]]:
    """Name and version of PPO's control, where there are both."""
    control = ctx.results.get("control")
    return [(CONTROL, control.policy_version)] if "ppo" in ctx.results and control and control.policy_version else []
