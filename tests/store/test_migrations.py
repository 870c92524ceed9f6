import hashlib
from pathlib import Path

import pytest
import sqlite_utils

from rlhf_core.errors import Conflict
from rlhf_core.seeding import UNIFORM_SLICE, uniform_draw
from rlhf_core.store.migrations import charter
from rlhf_core.store.store import Store
from tests.store.examples import preference


def test_a_store_opened_again_is_as_it_was(tmp_path: Path):
    first = Store.open(tmp_path)
    run = first.runs.create("ppo", "{}", "k", "q")
    first.close()
    second = Store.open(tmp_path)
    assert second.runs.get(run.id) == run
    second.close()


def test_all_tables_are_strict_and_every_step_is_recorded(tmp_path: Path):
    Store.open(tmp_path).close()
    db = sqlite_utils.Database(tmp_path / "charter.db")
    ours = [table for table in db.tables if not table.name.startswith(("_", "sqlite_"))]
    assert len(ours) > 10
    assert all(table.strict for table in ours)
    assert [step.name for step in charter.applied(db)] == [
        "m001_texts",
        "m002_labels",
        "m003_models",
        "m004_runs",
        "m005_protocols",
        "m006_gates",
        "m007_written",
        "m008_constitution_files",
        "m009_steering",
        "m010_requests",
        "m011_crashes",
        "m012_reward_quality",
        "m013_data_pairs",
        "m014_norm_temperature",
        "m015_policy_aliases",
        "m016_managed_runs",
        "m017_people_at_work",
        "m018_datasets",
        "m019_explored_samples",
        "m020_assessments",
        "m021_workers_heard_of",
        "m022_studies",
        "m023_pair_information",
        "m024_adjudication",
        "m025_pair_order",
        "m026_staleness",
        "m027_study_ratings",
        "m028_panels",
        "m029_nul_in_json",
        "m030_identity",
    ]
    db.close()


def test_comparisons_and_labels_of_an_older_store_get_their_place_in_the_uniform_slice(tmp_path: Path):
    db = sqlite_utils.Database(tmp_path / "charter.db")
    charter.apply(db, stop_before="m006_gates")
    time = {"created_at": "2026-01-01T00:00:00.000000Z"}
    db.table("prompts").insert(
        {"id": "p", "messages": '[{"role":"user","content":"?"}]', "split": "train"}
        | {"source": ""}
        | {"tags": "[]"}
        | time
    )
    sample = {"prompt_id": "p", "policy_version": "base", "finished": 1, "tokens": 1, "logprob": 0.0, "seed": 0}
    for side in "ab":
        db.table("samples").insert({"id": side, "response": side, "run_id": "r", "stage": "label"} | sample | time)
    names = [f"pair-{n}" for n in range(40)]
    db.table("comparisons").insert_all({"id": name, "a_id": "a", "b_id": "b", "run_id": "r"} | time for name in names)
    db.table("preferences").insert(
        {"id": "x", "comparison_id": names[0], "objective": "o", "labeler": "human:ada", "choice": "a"}
        | {"probability": 1.0, "abstained": 0, "reason": "", "gap": 0.0, "constitution_hash": "", "run_id": "r"}
        | {"weight": 1.0}
        | time
    )
    db.close()
    store = Store.open(tmp_path)
    seen = []
    while (pair := store.comparisons.next("human:eve", "o", uniform=True)) is not None:
        seen.append(pair.id)
        store.preferences.submit(preference(f"eve-{pair.id}", pair.id, "human:eve", "o"), pair.id)
    assert seen == sorted((name for name in names if uniform_draw(name) < UNIFORM_SLICE), key=uniform_draw)
    (old,) = (label for label in store.preferences.find("o") if label.labeler == "human:ada")
    assert not old.uniform, "nobody drew it evenly"
    store.close()


def test_questions_of_older_studies_are_about_pairs_and_stay_as_they_were(tmp_path: Path):
    db = sqlite_utils.Database(tmp_path / "charter.db")
    charter.apply(db, stop_before="m027_study_ratings")
    time = {"created_at": "2026-01-01T00:00:00.000000Z"}
    plan = '{"policies": ["base", "policy-1"], "objectives": ["helpful", "harmless"], "labels_per_pair": 2}'
    db.table("studies").insert({"id": "s", "plan": plan} | time)
    rows = [("harmless", "2026-01-02T00:00:00.000000Z", "decided"), ("helpful", "", "")]
    db.table("study_questions").insert_all(
        {"study_id": "s", "objective": name, "labels_per_pair": 2, "closed_at": at, "closed_because": why} | time
        for name, at, why in rows
    )
    db.close()
    store = Store.open(tmp_path)
    found = store.studies.questions("s")
    assert [(one.form, one.objective, one.wanted, one.closed_at, one.closed_because) for one in found] == [
        ("pairs", "helpful", 2, "", ""), ("pairs", "harmless", 2, rows[0][1], "decided"),
    ]  # fmt: skip
    assert store.studies.questions("s", "ratings") == [] and store.studies.get("s").ratings_per_reply == 0
    assert store.integrity_check() == []
    store.close()


def test_a_store_of_a_newer_charter_is_left_alone(tmp_path: Path):
    Store.open(tmp_path).close()
    db = sqlite_utils.Database(tmp_path / "charter.db")
    db.table("_sqlite_migrations").insert({"migration_set": "charter", "name": "m999_future", "applied_at": "later"})
    db.close()
    with pytest.raises(Conflict, match=r"newer Charter .*m999_future"):
        Store.open(tmp_path)


def test_the_texts_of_an_older_store_become_files(tmp_path: Path):
    db = sqlite_utils.Database(tmp_path / "charter.db")
    charter.apply(db, stop_before="m008_constitution_files")
    db.execute("INSERT INTO constitutions VALUES ('k1', 'home', 'id: home', 'mine.yaml', '2026-01-01T00:00:00Z')")
    db.conn.commit()
    db.close()
    store = Store.open(tmp_path)
    [file] = store.constitutions.files("k1")
    assert (file.id, file.text) == (hashlib.sha256(b"id: home").hexdigest()[:16], "id: home")
    store.close()
