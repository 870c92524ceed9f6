"""What `charter call` says could have been meant, and who `charter generate` says answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from charter.v1 import trainer_pb2
from google.protobuf import descriptor_pool, json_format

from rlhf_core.records.models import PolicyStanding, PolicyVersion
from services.cli.call import allowed_instead, speaker_text


def policy(name: str, **given: Any) -> PolicyStanding:
    version = PolicyVersion(id=name, run_id="run-1", stage="ppo", parent="base", base_model="b", artifact="a")
    return PolicyStanding(version=version, run_state="SUCCEEDED", **given)


def asking(*policies: PolicyStanding) -> Any:
    return SimpleNamespace(policy=SimpleNamespace(list_policies=lambda: list(policies)))


def test_the_holder_of_production_is_named_with_its_aliases():
    holder = policy("policy-2", aliases=("production", "candidate"), gates="passed")
    assert speaker_text(asking(holder), holder, "") == "policy policy-2 (production, candidate)"


def test_the_base_answers_by_default_and_the_way_to_the_newest_fit_policy_is_told():
    half, fit = policy("policy-3", unfinished="its run 'run-1' failed"), policy("policy-2", gates="passed")
    told = speaker_text(asking(half, fit), policy("base"), "")
    assert "base model" in told and told.endswith("charter policies promote policy-2")
    assert "promote" not in speaker_text(asking(half), policy("base"), "")
    assert speaker_text(asking(fit), policy("base"), "base") == "policy base"


def test_an_ungated_policy_that_is_named_answers_and_its_gates_are_told():
    ungated = policy("policy-4", gates="failed", gate_reason="harmless: agrees on 53 %")
    assert speaker_text(asking(ungated), ungated, "policy-4") == "policy policy-4; gates: harmless: agrees on 53 %"


@pytest.mark.parametrize(
    ("request_class", "body", "told"),
    [
        ("GetRunRequest", '{"run_idd": "x"}', 'did you mean "runId"? known: runId, name, readMask'),
        ("UpdateRunRequest", '{"run": {"disply_name": "x"}}', 'did you mean "displayName"? known: id, '),
        (
            "ListRunsRequest",
            '{"states": ["RUN_STATE_RUNING"]}',
            'did you mean "RUN_STATE_RUNNING"? known: ',
        ),
        ("GetRunRequest", "{", "Fields of GetRunRequest: runId, name, readMask"),
    ],
)
def test_what_json_gets_wrong_is_told_with_what_could_have_been_meant(request_class, body, told):
    request = getattr(trainer_pb2, request_class)()
    with pytest.raises(json_format.ParseError) as caught:
        json_format.Parse(body, request)
    reason = str(caught.value).strip().splitlines()[0].rstrip(".")
    assert allowed_instead(descriptor_pool.Default(), request.DESCRIPTOR, reason).startswith(told)
