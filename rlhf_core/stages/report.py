"""The last stage: everything that the run stored, summed up in report.json, report.html and pictures."""

from __future__ import annotations

import resource
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from rlhf_core.annotation.teaching import teaching
from rlhf_core.config.run import RunConfig
from rlhf_core.evaluation.best_of_n import BestOfN, best_of_n_curves
from rlhf_core.evaluation.evaluate import Evaluation, evaluate
from rlhf_core.evaluation.gains import CONTROL
from rlhf_core.evaluation.overoptimization import Goodhart, goodhart
from rlhf_core.evaluation.panel_summary import panel_summary
from rlhf_core.evaluation.policy_rows import PolicyRows, gold_sd
from rlhf_core.evaluation.report.record import ConstitutionName, Report, Skills
from rlhf_core.evaluation.report.write import write_report
from rlhf_core.evaluation.rule_violations import rule_breaks
from rlhf_core.evaluation.run_summary import (
    Curve,
    Example,
    FeedbackSummary,
    curves,
    example,
    summarise_feedback,
    summarise_reward_model,
)
from rlhf_core.evaluation.statistics import Estimate
from rlhf_core.feedback.panel import latest
from rlhf_core.records.models import NormPack, RewardModelVersion
from rlhf_core.records.runs import StageResult, StepMetrics, WatchPoint
from rlhf_core.records.samples import Sample
from rlhf_core.stages.against_production import against_production
from rlhf_core.stages.ancestry import told, weights_in_ppo
from rlhf_core.stages.context import Context, Timer
from rlhf_core.stages.evaluate import HELD_OUT, SEEN, control_policy, evaluated_policies
from rlhf_core.stages.norm_pack import BEST_OF
from rlhf_core.stages.told_steps import told_steps
from rlhf_core.stages.usage import spent

EXAMPLES = 6


def report_stage(ctx: Context) -> StageResult:
    """Write runs/<id>/: the numbers, each with its count, baseline and interval, and the pictures."""
    timer = Timer()
    policies, trained = _policies(ctx, HELD_OUT), _policies(ctx, SEEN)
    models = [ctx.store.reward_models.get(version) for version in _reward_models(ctx)]
    seen = _evaluate(ctx, trained) if trained[0].samples else None
    report = _report(ctx, policies, models, timer).with_evaluation(_evaluate(ctx, policies), seen)
    write_report(report, ctx.tools.runs_folder / ctx.run.id)
    return StageResult(run_id=ctx.run.id, stage="report", seconds=timer.seconds)


def _reward_models(ctx: Context) -> list[str]:
    return list(ctx.results["reward"].reward_models.values()) if "reward" in ctx.results else []


def _policies(ctx: Context, stage: str) -> list[PolicyRows]:
    """The evaluated policies with their rows of one stage of samples; PPO's control last, where there is one."""
    source = ctx.need("evaluate").run_id
    scores, gold = ctx.store.scores.of_run(source), ctx.store.gold_scores.of_run(source)
    rows = []
    for name, version in (*evaluated_policies(ctx), *control_policy(ctx)):
        samples = ctx.store.samples.of_run(source, stage=stage, policy_version=version)
        ids = {sample.id for sample in samples}
        rows.append(
            PolicyRows(
                name=name,
                policy_version=version,
                samples=samples,
                scores=[score for score in scores if score.sample_id in ids],
                gold=[grade for grade in gold if grade.sample_id in ids],
            )
        )
    return rows


def _reference(ctx: Context, run_id: str) -> PolicyRows:
    """The reference policy with the samples that the reward models' scale was taken from."""
    samples = ctx.store.samples.of_run(run_id, stage="norm_pack")
    version = samples[0].policy_version if samples else ""
    scores, gold = ctx.store.scores.of_run(run_id), ctx.store.gold_scores.of_run(run_id)
    return PolicyRows(name="reference", policy_version=version, samples=samples, scores=scores, gold=gold)


def _pack(ctx: Context) -> NormPack | None:
    packed = ctx.results.get("norm_pack")
    return ctx.store.norm_packs.get(packed.norm_pack) if packed else None


