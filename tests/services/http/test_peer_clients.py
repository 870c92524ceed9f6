"""The trainers' own client code, from a Python that has it: what it makes of a reward is that reward.

CHARTER_PEERS names that Python: a virtual environment with openrlhf, verl, slime or nemo-gym, those that it has. It
needs nothing of Charter.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rlhf_core.config.run import ModelConfig
from tests.services.http.conftest import Edge

PYTHON = os.environ.get("CHARTER_PEERS", "")
MODULES = {"openrlhf": "openrlhf", "verl": "verl", "slime": "slime", "gym": "nemo_gym"}
PROMPT, REPLY = "How do I dust a shelf?", "Softly, and from the top."

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON, reason="CHARTER_PEERS names no Python")]


def asked_by(peer: str, edge: Edge, model: ModelConfig) -> Any:
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec('{MODULES[peer]}') is None)"
    if subprocess.run([PYTHON, "-c", code]).returncode:
        pytest.skip(f"that Python has no {MODULES[peer]}")
    script = Path(__file__).with_name("peer_clients.py")
    command = [PYTHON, str(script), peer, edge.url, model.base_model, PROMPT, REPLY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def expected(edge: Edge) -> dict[str, Any]:
    answer = edge.http.post("/v1/score", json={"samples": [{"prompt": PROMPT, "response": REPLY}]})
    return answer.json()["results"][0]


def test_openrlhf_reads_the_reward_and_every_objective(edge, model_config, expected):
    found = asked_by("openrlhf", edge, model_config)
    assert found["reward"] == found["scores"] == pytest.approx([expected["reward"]], abs=1e-5)
    z = {name: one["z"] for name, one in expected["objectives"].items()}
    assert {name: found["extra_logs"][f"z/{name}"][0] for name in z} == pytest.approx(z, abs=1e-5)


def test_verl_reads_the_reward_of_both_engines_that_it_asks(edge, model_config, expected):
    reward = pytest.approx(expected["reward"], abs=1e-5)
    assert asked_by("verl", edge, model_config) == {"vllm": reward, "sglang": reward}


def test_slime_reads_the_reward_of_a_rendered_prompt_and_of_messages(edge, model_config, expected):
    assert asked_by("slime", edge, model_config) == pytest.approx([expected["reward"]] * 2, abs=1e-5)


def test_nemo_gym_verifies_a_rollout_and_sums_it_up(edge, model_config, expected):
    found = asked_by("gym", edge, model_config)
    assert found["reward"] == found["mean"] == pytest.approx(expected["reward"], abs=1e-5)
    z = {name: one["z"] for name, one in expected["objectives"].items()}
    assert found["reward_components"] == pytest.approx(z, abs=1e-5) and found["task"] == 7
