"""What happened on the way: critiques, labels, reward models, curves and examples, summed up from stored rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from rlhf_core.evaluation.monitors import LengthRatio, length_ratio
from rlhf_core.evaluation.panel_summary import PanelSummary
from rlhf_core.evaluation.policy_rows import PolicyRows
from rlhf_core.evaluation.statistics import Estimate, mean_estimate, wilson
from rlhf_core.records.base import Record
from rlhf_core.records.feedback import UNASKED, UNREAD, Calibration, JudgeGate, Preference, Revision, Vote
from rlhf_core.records.models import RewardModelVersion, RewardQuality
from rlhf_core.records.runs import StepMetrics
from rlhf_core.records.samples import Sample
from rlhf_core.stats import clustered_interval
from rlhf_core.text_detectors import words


class CritiqueCounts(Record):
    """One row per critique: `total` is `complies` + `accepted` + all that was rejected, by reason."""

    total: int
    complies: int
    accepted: int
    rejected: dict[str, int]


class LabelCounts(Record):
    """One objective's labels. Abstentions are rows too; they train nothing."""

    ai: int
    human: int
    abstained: dict[str, int]
    ties: int
    position_gap: Estimate | None
    """Mean difference between the two orders' probabilities; none without AI labels that were read."""


class PrincipleCounts(Record):
    id: str
    title: str
    critiques: CritiqueCounts
    votes: int


class RoundCounts(Record):
    """One round of critique and revision, whichever principles it drew."""

    round: int
    critiques: CritiqueCounts
    length_ratio: LengthRatio | None
    """Words of a revision for each word of what it mends, over the accepted ones; none where there are none."""


class FeedbackSummary(Record):
    critiques: CritiqueCounts
    rounds: tuple[RoundCounts, ...] = ()
    votes: int
    labels: dict[str, LabelCounts]
    principles: tuple[PrincipleCounts, ...]
    gates: tuple[JudgeGate, ...] = ()
    calibrations: tuple[Calibration, ...] = ()
    panel: PanelSummary | None = None
    """Where several judges labelled; `gates` and `calibrations` are then of all together."""


class RewardModelSummary(Record):
    id: str
    objective: str
    ai_pairs: int
    """Labels that it was trained on, as are those of people and of the user's own files."""
    human_pairs: int
    accuracy: Estimate | None
    """On labels of prompts that were kept back, where there were any; n counts pairs, baseline is chance."""
    gold_agreement: Estimate | None
    """Share of pairs of one policy's samples that the model orders as gold does: the reference policy's, which are its
    scale; without those the final policy's, where it has several samples to a prompt."""
    ungated: bool = False
    """A judge that had not passed its gate gave some of the labels."""
    quality: tuple[RewardQuality, ...] = ()
    """On labels of prompts that were kept back: of all, then of each source where there are several."""
    data_pairs: int = 0


class Curve(Record):
    """One plain number of a stage over its steps."""

    stage: str
    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


class ExampleStep(Record):
    principle: str
    verdict: str
    critique: str
    before: str
    after: str
    accepted: bool
    reason: str


class Example(Record):
    """One conversation: what was asked, first answered, criticised and revised, and what the final policy answers."""

    prompt: str
    first: str
    steps: tuple[ExampleStep, ...]
    final: str
    final_policy: str


def count_critiques(steps: Sequence[Revision]) -> CritiqueCounts:
    reasons = Counter(step.reason for step in steps if not step.accepted)
    complies = reasons.pop("complies", 0)
    accepted = sum(step.accepted for step in steps)
    return CritiqueCounts(
        total=len(steps), complies=complies, accepted=accepted, rejected=dict(sorted(reasons.items()))
    )


def count_labels(labels: Sequence[Preference], resamples: int = 1000, seed: int = 0) -> LabelCounts:
    ai = [label for label in labels if label.labeler.startswith("ai:")]
    gaps = [label.gap for label in ai if label.reason not in (*UNASKED, UNREAD)]
    return LabelCounts(
        ai=sum(not label.abstained for label in ai),
        human=sum(not label.abstained and label.choice != "skip" for label in labels)
        - sum(not a.abstained for a in ai),
        abstained=dict(sorted(Counter(label.reason or "unsaid" for label in labels if label.abstained).items())),
        ties=sum(label.choice == "tie" and not label.abstained for label in labels),
        position_gap=mean_estimate(gaps, resamples=resamples, seed=seed) if gaps else None,
    )


