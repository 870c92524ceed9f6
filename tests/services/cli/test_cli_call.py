"""Which policy a name on the command line stands for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rlhf_core.records.models import PolicyVersion
from services.cli.call import version_of


@pytest.mark.parametrize(
    ("stages", "meant"),
    [
        (("sft", "ppo", "control"), "policy-ppo"),
        (("sft",), "policy-sft"),
        (("control",), "policy-control"),
        ((), "run-1"),
    ],
)
def test_a_runs_id_stands_for_the_last_policy_that_it_made_for_use(stages, meant):
    versions = [
        PolicyVersion(id=f"policy-{stage}", run_id="run-1", stage=stage, parent="base", base_model="b", artifact="a")
        for stage in stages
    ]
    client: Any = SimpleNamespace(policy=SimpleNamespace(list_policy_versions=lambda run_id: versions))
    assert version_of(client, "run-1") == meant
    assert [version_of(client, name) for name in ("latest", "base")] == ["latest", "base"]
