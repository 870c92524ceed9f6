"""PPO: what more objectives cost, and how we stand against TRL on the same work.

`TRL_SCRIPT=bench_trl.py TRL_PATH=trl112 python -m tests.benchmarks.bench_ppo [rows.json]` adds the rows against TRL:
the script must print `RESULT {json}` with samples_per_s_steady and peak_rss_mb, TRL_PATH goes on its PYTHONPATH (an
unpacked wheel of trl 1.12.0, the last with PPO). The two systems take turns, each run in a process of its own;
figures are medians over PAIRS pairs (5 unless set).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from tests.benchmarks.rows import Row, report, row

ROOT = Path(__file__).parents[2]
PAIRS = int(os.environ.get("PAIRS", "5"))
THREADS = os.environ.get("THREADS", "2")
STEPS = os.environ.get("STEPS", "5")
SHARED = ["--steps", STEPS, "--threads", THREADS]
SPEED, MEMORY = "samples_per_s_steady", "peak_rss_mb"

Result = dict[str, float]


def result_of(command: Sequence[str], path: str = "") -> Result:
    """What a run in a process of its own printed after RESULT."""
    own = {"OMP_NUM_THREADS": THREADS} | ({"PYTHONPATH": path} if path else {})
    done = subprocess.run(
        [sys.executable, *command, *SHARED], cwd=ROOT, env=os.environ | own, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))[7:])


def ours(*options: str) -> Result:
    return result_of(["-m", "tests.benchmarks.ppo_once", *options])


def middle(results: Sequence[Result], key: str) -> float:
    return median(result[key] for result in results)


def objectives() -> Iterator[Row]:
    """A step with eight objectives against one with one."""
    pairs = [(ours("--objectives", "8"), ours("--objectives", "1")) for _ in range(PAIRS)]
    many, one = zip(*pairs, strict=True)
    yield row("ppo step, K=8 against K=1", 32 / middle(many, SPEED), 32 / middle(one, SPEED), "s")
    yield row("ppo peak memory, K=8 against K=1", middle(many, MEMORY), middle(one, MEMORY), "MB")


def against_trl(script: str, path: str) -> Iterator[Row]:
    """Both systems in turn, with an adapter and with all weights."""
    for tune in ("lora", "full"):
        theirs = [str(Path(script).resolve()), "--algo", "ppo", *(["--lora"] if tune == "lora" else [])]
        pairs = [(ours("--tune", tune), result_of(theirs, path)) for _ in range(PAIRS)]
        own, other = zip(*pairs, strict=True)
        yield row(f"ppo {tune} against TRL", middle(own, SPEED), middle(other, SPEED), "samples/s")
        yield row(f"ppo {tune} peak memory against TRL", middle(own, MEMORY), middle(other, MEMORY), "MB")


def measure() -> Iterator[Row]:
    yield from objectives()
    if script := os.environ.get("TRL_SCRIPT"):
        yield from against_trl(script, os.environ.get("TRL_PATH", ""))


if __name__ == "__main__":
    report(measure)
