"""The report of a run: every number with its count, baseline and interval. `runs/<id>/report.json` is this record."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from rlhf_core.config.ppo import Pay
from rlhf_core.evaluation.best_of_n import BestOfN
from rlhf_core.evaluation.evaluate import Evaluation, StageEvaluation, WeightedEvaluation
from rlhf_core.evaluation.gains import Gain
from rlhf_core.evaluation.overoptimization import Goodhart
from rlhf_core.evaluation.pareto import FrontPoint
from rlhf_core.evaluation.prompt_changes import PromptChanges
from rlhf_core.evaluation.rule_violations import RuleBreaks
from rlhf_core.evaluation.run_summary import Curve, Example, FeedbackSummary, RewardModelSummary
from rlhf_core.evaluation.statistics import Estimate
from rlhf_core.records.base import Record
from rlhf_core.records.feedback import Usage
from rlhf_core.records.models import NormPack

SANDBOX_CAPABILITY = "sandbox demo"
SANDBOX_CAVEAT = (
    "These are the numbers of a small, made-up world with a model trained for it. They show that the machinery works; "
    "they do not transfer to real models."
)
UNGATED_CAVEAT = (
    "Ungated: the judge has not passed its gate for {}. The reward models, and the policy after PPO, learned from its "
    "labels all the same."
)


class Skills(Record):
    """What the built-in model can do before any training here, on items held out of each skill's own training."""

    answer: Estimate
    critique: Estimate
    revision: Estimate | None
    """None where no reply was at fault."""
    judge: dict[str, Estimate]
    """Objective -> agreement with gold."""
    position_gap: dict[str, Estimate] = Field(default_factory=dict)
    """Objective -> mean difference between the two orders' probabilities."""
    critique_unseen: Estimate | None = None
    """Critiques under combinations of hazards that the model's own training never asked about."""

    @classmethod
    def of(cls, skills: Mapping[str, Estimate]) -> Skills:
        """Read the skills from flat names.

        They are answer, critique, revision, critique_unseen, judge.<objective> and position_gap.<objective>.
        """

        def by_objective(prefix: str) -> dict[str, Estimate]:
            return {name.removeprefix(prefix): value for name, value in skills.items() if name.startswith(prefix)}

        return cls(
            answer=skills["answer"],
            critique=skills["critique"],
            revision=skills.get("revision"),
            judge=by_objective("judge."),
            position_gap=by_objective("position_gap."),
            critique_unseen=skills.get("critique_unseen"),
        )


class ConstitutionName(Record):
    id: str
    version: str
    hash: str
    title: str = ""


class BesideProduction(Record):
    """The run's last policy against the one that is production, on prompts that both answered."""

    policy_version: str
    """Of production."""
    judge: str
    prompts: int
    objectives: dict[str, Estimate]
    """Objective -> ours less theirs, paired by prompt: gold in its unit, scores in reference standard deviations."""
    weighted: Estimate | None = None


class Report(Record):
    run_id: str
    kind: str
    created_at: str
    seed: int
    objectives: tuple[str, ...]
    weights: dict[str, float]
    base_model: str
    constitution: ConstitutionName
    wall_seconds: float
    """Of all stages together, those that another run did included."""
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    """Of a stage that was interrupted, since it was last taken up."""
    peak_memory_mb: float
    capability: str = ""
    """`sandbox demo` when gold is known."""
    caveats: tuple[str, ...] = ()
    ungated: tuple[str, ...] = ()
    """Objectives whose reward models, and with them the policy after PPO, learned from a judge that has not passed its
    gate."""
    sandbox: Skills | None = None
    stages: tuple[StageEvaluation, ...] = ()
    weighted: WeightedEvaluation | None = None
    weighted_raw: WeightedEvaluation | None = None
    gold_sd: dict[str, float] = Field(default_factory=dict)
    oracle: dict[str, float] = Field(default_factory=dict)
    front: tuple[FrontPoint, ...] = ()
    control: StageEvaluation | None = None
    """PPO without its rewards, where the run made one."""
    control_steps: int = 0
    control_pays: Pay = "nothing"
    gains: tuple[Gain, ...] = ()
    """What SFT, PPO but its rewards, and the rewards each added, on the same held-out prompts."""
    changes: PromptChanges | None = None
    """The last policy against the first, by held-out prompt."""
    production: BesideProduction | None = None
    """None where nobody held that name, or its answers to these prompts are not known."""
    temperature: float = 0.0
    """At which the policies answered; 0 always takes the likeliest token."""
    training: tuple[StageEvaluation, ...] = ()
    """The policies on prompts of the training split."""
    training_weighted: WeightedEvaluation | None = None
    reward_models: tuple[RewardModelSummary, ...] = ()
    rules: tuple[RuleBreaks, ...] = ()
    """Rules of the constitution with a pattern, and how often each policy breaks them."""
    feedback: FeedbackSummary | None = None
    norm_pack: NormPack | None = None
    data: dict[str, int] = Field(default_factory=dict)
    endpoints: dict[str, Usage] = Field(default_factory=dict)
    """Stage -> what it spent on endpoints, for the stages that asked any."""
    curves: tuple[Curve, ...] = ()
    goodhart: tuple[Goodhart, ...] = ()
    """Per objective: whether the policy still got better, or only its score."""
    climb: Goodhart | None = None
    """The same of the weighted sum of all objectives, where one set of weights held throughout."""
    best_of: tuple[BestOfN, ...] = ()
    """Per objective: what choosing by the reward model gains without training, where that was measured."""
    examples: tuple[Example, ...] = ()
    provenance: dict[str, str] = Field(default_factory=dict)

    def with_evaluation(self, evaluation: Evaluation, training: Evaluation | None = None) -> Report:
        """Return this report with what an evaluation found, and the caveat where a world's own truth was used.

        `training` is of the same policies on prompts of the training split.
        """
        known = any(stage.gold for stage in evaluation.stages)
        return self.model_copy(
            update={
                "capability": SANDBOX_CAPABILITY if known else self.capability,
                "caveats": (*((SANDBOX_CAVEAT,) if known else ()), *self._ungated(), *self.caveats, *evaluation.notes),
                "stages": evaluation.stages,
                "weighted": evaluation.weighted,
                "weighted_raw": evaluation.weighted_raw,
                "gold_sd": evaluation.gold_sd,
                "oracle": evaluation.oracle,
                "front": evaluation.front,
                "control": evaluation.control,
                "gains": evaluation.gains,
                "changes": evaluation.changes,
                "training": training.stages if training else (),
                "training_weighted": training.weighted if training else None,
            }
        )

    def _ungated(self) -> tuple[str, ...]:
        return (UNGATED_CAVEAT.format(" and ".join(self.ungated)),) if self.ungated else ()
