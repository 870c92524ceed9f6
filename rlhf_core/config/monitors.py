"""How far a policy may drift in its manner before a run says so, or ends: part of a run's configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rlhf_core.config.base import Settings

Share = Annotated[float, Field(gt=0, le=1)]


class MonitorLimits(Settings):
    """Shares of replies may rise this far above those of the reference policy, or above 0 where there is none.

    None watches nothing.
    """

    refusals: Share | None = None
    """Replies that decline, on benign prompts; on all prompts where none is tagged benign."""
    apology_starts: Share | None = None
    """Replies that open with an apology, on the same prompts."""
    lectures: Share | None = None
    """Replies that moralise more than once."""
    top_gram: Share | None = None
    """Replies that hold the most common run of five words."""
    min_length_ratio: float | None = Field(default=None, gt=0, le=1)
    """Median over prompts of the reply's words for each word of the reference policy's reply."""
    max_length_ratio: float | None = Field(default=None, ge=1)


class WarnLimits(MonitorLimits):
    """The same with values, so that a configuration that names one of them keeps the others."""

    refusals: Share | None = 0.1
    apology_starts: Share | None = 0.1
    lectures: Share | None = 0.2
    top_gram: Share | None = 0.1
    min_length_ratio: float | None = Field(default=0.5, gt=0, le=1)
    max_length_ratio: float | None = Field(default=2.0, ge=1)


class MonitorConfig(Settings):
    warn: WarnLimits = WarnLimits()
    """Passing one of these is noted, once."""
    stop: MonitorLimits = MonitorLimits()
    """Passing one of these in PPO ends the run; its checkpoints stay."""


class StopConfig(Settings):
    """Ends PPO where an objective's reward model and its auditor part: the one goes on to rise, the other has fallen.

    Reads nothing but scores of replies to held-out prompts; gold never stops a run.
    """

    parted: Literal["ignore", "warn", "stop"] = "warn"
    """`stop` ends PPO, and the last watched step whose weighted auditors' score is no worse than the best is kept."""
    patience: int = Field(default=2, ge=1)
    """Watched steps in a row at which an objective must be found parted."""
    standard_errors: float = Field(default=1.0, ge=0)
    """How far a mean must lie below the best to be worse, in standard errors of the difference, paired by prompt."""
    max_kl: float | None = Field(default=None, gt=0)
    """Nats per response at which PPO ends; none never does."""