def summarise_feedback(
    revisions: Sequence[Revision], votes: Sequence[Vote], labels: Sequence[Preference], titles: Mapping[str, str]
) -> FeedbackSummary:
    """Sum up critiques and labels; `titles` maps the constitution's principles, in order, to their titles."""
    steps: dict[str, list[Revision]] = defaultdict(list)
    by_objective: dict[str, list[Preference]] = defaultdict(list)
    for step in revisions:
        steps[step.critique.principle_id].append(step)
    for label in labels:
        by_objective[label.objective].append(label)
    cast = Counter(vote.principle_id for vote in votes)
    return FeedbackSummary(
        critiques=count_critiques(revisions),
        rounds=tuple(_round(number, revisions) for number in sorted({step.round for step in revisions})),
        votes=len(votes),
        labels={objective: count_labels(rows) for objective, rows in by_objective.items()},
        principles=tuple(
            PrincipleCounts(id=key, title=title or key, critiques=count_critiques(steps[key]), votes=cast[key])
            for key, title in titles.items()
        ),
    )


def _round(number: int, revisions: Sequence[Revision]) -> RoundCounts:
    steps = [step for step in revisions if step.round == number]
    ratios = [len(words(step.after)) / max(1, len(words(step.before))) for step in steps if step.accepted]
    return RoundCounts(round=number, critiques=count_critiques(steps), length_ratio=length_ratio(ratios))


def summarise_reward_model(model: RewardModelVersion, *policies: PolicyRows) -> RewardModelSummary:
    """Sum up one reward model; it is compared with gold on the first of `policies` that has pairs."""
    agreements = (gold_agreement(policy, model.objective, model.id) for policy in policies)
    return RewardModelSummary(
        id=model.id,
        objective=model.objective,
        ai_pairs=model.pairs - model.human_pairs - model.data_pairs,
        human_pairs=model.human_pairs,
        data_pairs=model.data_pairs,
        accuracy=_accuracy(model),
        gold_agreement=next((found for found in agreements if found), None),
        ungated=model.ungated,
        quality=model.quality,
    )


def _accuracy(model: RewardModelVersion) -> Estimate | None:
    every, n = next(iter(model.quality), None), model.accuracy_n
    if every is None or every.accuracy_low is None or every.accuracy_high is None:
        return wilson(model.accuracy * n, n, baseline=0.5) if n else None
    return Estimate(value=model.accuracy, low=every.accuracy_low, high=every.accuracy_high, n=n, baseline=0.5)


def gold_agreement(policy: PolicyRows, objective: str, reward_model: str) -> Estimate | None:
    """Return how often the reward model orders two samples of one prompt as gold does; equal gold is left out."""
    gold = {row.sample_id: row.score for row in policy.gold if row.kind == objective}
    score = {row.sample_id: row.score for row in policy.scores if row.reward_model == reward_model}
    by_prompt: dict[str, list[str]] = defaultdict(list)
    for sample in policy.samples:
        if sample.id in gold and sample.id in score:
            by_prompt[sample.prompt.id].append(sample.id)
    pairs = [list(zip(ids[::2], ids[1::2], strict=False)) for ids in by_prompt.values()]
    agreed = [[(gold[a] - gold[b]) * (score[a] - score[b]) > 0 for a, b in own if gold[a] != gold[b]] for own in pairs]
    groups = [(float(sum(own)), len(own)) for own in agreed if own]
    if not groups:
        return None
    n, (low, high) = sum(count for _, count in groups), clustered_interval(groups)
    return Estimate(value=sum(right for right, _ in groups) / n, low=low, high=high, n=n, baseline=0.5)


def curves(metrics: Sequence[StepMetrics]) -> tuple[Curve, ...]:
    """Return every number by stage and name; a name may be absent from some steps."""
    points: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for row in metrics:
        for name, value in row.values.items():
            points[row.stage, name][row.step] = value
    return tuple(
        Curve(stage=stage, name=name, steps=tuple(sorted(by_step)), values=tuple(by_step[s] for s in sorted(by_step)))
        for (stage, name), by_step in points.items()
    )


def example(
    sample: Sample, revisions: Sequence[Revision], final: Sample | None, titles: Mapping[str, str] | None = None
) -> Example:
    """Tell one sample from question to final answer; `revisions` may hold those of other samples too."""
    own = sorted((step for step in revisions if step.sample_id == sample.id), key=lambda step: step.round)
    return Example(
        prompt=sample.prompt.messages[-1].content,
        first=sample.response,
        steps=tuple(_example_step(step, titles or {}) for step in own),
        final=final.response if final else "",
        final_policy=final.policy_version if final else "",
    )


def _example_step(step: Revision, titles: Mapping[str, str]) -> ExampleStep:
    name = step.critique.principle_id
    return ExampleStep(
        principle=titles.get(name) or name,
        verdict=step.critique.verdict or "unreadable",
        critique=step.critique.text,
        before=step.before,
        after=step.after,
        accepted=step.accepted,
        reason=step.reason,
    )
