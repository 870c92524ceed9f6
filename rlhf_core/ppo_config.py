"""How PPO is done: part of a run's configuration."""

from __future__ import annotations

from pydantic import Field

from rlhf_core.backends import Settings
from rlhf_core.dial import DialConfig
from rlhf_core.limits import StopConfig


class PpoConfig(Settings):
    """Proximal policy optimisation (Schulman et al. 2017), with one critic stream per objective and one for KL."""

    steps: int = Field(default=30, ge=1)
    prompts_per_step: int = Field(default=128, ge=1)
    epochs: int = Field(default=2, ge=1)
    minibatch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    kl_coef: float = Field(default=0.05, ge=0)
    kl_target: float | None = Field(default=None, gt=0)
    """Nats per response; adapts `kl_coef` towards it (Ziegler et al. 2019). None keeps it fixed."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    lam: float = Field(default=0.95, ge=0, le=1)
    clip_range: float = Field(default=0.2, gt=0)
    value_clip_range: float = Field(default=0.2, gt=0)
    value_coef: float = Field(default=0.1, ge=0)
    entropy_coef: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    missing_eos_penalty: float = Field(default=1.0, ge=0)
    score_clip: float = Field(default=4.0, gt=0)
    """Standardised scores are clipped to plus or minus this many standard deviations."""
    dial: DialConfig = DialConfig()
    """How the objectives become one reward, and when their weights change."""
    stop: StopConfig = StopConfig()
    """When a policy that pleases its reward models and no longer their auditors ends the run."""
    checkpoint_every: int = Field(default=10, ge=1)
    eval_every: int = Field(default=10, ge=1)
