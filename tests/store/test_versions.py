import hashlib

import pytest

from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.records.models import PolicyVersion
from rlhf_core.store.store import Store
from tests.records import calibration, judge_gate, norm_pack, reward_model

POLICY = PolicyVersion(id="p1", run_id="run", stage="sft", parent="base", base_model="sandbox", artifact="0" * 64)
REWARD = reward_model(id="m1", data_pairs=3, accuracy=0.875, accuracy_n=8)
PACK = norm_pack(
    id="n1",
    mean=(0.1, -0.2),
    sd=(1.0, 2.0),
    quantiles=((-2, -1, 0, 1, 2, 3),) * 2,
    correlation=((1.0, -0.25), (-0.25, 1.0)),
    length_slope=(0.0, 0.01),
)


def test_versions_come_back_as_they_were(store: Store):
    store.policy_versions.add(POLICY)
    store.reward_models.add(REWARD)
    store.norm_packs.add(PACK)
    assert store.policy_versions.get("p1") == POLICY
    assert store.reward_models.get("m1") == REWARD
    assert store.norm_packs.get("n1") == PACK
    store.calibrations.add(calibration())
    store.gates.add(judge_gate())
    assert store.calibrations.find("run") == [calibration()] and store.gates.find("run") == [judge_gate()]
    assert store.calibrations.find("other") == [] and store.gates.find("other") == []


def test_versions_are_listed_by_run_in_the_order_in_which_they_were_made(store: Store):
    later = [POLICY.model_copy(update={"id": name, "run_id": run}) for name, run in (("b", "two"), ("a", "two"))]
    for version in (POLICY, *later):
        store.policy_versions.add(version)
    assert store.policy_versions.find() == [POLICY, *later]
    assert store.policy_versions.find("two") == later
    assert store.reward_models.find("two") == []


def test_a_version_is_never_overwritten(store: Store):
    store.reward_models.add(REWARD)
    store.reward_models.add(REWARD.model_copy(update={"accuracy": 1.0}))
    assert store.reward_models.find() == [REWARD]


def test_an_unknown_version_is_named(store: Store):
    for read, kind in (
        (store.policy_versions.get, "policy version"),
        (store.reward_models.get, "reward model"),
        (store.norm_packs.get, "norm pack"),
        (store.constitutions.text, "constitution"),
    ):
        with pytest.raises(NotFound, match=f"no {kind} 'x9'"):
            read("x9")


def test_a_constitution_is_kept_as_it_was_written(store: Store):
    store.constitutions.add("k1", "household", "id: household\n# a comment\n", "built in")
    store.constitutions.add("k1", "household", "another", "built in")
    assert store.constitutions.text("k1") == "id: household\n# a comment\n"


def test_every_file_of_one_meaning_is_kept_under_the_hash_of_its_bytes(store: Store):
    for text in ("id: a\n", "id: a # again\n", "id: a\n"):
        store.constitutions.add("k1", "a", text, "mine.yaml")
    expected = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in ("id: a\n", "id: a # again\n")]
    files = store.constitutions.files("k1")
    assert [file.id for file in files] == expected and {file.source for file in files} == {"mine.yaml"}
    assert store.constitutions.files("k2") == []


def test_a_scale_that_is_not_finite_is_refused(store: Store):
    with pytest.raises(InvalidInput):
        store.norm_packs.add(PACK.model_copy(update={"sd": (float("nan"), 1.0)}))
