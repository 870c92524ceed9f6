"""What people said of pairs and replies that two runs have in common."""

from rlhf_core.config.run import RunConfig
from rlhf_core.exports.run_rows import assessment_rows, preference_rows
from rlhf_core.records.assessments import Assessment
from rlhf_core.records.runs import StageResult
from rlhf_core.store.store import Store
from tests.store.examples import comparison, preference


def rated(store: Store, name: str, sample: str, run_id: str) -> None:
    given = {"form": "rating", "item_id": sample, "sample_ids": (sample,), "objective": "harmless"}
    store.assessments.submit(
        Assessment.model_validate({"id": name, **given, "labeler": "human:ada", "rating": 5, "run_id": run_id})
    )


def created(store: Store, from_run: str | None = None) -> str:
    config = RunConfig(kind="ppo" if from_run else "pipeline", from_run=from_run)
    return store.runs.create(config.kind, config.model_dump_json(), "", "").id


def ids(store: Store, run: str) -> list[str]:
    return [row["lineage"]["id"] for row in assessment_rows(store, run, "harmless", "rating")]


def test_what_is_said_of_what_two_runs_share_is_each_ones(store: Store):
    first, second, other = created(store), created(store), created(store)
    for run in (first, second):
        store.comparisons.add([comparison("c", run)])
    store.comparisons.add([comparison("d", other)])
    rated(store, "shared", "c-a", first)
    rated(store, "alone", "d-a", other)
    store.preferences.submit(preference("p", "c", run_id=first), "p")
    store.preferences.add([preference("ai", "c", "ai:j", run_id=first)])
    assert [ids(store, run) for run in (first, second, other, "")] == [
        *(["shared"], ["shared"], ["alone"], ["shared", "alone"])
    ]
    labels = [[row["lineage"]["id"] for row in preference_rows(store, run, "", None)] for run in (first, second, other)]
    assert labels == [["p", "ai"], ["p"], []], "the AI's labels are those of the run that asked for them"


def test_a_run_that_goes_on_from_another_has_its_own_replies_and_those_of_its_labels_once(store: Store):
    first = created(store)
    store.comparisons.add([comparison("c", first)])
    store.stage_results.add(StageResult(run_id=first, stage="label"))
    second = created(store, first)
    store.samples.add([comparison("c", second).a, comparison("e", second).a])
    rated(store, "taken", "c-b", first)
    rated(store, "both", "c-a", first)
    rated(store, "own", "e-a", second)
    assert ids(store, first) == ["taken", "both"]
    assert ids(store, second) == ["taken", "both", "own"]