def _evaluate(ctx: Context, policies: list[PolicyRows]) -> Evaluation:
    packed = ctx.results.get("norm_pack")
    auditors = ctx.store.norm_packs.get(packed.auditor_pack) if packed and packed.auditor_pack else None
    return evaluate(
        [rows for rows in policies if rows.name != CONTROL],
        objectives=ctx.constitution.objective_names,
        weights=ctx.weights,
        norm_pack=_pack(ctx),
        gold=ctx.tools.world.gold if ctx.tools.world else None,
        gold_scale=gold_scale(ctx),
        limits=ctx.config.monitors,
        control=next((rows for rows in policies if rows.name == CONTROL), None),
        auditor_pack=auditors,
        resamples=ctx.config.evaluation.bootstrap,
        seed=ctx.config.seed,
    )


def _report(ctx: Context, policies: list[PolicyRows], models: list[RewardModelVersion], timer: Timer) -> Report:
    law = ctx.constitution
    final = [rows for rows in policies if rows.name != CONTROL][-1]
    scale = gold_scale(ctx)
    seconds = {stage: result.seconds for stage, result in ctx.results.items()} | {"report": timer.seconds}
    titles = {principle.id: principle.title for principle in law.principles}
    packed = ctx.results.get("norm_pack")
    scaled = [_reference(ctx, packed.run_id)] if packed else []
    return Report(
        run_id=ctx.run.id,
        kind=ctx.run.kind,
        created_at=ctx.run.created_at,
        seed=ctx.config.seed,
        objectives=law.objective_names,
        weights=ctx.weights,
        base_model=ctx.tools.backbone.name,
        constitution=ConstitutionName(id=law.id, version=law.version, hash=law.hash, title=law.title),
        wall_seconds=sum(seconds.values()),
        stage_seconds=seconds,
        peak_memory_mb=peak_memory_mb(),
        ungated=tuple(model.objective for model in models if model.ungated),
        sandbox=read_skills(ctx.results["evaluate"].numbers),
        reward_models=tuple(summarise_reward_model(model, *scaled, final) for model in models),
        rules=rule_breaks(law.principles, policies),
        feedback=_feedback(ctx, titles),
        norm_pack=_pack(ctx),
        data={f"{stage}.{name}": n for stage, result in ctx.results.items() for name, n in result.counts.items()},
        endpoints={stage: usage for stage, result in ctx.results.items() if (usage := spent(result)) is not None},
        curves=_curves(ctx),
        goodhart=goodhart_curves(ctx, scale),
        climb=climb(ctx, scale),
        best_of=best_of_curves(ctx, scale),
        control_steps=_control_steps(ctx),
        temperature=ctx.config.evaluation.temperature,
        production=against_production(ctx, final, _pack(ctx), gold_scale(ctx)),
        control_pays=ctx.config.ppo.control_pays,
        examples=_examples(ctx, final, titles),
        caveats=step_caveats(ctx),
        provenance=_provenance(ctx),
    )


def _control_steps(ctx: Context) -> int:
    return sum(ctx.store.policy_versions.get(version).step for _, version in control_policy(ctx))


def read_skills(numbers: dict[str, float]) -> Skills | None:
    """Read the skills that the evaluate stage stored as `skill.<name>.<mean|low|high|n>`."""
    names = {name.removesuffix(".mean") for name in numbers if name.startswith("skill.") and name.endswith(".mean")}
    if not names:
        return None
    return Skills.of(
        {
            name.removeprefix("skill."): Estimate(
                value=numbers[f"{name}.mean"],
                low=numbers[f"{name}.low"],
                high=numbers[f"{name}.high"],
                n=int(numbers[f"{name}.n"]),
            )
            for name in names
        }
    )


def _feedback(ctx: Context, titles: dict[str, str]) -> FeedbackSummary | None:
    if "label" not in ctx.results:
        return None
    labels = ctx.store.preferences.find(run_id=ctx.results["label"].run_id, labelers="ai")
    human = teaching(ctx.store, ctx.store.preferences.find(labelers="human"))
    steps = ctx.store.revisions.of_run(ctx.results["critique"].run_id) if "critique" in ctx.results else []
    # Another run may have asked another judge about the same pairs.
    votes = ctx.store.votes.find({label.comparison_id for label in labels}, ctx.results["label"].run_id)
    current = {principle.hash for principle in ctx.constitution.principles}
    summary = summarise_feedback(steps, [v for v in votes if v.principle_hash in current], [*labels, *human], titles)
    gates = latest(ctx.store.gates.find(ctx.results["label"].run_id))
    calibrations = {
        one.objective: one for one in ctx.store.calibrations.find(ctx.results["label"].run_id) if not one.panel
    }
    return summary.model_copy(
        update={
            "gates": tuple(gate for gate in gates if not gate.panel),
            "calibrations": tuple(calibrations.values()),
            "panel": panel_summary(labels, [gate for gate in gates if gate.panel], ctx.results["label"].numbers),
        }
    )


