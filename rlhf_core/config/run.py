"""The configuration of a run: one frozen tree, unknown keys refused, every default one that works on a laptop."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import ByteSize, Field, ValidationInfo, field_validator, model_validator

from rlhf_core.config.base import Settings, Tune, even_bounds
from rlhf_core.config.feedback import FeedbackConfig
from rlhf_core.config.learner import LearnerConfig
from rlhf_core.config.model_defaults import SANDBOX, with_model_defaults
from rlhf_core.config.monitors import MonitorConfig
from rlhf_core.config.ppo import PpoConfig
from rlhf_core.config.reward import RewardConfig
from rlhf_core.config.sampler import SamplerConfig
from rlhf_core.config.tracking import TrackingConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.records.base import STAGES, Stage, StoryStage


class DataConfig(Settings):
    """The user's own data, as JSONL in the Hugging Face preference formats."""

    prompts: str | None = None
    """Path of a JSONL file of prompts; none means the sandbox's tasks."""
    heldout_prompts: str | None = None
    """Path of prompts kept for evaluation; none keeps back a tenth of `prompts`."""
    demonstrations: str | None = None
    """Path of prompt/response pairs, added to supervised fine-tuning."""
    replay: str | None = None
    """Path of prompt/response pairs that PPO replays where `ppo.ptx_coef` is above 0; none replays the base model's own
    answers. They keep general skill, so they should hold nothing that the rewards are about."""
    preferences: str | None = None
    """Path of prompt/chosen/rejected rows, added to the reward model of `preferences_objective`.

    They are their author's own word: no gate holds them back, and up to 200 of them help to measure the judge."""
    preferences_objective: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    """Path of a JSONL file of pairs, rankings, ratings or step labels for each objective named."""
    overlong: Literal["refuse", "skip"] = "refuse"
    """What becomes of rows that are longer than the model reads: they end the run before its first stage, each named by
    file and line, or are left out, with their number in the run's events."""


Sampling = Literal[
    "weighted_without_replacement",
    "weighted_with_replacement",
    "uniform_without_replacement",
    "uniform_with_replacement",
]
"""How each round draws its principle; `uniform_with_replacement` is that of Bai et al. 2022."""


class CritiqueConfig(Settings):
    """`rounds`, `sampling` and `stop_on` hold where the constitution's own `defaults.critique` leaves them open."""

    prompts: int = Field(default=128, ge=1)
    """How many training prompts are answered, criticised and revised."""
    rounds: int = Field(default=5, ge=1, le=32)
    """Most critique-and-revision steps per answer, each under one principle."""
    sampling: Sampling = "weighted_without_replacement"
    """How each step draws its principle among those that apply to the prompt."""
    stop_on: Literal["complies", "never"] = "never"
    """Whether an answer's first verdict of `complies` is its last step."""
    recheck_share: float = Field(default=0.05, ge=0, le=1)
    """Share of answers that go through all rounds all the same, to show what stopping misses."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature of the first answers."""
    revise_borderline: bool = True
    """Revise answers whose verdict is borderline, not only those that violate."""
    verify: bool = True
    """Keep a revision only if the judge, asked in both orders, prefers it to the original on the whole ..."""
    verify_threshold: float = Field(default=0.45, ge=0, le=1)
    """... and gives it at least this probability in each order alone; below 0.5 leaves room for a habit of position."""
    min_length_ratio: float = Field(default=0.4, ge=0, le=1)
    """A revision with fewer words for each of the original's has lost more than a repair loses."""
    max_length_ratio: float = Field(default=1.6, ge=1)
    """A revision with more words for each of the original's has gained more than a repair gains."""


class SftConfig(Settings):
    tune: Tune = "lora"
    """Whether a low-rank adapter learns or all weights of the model; the latter wants a learning rate a hundred times
    lower, and `ppo.tune: full` behind it."""
    epochs: int = Field(default=4, ge=1)
    batch_size: int = Field(default=32, ge=1)
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Rows of one pass; an update adds up their gradients. None passes the whole batch at once."""
    learning_rate: float = Field(default=2e-3, gt=0)
    helpful_share: float = Field(default=0.46, ge=0, lt=1)
    """Share of the demonstrations that are the base model's own answers, as they were, to prompts that the critic did
    not see: with more of them fine-tuning keeps more help and more faults. As many as there are such prompts."""
    rehearsal_coef: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Weight in each update of the divergence from the base model, in nats a token, on texts that the base goes on with
    from one token drawn at random (pseudo-rehearsal, Robins 1995): fine-tuning then leaves as it was what the
    demonstrations say nothing of. 0 rehearses nothing."""
    rehearsal_batch_size: int = Field(default=4, ge=1)
    """Rehearsed texts in an update."""
    rehearsal_tokens: int = Field(default=48, ge=2)
    """Tokens of a rehearsed text."""


