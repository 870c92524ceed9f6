"""PPO as published, whatever Charter's defaults are: a critic, one response to a prompt, no replay."""

from __future__ import annotations

from rlhf_core.config.ppo import PpoConfig

PLAIN = {
    "advantage": "gae",
    "samples_per_prompt": 1,
    "ptx_coef": 0.0,
    "prompts_per_step": 128,
    "learning_rate": 3e-4,
    "warmup_share": 0.0,
    "temperature": 1.0,
}


def plain_ppo(**settings: object) -> PpoConfig:
    return PpoConfig.model_validate(PLAIN | settings)