def _curves(ctx: Context) -> tuple[Curve, ...]:
    """The metrics of every stage, each from the run that did it: another may have done it too, in more steps."""
    metrics: list[StepMetrics] = []
    for run_id in dict.fromkeys(result.run_id for result in ctx.results.values()):
        own = {stage for stage, result in ctx.results.items() if result.run_id == run_id}
        metrics += [step for step in told_steps(ctx.store, run_id) if step.stage in own and step.values]
    return curves(metrics)


def _examples(ctx: Context, final: PolicyRows, titles: dict[str, str]) -> tuple[Example, ...]:
    """Conversations whose revision took the most steps, beside what the final policy says to the same prompt."""
    if "critique" not in ctx.results:
        return ()
    source = ctx.results["critique"].run_id
    steps = ctx.store.revisions.of_run(source)
    accepted = Counter(step.sample_id for step in steps if step.accepted)
    chosen = [ctx.store.samples.get(sample_id) for sample_id, _ in accepted.most_common(EXAMPLES)]
    answers = _final_answers(ctx, chosen, final.policy_version)
    return tuple(example(sample, steps, answers.get(sample.prompt.id), titles) for sample in chosen)


def _final_answers(ctx: Context, samples: list[Sample], version: str) -> dict[str, Sample]:
    drawn = ctx.tools.sampler.generate(
        [sample.prompt for sample in samples],
        policy_version=version,
        temperature=0.0,
        max_tokens=ctx.config.model.max_tokens,
        seed=ctx.config.seed,
    )
    return {sample.prompt.id: sample for sample in drawn}


def step_caveats(ctx: Context) -> tuple[str, ...]:
    """Say that the step at which PPO ended was chosen on prompts that are measured too, where it was."""
    trained = ctx.results.get("ppo")
    if trained is None:
        return ()
    stop = RunConfig.stored(ctx.store.runs.get(trained.run_id).config).ppo.stop
    if stop.parted != "stop":
        return ()
    return (
        "Auditors chose the step at which PPO ended, on held-out prompts of which some may be measured here: what they "
        "say of its gain may be a little too high.",
    )


def _provenance(ctx: Context) -> dict[str, str]:
    """Name -> id of everything that the numbers came from."""
    versions = {f"stage.{stage}": result.run_id for stage, result in ctx.results.items()}
    versions |= {f"policy.{stage}": r.policy_version for stage, r in ctx.results.items() if r.policy_version}
    if "reward" in ctx.results:
        versions |= {f"reward_model.{name}": version for name, version in ctx.results["reward"].reward_models.items()}
    if "norm_pack" in ctx.results:
        versions["norm_pack"] = ctx.results["norm_pack"].norm_pack
    for step, weights in weights_in_ppo(ctx.store, ctx.results).items():
        versions[f"weights from PPO step {step}"] = told(weights)
    return versions | _models(ctx) | {"constitution": ctx.constitution.hash}


def _models(ctx: Context) -> dict[str, str]:
    """The critic and the judge whose work the run stands on, each with its revision."""
    named: dict[str, set[str]] = {}
    if "critique" in ctx.results:
        named["critic"] = {step.critique.critic for step in ctx.store.revisions.of_run(ctx.results["critique"].run_id)}
    if "label" in ctx.results:
        labels = ctx.store.preferences.find(run_id=ctx.results["label"].run_id, labelers="ai")
        named["judge"] = {label.labeler.removeprefix("ai:") for label in labels}
    return {role: ", ".join(sorted(names)) for role, names in named.items() if names}


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far, in millions of bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (peak if sys.platform == "darwin" else 1024 * peak) / 1e6


