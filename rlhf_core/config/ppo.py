"""How PPO is done: part of a run's configuration."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from rlhf_core.config.base import Settings, Tune
from rlhf_core.config.monitors import StopConfig
from rlhf_core.config.scalarization import DialConfig

Pay = Literal["scores", "shuffled", "nothing"]


def _as_pay(given: object) -> object:
    """Return what runs of earlier versions, which knew yes and no alone, call so today."""
    return {True: "scores", False: "nothing"}[given] if isinstance(given, bool) else given


class PpoConfig(Settings):
    """Proximal policy optimisation (Schulman et al. 2017), with one critic stream per objective and one for KL."""

    steps: int = Field(default=40, ge=1)
    tune: Tune = "lora"
    """Whether a low-rank adapter learns or all weights of the model, of which the policy then has a copy of its own."""
    prompts_per_step: int = Field(default=32, ge=1)
    even_tags: bool = False
    """Prompts of every set of tags take turns, however few have it: the rarer kind is not outvoted by the commoner."""
    unseen_prompts: bool = False
    """Ask only prompts that critique did not: a policy that was fine-tuned on a prompt may answer it one way only, and
    responses that are all alike teach PPO nothing. Where critique asked them all, all are asked."""
    samples_per_prompt: int = Field(default=4, ge=1, le=256)
    """Responses to each prompt; `rloo` and `grpo` compare them with one another."""
    advantage: Literal["gae", "rloo", "grpo"] = "rloo"
    """gae: a critic (Schulman et al. 2016). rloo: against the mean of the prompt's other responses (Ahmadian et al.
    2024). grpo: against the mean of all of them, in standard deviations (Shao et al. 2024)."""
    epochs: int = Field(default=2, ge=1)
    minibatch_size: int = Field(default=64, ge=1)
    """Samples of one update."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Samples of one pass; an update adds up their gradients. None passes the whole minibatch at once."""
    learning_rate: float = Field(default=1e-3, gt=0)
    lr_schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the rate falls to 0 at the end, or not."""
    warmup_share: float = Field(default=0.2, ge=0, le=1)
    """Share of the updates over which the rate rises: the first steps of Adam know neither mean nor variance."""
    kl_coef: float = Field(default=0.05, ge=0)
    """Price of a nat. Too low a price lets the policy go where its reward models have seen nothing, and are wrong."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    """Of KL(policy || reference) per token (Schulman 2020): k1 log-ratio, k2 half its square, k3 never negative."""
    kl_in: Literal["reward", "loss"] = "reward"
    """Whether KL is taken from the tokens' rewards or added to the loss; in the loss it needs k2 or k3."""
    kl_target: float | None = Field(default=None, gt=0)
    """Nats per response; adapts `kl_coef` towards it (Ziegler et al. 2019). None keeps it fixed."""
    kl_horizon: int = Field(default=512, ge=1)
    """Samples over which an adaptive `kl_coef` may change by 20 %."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    lam: float = Field(default=0.95, ge=0, le=1)
    whiten_rewards: bool = False
    """Scale token rewards to variance 1 over the batch; their mean stays."""
    whiten_advantages: bool | None = None
    """Bring advantages to mean 0 and variance 1 over the batch. None: for gae, as published; not for rloo and grpo."""
    clip_range: float = Field(default=0.2, gt=0)
    value_clip_range: float | None = Field(default=0.2, gt=0)
    """None leaves the values free."""
    value_coef: float = Field(default=0.1, ge=0)
    entropy_coef: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_update_kl: float | None = Field(default=None, gt=0)
    """A minibatch whose KL(old || new), in nats per token, is above this ends the step's updates."""
    max_ratio: float | None = Field(default=None, gt=1)
    """So does one whose mean probability ratio is above this."""
    overlap: Literal["none", "scoring", "rollouts"] = "none"
    """What runs beside what. none: responses are written, then scored, then learned from. scoring: responses are scored
    as they are finished. rollouts: so they are, and those of the next step are written while this one is learned, so
    their policy is one step older than the one that learns from them, never more. The server of `model.sampler` writes
    them, or else a process of its own that loads the base model once more, with as many threads."""
    importance_cap: float = Field(default=2.0, gt=0)
    """Where another process writes the rollouts (`overlap`, `model.sampler`), each token counts as many times as the
    learner finds it likelier than the one that drew it did, at most this many (truncated importance sampling: Ionides
    2008; Yao et al. 2025)."""
    pays: Annotated[Pay, BeforeValidator(_as_pay)] = "scores"
    """What a response is paid, all else being the same: its scores; those of any response to its prompt, by lot; or no
    score at all. The last two are controls that tell what the rewards do."""
    control_steps: int = Field(default=10, ge=0)
    """Steps of a second PPO from the same policy that is not paid its scores; the report sets it beside the first. 0:
    none."""
    control_pays: Literal["shuffled", "nothing"] = "nothing"
    """What that one is paid. Nothing leaves the policy where it was, but for the prices of KL and of a missing end.
    Shuffled scores push as hard as the rewards do and know nothing, so they show what any push does to the policy."""
    ptx_coef: float = Field(default=0.0, ge=0)
    """Weight in each update of the fine-tuning loss on replayed text (Ouyang et al. 2022): the base model's own
    answers, or the rows of `data.replay`. It must not hold what the rewards ask for, or it does the rewards' work."""
    ptx_batch_size: int = Field(default=16, ge=1)
    """Replayed rows of one update."""
    temperature: float = Field(default=0.7, gt=0)
    """Of rollouts, and of the probabilities that are compared; below 1 there are fewer slips, and choices decide."""
    missing_eos_penalty: float = Field(default=1.0, ge=0)
    score_clip: float = Field(default=4.0, gt=0)
    """Standardised scores are clipped to plus or minus this many standard deviations."""
    dial: DialConfig = DialConfig()
    """How the objectives become one reward, and when their weights change."""
    stop: StopConfig = StopConfig()
    """When a policy that pleases its reward models and no longer their auditors ends the run."""
    checkpoint_every: int = Field(default=10, ge=1)
    eval_every: int = Field(default=10, ge=1)
    """Steps from one look at the policy on held-out prompts to the next."""
    eval_prompts: int = Field(default=48, ge=1)
    """Held-out prompts of a look, a response each; the more, the less chance decides which step is best."""

    @property
    def samples_per_step(self) -> int:
        return self.prompts_per_step * self.samples_per_prompt

    @property
    def updates_per_step(self) -> int:
        """Updates of a step that nothing ends early."""
        return self.epochs * -(-self.samples_per_step // self.minibatch_size)

    @property
    def rows_per_pass(self) -> int:
        """Most samples that pass through the model at once."""
        return min(self.minibatch_size, self.micro_batch_size or self.minibatch_size)

    @property
    def most_stale(self) -> int:
        """Most steps by which the policy that wrote a response may be behind the one that learns from it."""
        return 1 if self.overlap == "rollouts" else 0

    @property
    def whitens(self) -> bool:
        return self.advantage == "gae" if self.whiten_advantages is None else self.whiten_advantages

    @model_validator(mode="after")
    def _settings_go_together(self) -> Self:
        if self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ValueError("kl_in 'loss' needs kl_estimator k2 or k3: on average k1 has no gradient there")
        if self.advantage != "gae" and self.samples_per_prompt < 2:
            raise ValueError(
                f"advantage '{self.advantage}' compares a prompt's responses, and samples_per_prompt is "
                f"{self.samples_per_prompt}; allowed: 2 or more"
            )
        return self
