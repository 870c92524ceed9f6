"""The plan of a run: what its stages do, times what that costs here."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence

from rlhf_core.config.run import RunConfig, stages_of
from rlhf_core.data.reward_examples import Label
from rlhf_core.feedback.revision import critique_settings
from rlhf_core.interfaces import Feedback
from rlhf_core.models.batching import MAX_ROWS
from rlhf_core.models.loading import dtype_of
from rlhf_core.planning.cluster.description import Linear, Measured
from rlhf_core.planning.meter import Count
from rlhf_core.planning.probe import Found, Subject, probe
from rlhf_core.planning.records import Cost, Costs, RunPlan, StagePlan
from rlhf_core.planning.workload import Kind, Known, Work, workload
from rlhf_core.records.base import Stage
from rlhf_core.records.runs import Run
from rlhf_core.stages.context import Context
from rlhf_core.stages.imported.own_rows import DEMONSTRATIONS, LABELS, PREFERENCES, rows_of
from rlhf_core.stages.labelling.judge_truth import IMPORTED
from rlhf_core.stages.memory import fit_to_memory, programs_of
from rlhf_core.stages.prompts import all_prompts, prompts_of

WRITTEN_AT_ONCE = 256
"""Replies that are written at the same time, at most."""
SETTINGS = (
    *("model.base_model", "model.device", "model.dtype", "model.threads", "model.memory_budget", "model.lora.rank"),
    *("model.max_tokens", "model.feedback_tokens"),
    *("feedback.critic.model", "feedback.critic.method", "feedback.judge.model", "feedback.judge.protocol"),
    *("critique.prompts", "critique.rounds", "sft.epochs", "sft.batch_size", "sft.micro_batch_size"),
    *("sft.rehearsal_coef", "sft.rehearsal_batch_size", "sft.rehearsal_tokens"),
    *("label.pairs", "label.candidates", "reward.layout", "reward.epochs", "reward.batch_size"),
    *("reward.micro_batch_size", "norm.prompts", "ppo.tune", "ppo.steps", "ppo.prompts_per_step"),
    *("ppo.samples_per_prompt", "ppo.minibatch_size", "ppo.micro_batch_size", "ppo.epochs", "ppo.control_steps"),
    *(
        "ppo.ptx_coef",
        "ppo.ptx_batch_size",
        "ppo.overlap",
        "model.sampler.address",
        "learner.processes",
        "evaluation.prompts",
        "evaluation.training_prompts",
        "evaluation.samples",
    ),
)
"""What decides on time and memory."""
OVERLAPPED = "ppo.overlap is '{}': what it gains, and the memory of the process that writes, are not planned"

LEARNERS = "learner.processes is {}: planned is this process alone, and neither what they gain nor their memory"
SAMPLED = "model.sampler.address is {}: planned is writing in this process"
LEARNED: tuple[Stage, ...] = ("sft", "reward", "ppo", "control")


def plan_run(
    ctx: Context,
    feedback: Callable[[], Feedback] | None,
    asked: Count | None,
    others: Callable[[], Sequence[Feedback]] = lambda: (),
) -> RunPlan:
    """Measure what the context's run would take, and start nothing of it.

    `feedback` makes a critic and judge who remember nothing; without it they are not asked. `others` are the further
    judges of a panel. `asked` counts what they all are.

    Raises: InvalidInput for prompts that are not there, or a budget of memory in which no row fits.
    """
    started = time.perf_counter()
    ctx = fit_to_memory(ctx, stages_of(ctx.config))
    config, prompts = ctx.config, prompts_of(ctx, "train")
    subject = Subject(
        config=config,
        constitution=ctx.constitution,
        backbone=ctx.tools.backbone,
        reward_base=ctx.tools.base_of(config.reward.base_model),
        feedback=feedback,
        others=others,
        asked=asked,
        prompts=prompts,
        world=ctx.tools.world,
    )
    found = ctx.tools.on_device(lambda: probe(subject))
    programs = programs_of(ctx.tools.backbone, subject.reward_base)
    stages = _stages(found, workload(config, _known(ctx, found)), config, programs)
    return RunPlan(
        base_model=ctx.tools.backbone.name,
        threads=config.model.threads,
        settings=resolved(config),
        stages=tuple(stages),
        costs=found.costs,
        yields=found.yields,
        measured=_as_worker(found.costs, config.ppo.samples_per_step),
        probe_seconds=time.perf_counter() - started,
    )


def resolved(config: RunConfig) -> dict[str, str]:
    """Return the settings that decide on time and memory, by dotted path."""
    values: dict[str, str] = {}
    for path in SETTINGS:
        value: object = config
        for part in path.split("."):
            value = getattr(value, part)
        values[path] = "none" if value is None else str(value)
    if config.model.dtype == "auto":
        values["model.dtype"] = f"auto, here {str(dtype_of(config.model)).removeprefix('torch.')}"
    if panel := config.feedback.judge.panel:
        del values["feedback.judge.model"], values["feedback.judge.protocol"]
        values["feedback.judge.panel"] = ", ".join(f"{one.name}: {one.model} by {one.protocol}" for one in panel)
    return values


def _as_worker(costs: Costs, samples: int) -> Measured:
    """The costs by sample; what a step of PPO takes beside its rollouts is learning."""
    learned = costs.step.item_seconds * (1 - costs.rollout_share) / samples
    write, score = (
        Linear(call_seconds=cost.call_seconds, item_seconds=cost.item_seconds) for cost in (costs.write, costs.score)
    )
    return Measured(write=write, score=score, learn=Linear(item_seconds=learned))


def _known(ctx: Context, found: Found) -> Known:
    prompts, names = all_prompts(ctx), ctx.constitution.objective_names
    data = ctx.config.data
    preferences = len(rows_of(ctx, data.preferences, PREFERENCES)) if data.preferences else 0
    own = {name: _count(rows_of(ctx, path, LABELS)) for name, path in data.labels.items()}
    if data.preferences_objective:
        own[data.preferences_objective] = own.get(data.preferences_objective, 0) + preferences
    return Known(
        train=len(prompts.train),
        heldout=len(prompts.heldout),
        piece=ctx.piece(128),
        critique=critique_settings(ctx.constitution, ctx.config.critique),
        objectives=names,
        yields=found.yields,
        own=len(rows_of(ctx, data.demonstrations, DEMONSTRATIONS)) if data.demonstrations else 0,
        own_labels=own,
        imported=min(preferences, IMPORTED),
        world=ctx.tools.world is not None,
    )


def _count(rows: Sequence[Collection[Label]]) -> int:
    return sum(map(len, rows))


def _stages(found: Found, work: dict[Stage, list[Work]], config: RunConfig, programs: int) -> list[StagePlan]:
    """Each stage's sums; memory that one stage has taken stays with the process for the next.

    `programs` are bytes that a run comes to hold, too slowly for a probe to see.
    """
    peak, stages = 0, []
    for stage, parts in work.items():
        costs = [(part, _cost(found, part.kind)) for part in parts if part.items]
        known = [(part, cost) for part, cost in costs if cost is not None]
        whole = len(known) == len(costs) and stage != "report"
        peak = max([peak, *(_peak(found, part) + programs for part, _ in known)])
        seconds = sum(cost.seconds(part.items, part.per_call) for part, cost in known)
        asked = [part for part, cost in costs if cost is None]
        notes = [f"{round(part.items)} x {part.kind} by an endpoint: not measured" for part in asked]
        notes += _elsewhere(config, stage, any(part.kind in ("step", "write") for part, _ in costs))
        stages.append(
            StagePlan(
                stage=stage,
                calls=round(sum(part.items * cost.requests for part, cost in known)) if whole else None,
                tokens=round(sum(part.items * cost.tokens for part, cost in known)) if whole else None,
                seconds=seconds if whole else None,
                peak_bytes=peak if stage != "report" else None,
                note=", ".join(notes),
            )
        )
    return stages


def _elsewhere(config: RunConfig, stage: Stage, writes: bool) -> Iterator[str]:
    """What other processes do of a stage, which nobody measures here."""
    if config.ppo.overlap != "none" and stage in ("ppo", "control"):
        yield OVERLAPPED.format(config.ppo.overlap)
    if config.learner.processes > 1 and stage in LEARNED:
        yield LEARNERS.format(config.learner.processes)
    if writes and config.model.sampler.address is not None:
        yield SAMPLED.format(config.model.sampler.address)


def _cost(found: Found, kind: Kind) -> Cost | None:
    return getattr(found.costs, kind)


def _peak(found: Found, part: Work) -> int:
    """The memory of as many items as the stage does at once: on the line through what fewer and more of them took."""
    measured = found.peaks.get(part.kind, [])
    most = max((peak.bytes for peak in measured), default=0)
    if not measured or measured[0].items == measured[-1].items:
        return most
    few, many = measured[0], measured[-1]
    slope = max(0.0, (many.bytes - few.bytes) / (many.items - few.items))
    at_once = min(part.items, part.per_call, *([WRITTEN_AT_ONCE] if part.kind == "write" else []))
    if part.kind == "compare" and found.costs.compare is not None:
        # A pass of the judge has only so many rows, one for each question about a pair.
        at_once = min(at_once, MAX_ROWS / max(1.0, found.costs.compare.requests))
    return round(most + slope * max(0.0, at_once - many.items))


def unstarted(config: RunConfig) -> Run:
    """Make a run that is in no store, for a context that only measures."""
    return Run(id="run-plan", kind=config.kind, state="QUEUED", config=config.model_dump_json())
