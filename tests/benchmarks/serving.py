"""A server process with the sandbox model, its reward models and all that a PPO run starts from; for its callers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rlhf_core.config.run import ModelConfig

MODEL = ModelConfig(threads=int(os.environ.get("OMP_NUM_THREADS", "2")))
POLICY = "bench-policy"


class Served(NamedTuple):
    address: str
    run_id: str
    """Of a run whose reward models, scale and tuned policy another run can start from."""
    reward_models: tuple[str, ...]
    process: subprocess.Popen[str]
    data: Path
    """The server's folder."""
    http: str
    """The address of its HTTP edge."""


class Settings(NamedTuple):
    """Of a server that is measured."""

    calls: int = 512
    """So many may be at work at once."""
    constitution: str = "household"
    """A built-in one, for each of whose objectives there is a reward model."""
    rests: bool = True
    """Whether memory goes back to the system when nobody calls."""
    fails_every: int = 0
    """One reply of so many has no score from a model, and one call of so many is told to wait; 0 for none."""


USUAL = Settings()


@contextmanager
def served(settings: Settings = USUAL) -> Iterator[Served]:
    """While the block lasts."""
    with tempfile.TemporaryDirectory(prefix="charter-bench-") as folder:
        command = [sys.executable, "-m", "tests.benchmarks.server", folder, json.dumps(settings._asdict())]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            run_id, models = json.loads(process.stdout.readline())
            address, http = (process.stdout.readline().strip() for _ in range(2))
            yield Served(address, run_id, tuple(models), process, Path(folder), http)
        finally:
            process.terminate()
            process.wait(60)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them do not exceed."""
    return sorted(values)[max(0, -(-len(values) * round(share * 1000) // 1000) - 1)]
