"""kill -9 of a PPO run at random moments: resumed, it ends bit for bit where the uninterrupted run does."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "full", "grpo", "rloo", "rollouts"])
def test_a_run_killed_at_random_moments_ends_bit_for_bit_like_one_left_alone(tiny_folder, tmp_path, kind):
    seed = random.SystemRandom().randrange(10**6)
    command = [
        sys.executable,
        "-m",
        "tests.training.ppo.ppo_worker",
        str(tiny_folder("llama")),
        str(tmp_path),
        kind,
        str(seed),
    ]
    done = subprocess.run(
        [*command, str(seed)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-2000:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    # A snapshot's id is the sha256 over policy, critic, optimizer, multipliers and counters: equal ids, equal bits.
    assert found["kills"] > 0, f"seed {seed}"
    assert all(found["straight"]) and len(set(found["straight"])) == 4
    assert found["killed"] == found["straight"], f"seed {seed}"
