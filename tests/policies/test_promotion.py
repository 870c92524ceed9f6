"""What may hold an alias, who holds it, and the way back."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from rlhf_core.errors import Conflict, GatesNotPassed, InvalidInput, NotFound
from rlhf_core.policies.policies import Policies
from rlhf_core.policies.resolve import speaking
from rlhf_core.store.store import Store


@pytest.fixture
def policies(store: Store) -> Policies:
    return Policies(store)


def test_the_base_speaks_until_something_is_promoted_and_again_after_the_rollback(store, trained, policies):
    one = trained("policy-one")
    assert speaking(store) == ("base", "")
    policies.promote_policy(one)
    assert speaking(store) == (one, "production")
    back = policies.rollback_policy()
    assert (back.version, back.previous) == ("", one)
    assert speaking(store) == ("base", "")
    with pytest.raises(Conflict, match="nothing holds 'production'"):
        policies.rollback_policy()


def test_each_promotion_is_taken_back_once(trained, policies):
    names = [trained(f"policy-{name}") for name in ("one", "two", "three")]
    for name in names:
        policies.promote_policy(name)
    assert [policies.rollback_policy().version for _ in names] == ["policy-two", "policy-one", ""]


def test_after_a_rollback_and_another_promotion_the_way_back_leads_past_what_was_taken_back(trained, policies):
    one, two, three = (trained(f"policy-{name}") for name in ("one", "two", "three"))
    policies.promote_policy(one)
    policies.promote_policy(two)
    policies.rollback_policy()
    policies.promote_policy(three)
    assert policies.rollback_policy().version == one


def test_promoting_the_holder_changes_nothing(trained, policies):
    one = trained("policy-one")
    assert policies.promote_policy(one) == policies.promote_policy(one, reason="again")
    assert len(policies.policy_history()) == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"state": "FAILED"}, "failed"),
        ({"state": "CANCELLED"}, "was cancelled"),
        ({"state": "RUNNING", "done": False}, "is not finished"),
        ({"state": "PAUSED", "done": False}, "is not finished"),
        ({"stage": "control"}, "is a control of PPO"),
    ],
)
def test_what_is_unfinished_is_never_promoted_whoever_asks(trained, policies, given, told):
    name = trained("policy-half", **given)
    with pytest.raises(Conflict, match=told) as refused:
        policies.promote_policy(name, allow_ungated=True, reason="I say so")
    assert not isinstance(refused.value, GatesNotPassed)
    assert policies.policy_history() == []


def test_a_finished_stage_of_a_run_that_goes_on_can_be_promoted(trained, policies):
    assert policies.promote_policy(trained("policy-sft", state="PAUSED")).version == "policy-sft"


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_a_failed_gate_is_overridden_only_in_words_which_the_history_keeps(trained, policies, stage):
    name = trained("policy-ungated", gate=False, stage=stage)
    with pytest.raises(GatesNotPassed, match="harmless: agrees with gold"):
        policies.promote_policy(name, reason="I say so")
    with pytest.raises(InvalidInput, match="reason: not given"):
        policies.promote_policy(name, allow_ungated=True, reason=" ")
    policies.promote_policy(name, changed_by="ada", allow_ungated=True, reason="people read 50 replies")
    [change] = policies.policy_history("production")
    assert (change.changed_by, change.reason) == ("ada", "people read 50 replies")
    assert change.overridden.startswith("harmless: agrees with gold")


def test_a_policy_that_no_judge_taught_needs_no_gate(trained, policies):
    name = trained("policy-people", gate=None)
    assert policies.get_policy(name).gates == "none"
    assert policies.promote_policy(name).overridden == ""


def test_latest_is_the_newest_of_a_succeeded_run_whose_gates_passed(store, trained):
    with pytest.raises(NotFound, match="gates passed"):
        speaking(store, "latest")
    trained("policy-good")
    trained("policy-ungated", gate=False)
    trained("policy-failed", state="FAILED")
    trained("policy-control", stage="control")
    trained("policy-paused", state="PAUSED")
    assert speaking(store, "latest").version == "policy-good"


def test_a_version_is_found_by_its_beginning_its_run_and_its_alias(store, trained, policies):
    one, _ = trained("policy-0d8c88"), trained("policy-0d8c99")
    policies.promote_policy(one, "candidate")
    run = store.policy_versions.get(one).run_id
    assert {speaking(store, name).version for name in (one, "policy-0d8c88", run, "candidate")} == {one}
    assert speaking(store, "policy-0d8c8").version == one
    with pytest.raises(InvalidInput, match="begins 2 policy versions"):
        speaking(store, "policy-0d8c")
    with pytest.raises(NotFound, match='did you mean "candidate"'):
        speaking(store, "candidat")


@pytest.mark.parametrize("alias", ["", "base", "latest", "policy-1", "run-1", "Production", "a b", "x" * 41, "1st"])
def test_a_word_that_means_something_else_is_no_alias(trained, policies, alias):
    name = trained("policy-one")
    with pytest.raises(InvalidInput) as refused:
        policies.promote_policy(name, alias)
    assert refused.value.field == "alias"


def test_the_history_of_aliases_cannot_be_changed(tmp_path: Path, trained, policies):
    policies.promote_policy(trained("policy-one"))
    with sqlite3.connect(tmp_path / "data/charter.db") as connection:
        for sql in ("UPDATE alias_changes SET version = 'x'", "DELETE FROM alias_changes"):
            with pytest.raises(sqlite3.IntegrityError, match="only grows"):
                connection.execute(sql)