class LabelConfig(Settings):
    pairs: int = Field(default=512, ge=1)
    """How many pairs of samples are compared."""
    on_policy: bool = False
    """Draw the pairs from the policy that PPO trained in `from_run`, and train reward models on that run's labels too:
    another round, for a policy that has left what its reward models have seen."""
    temperature: float = Field(default=1.0, gt=0)
    base_share: float = Field(default=0.5, ge=0, le=1)
    """Share of pairs that set a sample of the tuned policy against one of the base model."""
    steered_share: float = Field(default=0.0, ge=0, le=1)
    """Share of pairs whose two replies are each written after the good examples of a principle, one that is for such a
    prompt and one that is not (after RLCD, Yang et al. 2023): a policy that answers one kind of prompt one way shows a
    reward model nothing else. Every set of tags has as many of them: what is right of one kind and wrong of another is
    learned from both. Needs `feedback.critic.method: contrast`."""
    even_tags: bool = False
    """The policy's own pairs are of every set of tags alike often, too, as PPO's prompts are with `ppo.even_tags`."""
    candidates: int = Field(default=4, ge=1, le=64)
    """Samples drawn for a pair's second place; the first that differs from its partner is taken."""
    principles_per_label: int | None = Field(default=None, ge=1)
    """How many principles of an objective vote on one pair; none means as the constitution says, or else all."""
    abstain_gap: float = Field(default=0.3, gt=0, le=1)
    """Abstain when the two orders' probabilities differ by more than this."""
    min_label_mass: float = Field(default=0.5, ge=0, le=1)
    """Abstain when the judge gives the two labels less probability than this."""
    clamp: Literal["paper"] | tuple[float, float] = "paper"
    """Bounds of a label's probability. `paper`: [0.4, 0.6] for `cot` (Bai et al. 2022), [0.2, 0.8] for `text`, none for
    `logprobs`. A constitution's own clamp goes first."""
    odds_temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """What the sum of the votes' log-odds, each times its principle's weight and share, is divided by; a calibration
    comes on top. A contrast adds up what each token of a reply says, tens of nats, as if they were independent: at 1
    the slightest lead is then certain, and shares decide which of two replies wins but not by how much."""
    tie_weight: float = Field(default=0.5, ge=0)
    """Weight of a label between 0.45 and 0.55 against 1 for a decided one."""
    calibration_pairs: int | None = Field(default=100, ge=20)
    """Pairs of the uniform slice that people must have labelled before the judge is calibrated on them; none: never."""

    @field_validator("clamp")
    @classmethod
    def _clamp_is_even(cls, clamp: str | tuple[float, float]) -> str | tuple[float, float]:
        return clamp if isinstance(clamp, str) else even_bounds(clamp)


class GateConfig(Settings):
    """What a judge must reach on pairs whose better reply is known, before its labels may train anything."""

    agreement: float = Field(default=0.55, ge=0.5, lt=1)
    """The lower end of its 95 % interval must lie above this, and above that of always preferring the longer reply."""
    consistency: float = Field(default=0.6, ge=0, le=1)
    """Least share of pairs on which both orders name the same reply."""
    pairs: int = Field(default=20, ge=5)
    """Least number of such pairs."""
    allow_ungated: bool = False
    """Train all the same; stamped on all that descends from such labels."""


class NormConfig(Settings):
    prompts: int = Field(default=256, ge=2)
    samples: int = Field(default=2, ge=1)
    best_of: int = Field(default=0, ge=0, le=256)
    """Replies to each of `best_of_prompts` held-out prompts, to see what choosing the best of n by the reward models
    gains before anything is trained on them. 0 leaves it out."""
    best_of_prompts: int = Field(default=48, ge=2)
    require_gain: bool = False
    """End the run where an objective's auditor sees no gain in the best of n."""


