"""How many processes train, on how many machines: part of a run's configuration. It changes no numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from rlhf_core.config.base import Settings
from rlhf_core.errors import InvalidInput

PROCESSES = "CHARTER_LEARNER_PROCESSES"
"""In the environment of the process that carries out a run: how many processes learn, whatever the run says."""


class LearnerConfig(Settings):
    """The processes in which fine-tuning, reward models and PPO learn, beside the one that carries out the run."""

    processes: int = Field(default=1, ge=1, le=4096)
    """On all machines together. They share the rows of each update and have the numbers of one, up to rounding; 1
    trains in the process that carries out the run."""
    strategy: Literal["replicate", "shard"] = "replicate"
    """replicate: each process has all weights. shard: each has a part of every layer's weights, and of the gradients
    and moments of what is trained (FSDP), which takes less memory and more traffic."""
    threads: int | None = Field(default=None, ge=1)
    """Torch threads of each; none divides `model.threads` among the processes of a machine."""
    machines: int = Field(default=1, ge=1)
    """On the others `torchrun` starts as many processes, as docs/operations.md says."""
    address: str | None = None
    """HOST:PORT of this machine, at which the others reach it; only with several machines."""

    @property
    def processes_here(self) -> int:
        """Processes of each machine."""
        return self.processes // self.machines

    def here(self, environ: Mapping[str, str]) -> LearnerConfig:
        """Return the same with the number of processes that the environment asks for, if it does.

        Raises: InvalidInput where that is no number, or does not go with the rest.
        """
        told = environ.get(PROCESSES)
        if not told:
            return self
        if not re.fullmatch(r"[1-9]\d{0,3}", told):
            raise InvalidInput(f"{PROCESSES} is '{told}'; allowed: a whole number of at least 1", "learner.processes")
        asked = self.model_dump() | {"processes": int(told)}
        if told == "1":
            asked |= {"strategy": "replicate", "machines": 1, "address": None}
        try:
            return LearnerConfig.model_validate(asked)
        except ValidationError as error:
            raise InvalidInput(f"{PROCESSES} is {told}: {error.errors()[0]['msg']}", "learner.processes") from None

    @model_validator(mode="after")
    def _machines_have_as_many_each(self) -> Self:
        if self.processes % self.machines:
            raise ValueError(
                f"{self.processes} processes cannot be divided evenly among {self.machines} machines; allowed: a "
                f"multiple of {self.machines}"
            )
        if (self.machines > 1) != (self.address is not None):
            raise ValueError(
                f"machines is {self.machines} and address is {self.address or 'not given'}; allowed: an address with "
                "several machines, and none with one"
            )
        if self.address is not None and not re.fullmatch(r"[^:\s]+:[1-9]\d{0,4}", self.address):
            raise ValueError(f"address is '{self.address}'; allowed: HOST:PORT, such as 10.0.0.1:29500")
        return self

    @model_validator(mode="after")
    def _one_has_nobody_to_divide_with(self) -> Self:
        if self.strategy == "shard" and self.processes == 1:
            raise ValueError("strategy 'shard' divides weights among processes, and processes is 1; allowed: 2 or more")
        return self