def gold_scale(ctx: Context) -> dict[str, float] | None:
    """Return the spread of each objective's gold over the reference policy's samples, where a world knows gold."""
    packed, world = ctx.results.get("norm_pack"), ctx.tools.world
    if packed is None or world is None:
        return None
    reference = {sample.id for sample in ctx.store.samples.of_run(packed.run_id, stage="norm_pack")}
    rows = [grade for grade in ctx.store.gold_scores.of_run(packed.run_id) if grade.sample_id in reference]
    return gold_sd(rows, world.gold.objectives)


def goodhart_curves(ctx: Context, scale: dict[str, float] | None) -> tuple[Goodhart, ...]:
    """Return the overoptimization curves of the run that did PPO, up to the step at which it ended."""
    trained = ctx.results.get("ppo")
    points = ctx.store.watch_points.of_run(trained.run_id) if trained else []
    step = ctx.store.policy_versions.get(trained.policy_version).step if trained else None
    settings = {"resamples": ctx.config.evaluation.bootstrap, "seed": ctx.config.seed}
    curves = []
    for name in dict.fromkeys(point.objective for point in points):
        rows = [point for point in points if point.objective == name]
        curves.append(goodhart(rows, (scale or {}).get(name), step, **settings))
    return tuple(curve for curve in curves if curve is not None)


def climb(ctx: Context, scale: dict[str, float] | None) -> Goodhart | None:
    """Return the curve of the weighted sum that PPO maximises: sum_k w_k z_k / sum_k w_k, prompt by prompt.

    The weights are those that PPO had, whatever this run's are. None where nothing was watched, or where the weights
    changed on the way, so that PPO was after no one sum.
    """
    trained = ctx.results.get("ppo")
    points = ctx.store.watch_points.of_run(trained.run_id) if trained else []
    if trained is None or not points:
        return None
    config = RunConfig.stored(ctx.store.runs.get(trained.run_id).config)
    taken = [change for change in ctx.store.weights.of_run(trained.run_id) if change.from_step is not None]
    if taken or config.ppo.dial.weights_at:
        return None
    weights = config.weights or ctx.weights
    steps: dict[int, list[WatchPoint]] = defaultdict(list)
    for point in points:
        if weights.get(point.objective):
            steps[point.step].append(point)
    summed = [_summed(rows, weights, scale or {}) for rows in steps.values()]
    last = ctx.store.policy_versions.get(trained.policy_version).step
    return goodhart(summed, 1.0, last, resamples=ctx.config.evaluation.bootstrap, seed=ctx.config.seed)


def _summed(rows: Sequence[WatchPoint], weights: Mapping[str, float], scale: Mapping[str, float]) -> WatchPoint:
    """One step's objectives as one; a judge that does not know all of them is left out."""
    shares = np.array([weights[row.objective] for row in rows])
    shares /= shares.sum()

    def mean(name: str, units: Sequence[float]) -> tuple[float, ...]:
        columns = [np.array(getattr(row, name)) for row in rows]
        if not all(len(column) for column in columns) or not all(units):
            return ()
        return tuple((shares / np.array(units) @ np.stack(columns)).tolist())

    plain, spread = [1.0] * len(rows), [scale.get(row.objective, 0.0) for row in rows]
    means = {"proxy": mean("proxy", plain), "auditor": mean("auditor", plain), "gold": mean("gold", spread)}
    return rows[0].model_copy(update={"objective": "weighted", **means})


def best_of_curves(ctx: Context, scale: dict[str, float] | None) -> tuple[BestOfN, ...]:
    """Return the best-of-n curves of the run that measured the reward models, where it drew enough samples."""
    packed = ctx.results.get("norm_pack")
    samples = ctx.store.samples.of_run(packed.run_id, stage=BEST_OF) if packed else []
    if packed is None or not samples:
        return ()
    ids = {sample.id for sample in samples}
    rows = PolicyRows(
        name="reference",
        policy_version=samples[0].policy_version,
        samples=samples,
        scores=[score for score in ctx.store.scores.of_run(packed.run_id) if score.sample_id in ids],
        gold=[grade for grade in ctx.store.gold_scores.of_run(packed.run_id) if grade.sample_id in ids],
    )
    pack = ctx.store.norm_packs.get(packed.norm_pack)
    auditors = ctx.store.norm_packs.get(packed.auditor_pack) if packed.auditor_pack else None
    return best_of_n_curves(
        rows, pack, auditors, scale, resamples=ctx.config.evaluation.bootstrap, seed=ctx.config.seed
    )
