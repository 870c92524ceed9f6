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


@contextmanager
def served(calls: int = 512) -> Iterator[Served]:
    """While the block lasts; so many calls may be at work at once."""
    with tempfile.TemporaryDirectory(prefix="charter-bench-") as folder:
        command = [sys.executable, "-m", "tests.benchmarks.server", folder, str(calls)]
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
