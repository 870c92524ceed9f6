"""Every table of the schema is thought of: where runs are deleted, and where a store is copied."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from rlhf_core.errors import Conflict
from rlhf_core.records.annotation import Adjudication
from rlhf_core.records.assessments import Assessment
from rlhf_core.records.models import PolicyVersion, Score
from rlhf_core.records.queue import PairInformation
from rlhf_core.records.studies import StudyPair, StudyPlan, StudyReply
from rlhf_core.store.connection import Connections
from rlhf_core.store.databases.copying import copy_rows, opened
from rlhf_core.store.run_deletion import TABLES
from rlhf_core.store.store import Store
from tests.records import reward_model
from tests.store.examples import comparison, preference, vote

KEPT = {
    "adjudications": "what people decided stays, with its pair",
    "alias_changes": "a history that only grows",
    "annotator_changes": "of people, not of runs",
    "assessment_leases": "they run out",
    "assessment_undos": "with the assessments",
    "assessments": "people gave them; their replies stay",
    "constitution_files": "another run may be under the same",
    "constitutions": "another run may be under the same",
    "datasets": "of their own",
    "label_leases": "they run out",
    "label_repeats": "of pairs that somebody labelled, which stay",
    "requests": "so that one that is sent again is known",
    "store_identity": "of the store",
    "workers": "of processes",
}
"""Tables from which no deletion of a run takes anything, and why."""


def tables(connections: Connections) -> set[str]:
    """All of them, but those that SQLite and the migrations keep for themselves."""
    found = connections.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {row["name"] for row in found if not row["name"].startswith(("_", "sqlite_"))}


def test_a_table_is_deleted_from_with_its_run_or_it_is_said_why_not(tmp_path: Path):
    with closing(opened(str(tmp_path))) as here:
        assert set(TABLES) | set(KEPT) == tables(here.connections)
    assert not set(TABLES) & set(KEPT)


def test_a_copy_has_all_tables_but_those_of_one_store(tmp_path: Path):
    with closing(opened(str(tmp_path / "here"))) as old, closing(opened(str(tmp_path / "there"))) as new:
        assert set(copy_rows(old.connections, new.connections)) == tables(old.connections) - {
            "workers",
            "store_identity",
        }


def replies_of(study_id: str, prompt_id: str) -> list[StudyReply]:
    rows = (("base", "c-a", 1), ("other", "c-b", 0))
    return [
        StudyReply(study_id=study_id, policy=policy, prompt_id=prompt_id, sample_id=sample, place=place)
        for policy, sample, place in rows
    ]


@pytest.mark.parametrize("labelled", [False, True])
def test_what_was_said_of_a_deleted_run_goes_or_stays_whole(store: Store, folder: Path, labelled: bool):
    run = store.runs.cancel(store.runs.create("study", "{}", "k", "").id)
    plan = StudyPlan(policies=("base", "other"), objectives=("harmless",), ratings_per_reply=1)
    pair = comparison("c", run.id)
    store.comparisons.add([pair])
    store.votes.add([vote("v", "c", run.id)])
    store.studies.add(run.id, plan)
    if labelled:
        # Before the pair is the study's, on whose pairs nobody decides.
        decided = {"comparison_id": "c", "objective": "harmless", "choice": "a", "adjudicated_by": "eve"}
        store.adjudications.add(Adjudication.model_validate(decided))
    placed = {"a_policy": "base", "b_policy": "other", "a_words": 1, "b_words": 1, "place": 0}
    row = StudyPair.model_validate({"study_id": run.id, "comparison_id": "c", "prompt_id": pair.prompt.id, **placed})
    store.studies.open(run.id, [row], plan, replies_of(run.id, pair.prompt.id))
    store.reward_models.add(reward_model(id="r", run_id=run.id))
    store.scores.add([Score(sample_id="c-a", objective="harmless", reward_model="r", score=0.5)])
    numbers = {"information": 0.5, "spread": 1, "abstained": 0, "disagreement": 0, "coverage": 0, "priority": 0.5}
    told = {"comparison_id": "c", "objective": "harmless", "run_id": run.id}
    store.pair_information.put([PairInformation.model_validate({**told, **numbers})])
    if labelled:
        store.preferences.submit(preference("by-ada", "c", run_id=run.id), "request")
        store.annotators.ask_again("human:ada", "harmless", ["c"])
        rated = {"id": "a", "form": "rating", "item_id": "c-a", "sample_ids": ("c-a",), "rating": 3}
        store.assessments.submit(
            Assessment.model_validate({**rated, "objective": "harmless", "labeler": "human:ada", "run_id": run.id})
        )
    [question] = store.studies.questions(run.id)
    assert store.studies.progress(question) == (1, int(labelled))
    assert store.studies.answered_by("human:ada") == [(run.id, "harmless")] * labelled
    assert (len(store.studies.answers(run.id, "harmless")), store.studies.skips(run.id, "harmless")) == (labelled, 0)
    gone = store.deletion.delete(run.id)
    assert store.integrity_check() == []
    assert gone.kept_labels == (2 if labelled else 0)
    left = {"preferences", "comparisons", "pair_information", "study_pairs", "study_replies", "studies"}
    left |= {"samples", "sample_numbers", "prompts"}
    with closing(opened(str(folder))) as here:
        rows = {table for table in TABLES if here.connections.rows(f"SELECT 1 AS one FROM {table} LIMIT 1")}
    assert rows == (left if labelled else set())
    assert {one.run_id for one in store.pair_information.find("harmless")} == ({""} if labelled else set())
    if labelled:
        assert store.studies.among(["c"]) == {"c"}, "nothing is ever trained on it"
        assert [one.labeler for one in store.annotators.answers("harmless")] == ["human:ada"]


def test_a_study_s_rated_reply_is_known_as_such_after_its_run_was_deleted(store: Store):
    """Though the pair, of which nobody said anything, is gone with the other reply."""
    run = store.runs.cancel(store.runs.create("study", "{}", "k", "").id)
    plan = StudyPlan(policies=("base", "other"), objectives=("harmless",), ratings_per_reply=1)
    pair = comparison("c", run.id)
    store.comparisons.add([pair])
    store.studies.add(run.id, plan)
    store.studies.open(run.id, [], plan, replies_of(run.id, pair.prompt.id))
    [question] = store.studies.questions(run.id, "ratings")
    assert store.study_ratings.progress(question) == (2, 0)
    rated = {"id": "a", "form": "rating", "item_id": "c-a", "sample_ids": ("c-a",), "rating": 3}
    store.assessments.submit(
        Assessment.model_validate({**rated, "objective": "harmless", "labeler": "human:ada", "run_id": run.id})
    )
    assert store.study_ratings.progress(question) == (2, 1)
    assert store.study_ratings.rated_by("human:ada") == [(run.id, "harmless")]
    assert store.deletion.delete(run.id).rows["study_replies"] == 1
    assert store.study_ratings.among(["c-a", "c-b"]) == {"c-a"}, "nothing is ever trained on it"
    assert store.integrity_check() == []


def test_a_run_whose_policy_a_study_is_about_to_ask_is_not_deleted(store: Store):
    made = store.runs.cancel(store.runs.create("ppo", "{}", "k", "").id)
    version = {"id": "policy-1", "run_id": made.id, "stage": "ppo", "parent": "base", "base_model": "b"}
    store.policy_versions.add(PolicyVersion.model_validate({**version, "artifact": "0" * 64}))
    study = store.runs.create("study", "{}", "k", "")
    store.studies.add(study.id, StudyPlan(policies=("base", "policy-1"), objectives=("harmless",)))
    with pytest.raises(Conflict, match=f"a study is about to ask: {study.id}"):
        store.deletion.delete(made.id)
    store.runs.cancel(study.id)
    assert store.deletion.delete(made.id).rows["policy_versions"] == 1
