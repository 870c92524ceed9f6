"""PPO: what more objectives, samples, tokens and weights cost, and how we stand against TRL on the same work.

    TRL_SCRIPT=bench_trl.py TRL_PATH=trl112 RLOO_PATH=trl116 python -m tests.benchmarks.bench_ppo [rows.json]

adds the rows against TRL: the script must print `RESULT {json}` with samples_per_s_steady and peak_rss_mb. TRL_PATH
goes on its PYTHONPATH for PPO (trl 1.12.0, the last with PPO), RLOO_PATH for RLOO with three reward models (trl 1.16);
each folder also holds what TRL needs, and is called site-packages, as dill pickles other code by value. The systems
take turns, each run in a process of its own; figures are medians over PAIRS pairs (5 unless set). COMPARE chooses
among the comparisons, all of them unless set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.benchmarks.rows import Row, report, row

ROOT = Path(__file__).parents[2]
PAIRS = int(os.environ.get("PAIRS", "5"))
THREADS = os.environ.get("THREADS", "2")
STEPS = os.environ.get("STEPS", "4")
SHARED = ["--steps", STEPS, "--threads", THREADS]
SPEED, MEMORY = "samples_per_s_steady", "peak_rss_mb"
IN_BF16 = "import sys; sys.argv = sys.argv[1:]; exec(open(sys.argv[0]).read().replace('bf16=False', 'bf16=True'))"

Result = dict[str, Any]


class Comparison(NamedTuple):
    """One kind of work, as options of ours and of the script; `path` names the variable that says where its TRL is."""

    name: str
    ours: str
    theirs: str
    path: str
    bf16: bool = False


COMPARISONS = (
    Comparison("lora", "--tune lora", "--algo ppo --lora", "TRL_PATH"),
    Comparison("full", "--tune full", "--algo ppo", "TRL_PATH"),
    Comparison("full-micro", "--tune full --micro 16", "--algo ppo", "TRL_PATH"),
    Comparison("lora-bf16", "--tune lora --dtype bfloat16", "--algo ppo --lora", "TRL_PATH", bf16=True),
    Comparison("full-bf16", "--tune full --dtype bfloat16", "--algo ppo", "TRL_PATH", bf16=True),
    Comparison("rloo", "--tune full --advantage rloo --objectives 3", "--algo rloo --n_rm 3", "RLOO_PATH"),
    Comparison(
        "rloo-bf16",
        "--tune full --advantage rloo --objectives 3 --dtype bfloat16",
        "--algo rloo --n_rm 3",
        "RLOO_PATH",
        bf16=True,
    ),
    Comparison("rloo-lora", "--tune lora --advantage rloo --objectives 3", "--algo rloo --n_rm 3 --lora", "RLOO_PATH"),
)


def results_of(command: Sequence[str], path: str = "") -> list[Result]:
    """What a run in a process of its own printed after RESULT."""
    own = {"OMP_NUM_THREADS": THREADS} | ({"PYTHONPATH": path} if path else {})
    done = subprocess.run(
        [sys.executable, *command, *SHARED], cwd=ROOT, env=os.environ | own, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("RESULT ")]


def ours(options: str) -> Result:
    return results_of(["-m", "tests.benchmarks.ppo_once", *options.split()])[0]


def theirs(case: Comparison, script: str) -> Result:
    before = ["-c", IN_BF16] if case.bf16 else []
    return results_of([*before, script, *case.theirs.split()], os.environ[case.path])[0]


def middle(results: Sequence[Result], key: str) -> float:
    return median(result[key] for result in results)


def against_trl(case: Comparison, script: str) -> Iterator[Row]:
    """Both systems in turn."""
    own, other, started = [], [], time.perf_counter()
    for pair in range(1, PAIRS + 1):
        own.append(ours(case.ours))
        other.append(theirs(case, script))
        ratio, seconds = own[-1][SPEED] / other[-1][SPEED], time.perf_counter() - started
        print(f"  {case.name}, pair {pair} of {PAIRS}: x {ratio:.2f}, {seconds:.0f} s", file=sys.stderr, flush=True)
    name = f"ppo {case.name} against TRL, {PAIRS} pairs"
    yield row(name, middle(own, SPEED), middle(other, SPEED), "samples/s")
    yield row(f"{name}: peak memory", middle(own, MEMORY), middle(other, MEMORY), "MB")


def objectives() -> Iterator[Row]:
    """A step with eight objectives on one trunk against one with one, in turn."""
    many, one = zip(*((ours("--objectives 8"), ours("--objectives 1")) for _ in range(PAIRS)), strict=True)
    name = f"ppo step, K=8 against K=1 on one trunk, {PAIRS} pairs"
    yield row(name, 32 / middle(many, SPEED), 32 / middle(one, SPEED), "s")
    yield row(f"{name}: peak memory", middle(many, MEMORY), middle(one, MEMORY), "MB")


def growth() -> Iterator[Row]:
    """Steps of other sizes against the plain one, once each."""
    plain, *found = results_of(["-m", "tests.benchmarks.ppo_once", "--growth"])
    for result in found:
        changed = " ".join(f"{key}={value}" for key, value in result["changed"].items())
        seconds = [one["batch"] / one[SPEED] for one in (result, plain)]
        yield row(f"ppo step, {changed or 'again'} against the plain one", *seconds, "s")


def measure() -> Iterator[Row]:
    asked = os.environ.get("COMPARE", " ".join(["objectives", "growth", *(case.name for case in COMPARISONS)])).split()
    if script := os.environ.get("TRL_SCRIPT"):
        for case in COMPARISONS:
            if case.name in asked and case.path in os.environ:
                yield from against_trl(case, str(Path(script).resolve()))
    if "objectives" in asked:
        yield from objectives()
    if "growth" in asked:
        yield from growth()


if __name__ == "__main__":
    report(measure)