class EvaluationConfig(Settings):
    prompts: int = Field(default=128, ge=1)
    training_prompts: int = Field(default=128, ge=0)
    """Prompts of those that were trained on which every policy answers too: what is gained on them alone was learned by
    heart. 0 asks none."""
    samples: int = Field(default=1, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    bootstrap: int = Field(default=1000, ge=100)
    skills: int = Field(default=96, ge=0)
    """Items per skill in the sandbox's skill test; 0 leaves it out."""


class LoraConfig(Settings):
    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    targets: tuple[str, ...] = ()
    """Names of the linear layers that get adapters, such as q_proj and v_proj; none means all of them."""


class PassesConfig(Settings):
    """How the model is passed through, for GPUs above all: the same results up to rounding, for less memory or time."""

    packing: bool = False
    """Read texts behind one another in one row, without padding between them, in fine-tuning, reward models and PPO."""
    recompute: bool = False
    """Keep only what each layer is given for gradients, and compute the rest again on the way back: less memory, for
    another pass forward."""
    fixed_cache: bool = False
    """Write PPO's rollouts, and what a critic of this process writes, in memory that does not move; a GPU then does
    each step as one recorded piece (a CUDA graph). Tried against plain passes before it is used."""
    mixed_adapters: bool = False
    """Score by all reward models of one base in one pass, each row through its own model's adapter."""


EngineName = Literal["native", "transformers", "vllm"]
"""What writes the responses of the policy that are asked for over the wire."""


class ModelConfig(Settings):
    base_model: str = SANDBOX
    """`sandbox`, `smollm2`, a folder, a GGUF file, or a Hugging Face id of a causal language model with a chat
    template."""
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    """auto: bfloat16 on a GPU that has it or a CPU with AMX, else float32."""
    threads: int = Field(default=2, ge=1)
    """Torch threads of the process."""
    memory_budget: ByteSize | None = None
    """Most memory that a run's process may take, such as 3GB: passes take as few rows as keep within it, and a run that
    cannot is refused before its first stage. It counts the base model and a reward model's own, not another critic or
    judge. None sets no bound."""
    max_tokens: int = Field(default=48, ge=1)
    """Longest response of the policy, in tokens."""
    feedback_tokens: int = Field(default=160, ge=1)
    """Longest critique or revision, in tokens."""
    engine: EngineName = "native"
    """Writes what callers ask for: `native`, `transformers` (its paged batching) or `vllm` (GPU; extra `vllm`).
    Rollouts of PPO are written by the native one, or where `sampler` says."""
    lora: LoraConfig = LoraConfig()
    passes: PassesConfig = PassesConfig()
    sampler: SamplerConfig = SamplerConfig()
    """Another server that writes PPO's rollouts and the samples of the stages."""

    @model_validator(mode="after")
    def _what_stays_is_in_no_budget(self) -> Self:
        if self.passes.fixed_cache and self.memory_budget is not None:
            raise ValueError(
                f"memory_budget is {self.memory_budget / 1e9:.2f} GB and passes.fixed_cache is true; allowed: one "
                "of the two, as memory that stays between batches is not counted"
            )
        return self


STORED = "stored"
"""What is read is what a run was made with, and not what somebody asks for."""


class RunConfig(Settings):
    kind: Literal["pipeline"] | Stage = "pipeline"
    seed: int = Field(default=0, ge=0, lt=2**31)
    constitution: str | None = None
    """Path or built-in name (household, assistant, everyday) of the constitution; none: that of the base model."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Weight of each objective; none means the constitution's default weights."""
    from_run: str | None = None
    """Take the results of earlier stages from this run."""
    start_at: StoryStage | None = None
    """First stage that a pipeline runs itself; the ones before it come from `from_run`."""
    model: ModelConfig = ModelConfig()
    feedback: FeedbackConfig = FeedbackConfig()
    data: DataConfig = DataConfig()
    critique: CritiqueConfig = CritiqueConfig()
    sft: SftConfig = SftConfig()
    label: LabelConfig = LabelConfig()
    gate: GateConfig = GateConfig()
    reward: RewardConfig = RewardConfig()
    norm: NormConfig = NormConfig()
    ppo: PpoConfig = PpoConfig()
    learner: LearnerConfig = LearnerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    monitors: MonitorConfig = MonitorConfig()
    tracking: TrackingConfig = TrackingConfig()

    @classmethod
    def stored(cls, text: str) -> Self:
        """Return what a run was made with: a setting that its text lacks came later, and then did as it does by itself.

        What suits a built-in model today says nothing of such a run.
        """
        return cls.model_validate_json(text, context={STORED: True})

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_model(cls, given: object, info: ValidationInfo) -> object:
        """What suits a built-in model, where nothing else is asked for."""
        if not isinstance(given, dict) or (info.context or {}).get(STORED):
            return given
        return with_model_defaults(given)

    @model_validator(mode="after")
    def _only_a_contrast_steers(self) -> Self:
        if self.label.steered_share and self.feedback.critic.method != "contrast":
            raise ValueError(
                f"label.steered_share is {self.label.steered_share:g} and feedback.critic.method is "
                f"'{self.feedback.critic.method}'; allowed with it: contrast, which writes under a principle's examples"
            )
        return self

    @model_validator(mode="after")
    def _what_is_named_is_replayed(self) -> Self:
        if self.data.replay is not None and not self.ppo.ptx_coef:
            raise ValueError(
                f"data.replay is '{self.data.replay}' and ppo.ptx_coef is 0, so nothing of it would be replayed; "
                "allowed: a ppo.ptx_coef above 0, or no data.replay"
            )
        return self

    @model_validator(mode="after")
    def _learners_have_something_to_do(self) -> Self:
        learner, ppo = self.learner, self.ppo
        if ppo.prompts_per_step < learner.processes:
            raise ValueError(
                f"learner.processes is {learner.processes} and ppo.prompts_per_step is {ppo.prompts_per_step}, so some "
                "would have no prompt of a step; allowed: at most as many processes as prompts"
            )
        whole = [stage for stage in ("sft", "reward", "ppo") if getattr(self, stage).tune == "full"]
        if learner.strategy == "shard" and whole:
            raise ValueError(
                f"learner.strategy is 'shard' and {whole[0]}.tune is 'full'; allowed with it: lora, or strategy "
                "replicate"
            )
        return self

    @model_validator(mode="after")
    def _no_adapter_goes_on_with_whole_weights(self) -> Self:
        if self.kind == "pipeline" and self.sft.tune == "full" and self.ppo.tune == "lora":
            raise ValueError(
                "sft.tune is 'full' and ppo.tune is 'lora', which cannot begin with weights of its own; allowed with "
                "it: ppo.tune full"
            )
        return self

    @model_validator(mode="after")
    def _what_is_handed_over_is_an_adapter(self) -> Self:
        whole = [stage for stage in ("sft", "ppo") if getattr(self, stage).tune == "full"]
        if self.model.sampler.address is not None and whole:
            raise ValueError(
                f"model.sampler.address is '{self.model.sampler.address}' and {whole[0]}.tune is 'full'; allowed with "
                "it: lora, as the server is handed adapters alone"
            )
        return self

    @model_validator(mode="after")
    def _rows_are_written_by_somebody_else(self) -> Self:
        overlap, address = self.ppo.overlap, self.model.sampler.address
        if overlap != "none" and self.ppo.tune == "full":
            raise ValueError(
                f"ppo.overlap is '{overlap}' and ppo.tune is 'full'; allowed with it: lora, as the process that writes "
                "beside the learner is handed adapters alone"
            )
        if overlap != "none" and self.learner.processes > 1 and address is None:
            raise ValueError(
                f"ppo.overlap is '{overlap}', learner.processes is {self.learner.processes} and model.sampler.address "
                "is not given; allowed: an address, or one learner, beside which a process of its own writes"
            )
        return self

    @field_validator("weights")
    @classmethod
    def _weights_make_a_direction(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            if not math.isfinite(weight) or weight < 0:
                raise ValueError(f"weight of '{name}' is {weight}; allowed: a finite number of at least 0")
        if weights and not any(weights.values()):
            raise ValueError("all weights are 0; at least one must be above 0")
        return weights


def stages_of(config: RunConfig) -> tuple[Stage, ...]:
    """Return the stages that a run of this configuration goes through itself."""
    if config.kind != "pipeline":
        return (config.kind,)
    return STAGES[STAGES.index(config.start_at) :] if config.start_at else STAGES


def check_beginning(config: RunConfig) -> None:
    """Raise InvalidInput when a run starts in the middle of the story and names no run to take the beginning from.

    SFT and reward models can also be trained on the user's files alone.
    """
    first, data = stages_of(config)[0], config.data
    alone = {"critique": True, "study": True, "sft": data.demonstrations, "reward": data.preferences or data.labels}
    if config.from_run is None and not (alone.get(config.kind) or first == STAGES[0]):
        raise InvalidInput(
            f"a run that starts at stage '{first}' needs the stages before it; name their run", field="from_run"
        )
