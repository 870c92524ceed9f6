"""A server that writes what the policy is sampled for, beside the process that trains: part of the model's section."""

from __future__ import annotations

from pydantic import Field

from rlhf_core.config.base import Settings
from rlhf_core.config.feedback import VariableName, WebAddress


class SamplerConfig(Settings):
    """A vLLM server over HTTP that writes PPO's rollouts and the samples of the stages."""

    address: WebAddress | None = None
    """Such as http://host:8000. It serves the same base model and reads the data folder at the same path. None writes
    in this process."""
    key_env: VariableName | None = None
    """Name of the environment variable that holds the server's key; none means that it wants no key."""
    concurrency: int = Field(default=64, ge=1, le=4096)
    """Responses that are asked for at once, by each process that trains."""
    timeout_seconds: float = Field(default=300, gt=0)
    """Longest wait for one response."""
    retries: int = Field(default=6, ge=0, le=20)
    """Further tries for each response after a busy, broken or missing answer, each after a longer wait."""
    tolerance: float = Field(default=0.1, gt=0)
    """Nats by which the server's log-probability of a token may differ on average from that computed here, for a run to
    begin; 16-bit floats differ by a few hundredths, another model by more than one."""
