"""What runs made, as rows of the formats that runs read."""

from __future__ import annotations

from collections.abc import Iterator

from rlhf_core.annotation.teaching import teaching, teaching_assessments
from rlhf_core.data.export_rows import (
    Row,
    assessment_lineage,
    assessment_row,
    demonstration_row,
    faults_row,
    preference_row,
    sample_row,
)
from rlhf_core.data.reward_examples import LabelledPair, Ranking, Rating
from rlhf_core.datasets.passed import examples
from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.assessment_labels import assessed_labels
from rlhf_core.feedback.preference_labels import probability_of
from rlhf_core.records.assessments import Assessment, Form
from rlhf_core.records.base import Stage
from rlhf_core.records.feedback import Labelers, Preference
from rlhf_core.stages.ancestry import results_of
from rlhf_core.store.store import Store

AT_ONCE = 500
"""Records in memory at a time."""


def preference_rows(store: Store, run_id: str, objective: str, labelers: Labelers | None) -> Iterator[Row]:
    """Yield labels of one run, or without one of all but studies, that neither abstain nor skip.

    Labels of people who are shut out are left out.

    Raises: InvalidInput where they are of several objectives, as a file holds those of one.
    """
    _check_one_objective({label.objective for label in _labels(store, run_id, objective, labelers)})
    for label in _labels(store, run_id, objective, labelers):
        pair = store.comparisons.get(label.comparison_id)
        if pair.a.response != pair.b.response:
            human = label.labeler.startswith("human:")
            yield preference_row(pair, label, probability_of(label.choice) if human else label.probability)


def assessment_rows(store: Store, run_id: str, objective: str, form: Form) -> Iterator[Row]:
    """Yield ratings or rankings of one run's replies, or without one of all but those that studies have rated.

    Raises: InvalidInput where they are of several objectives, as a file holds those of one.
    """
    found = _assessments(store, run_id, objective, form)
    _check_one_objective({one.objective for one in found})
    replies = store.samples.by_id({sample for one in found for sample in one.sample_ids})
    for one in found:
        for label in assessed_labels(one, replies):
            if isinstance(label, Rating | Ranking | LabelledPair):
                yield assessment_row(label, assessment_lineage(one))


def fault_rows(store: Store, run_id: str, objective: str) -> Iterator[Row]:
    """Yield replies of one run, or without one of all, with the faults that people marked in them, or found none."""
    for one in _assessments(store, run_id, objective, "spans"):
        yield faults_row(store.samples.get(one.item_id), one)


def demonstration_rows(store: Store, run_id: str) -> Iterator[Row]:
    """Yield answers that passed the critic of one run, or without one of all."""
    for run in [_doer(store, run_id, "critique")] if run_id else _runs(store):
        for sample, shown in examples(store, run):
            if shown is not None and shown.response.strip():
                lineage = {"run_id": run, "sample_id": sample.id, "policy_version": sample.policy_version}
                yield demonstration_row(shown, lineage)


def sample_rows(store: Store, run_id: str, policy_version: str, stage: str) -> Iterator[Row]:
    """Yield replies of one run, or without one of all, each once.

    Only those of a version or stage, where that is given.
    """
    seen: set[str] = set()
    for run in [run_id] if run_id else _runs(store):
        after = 0
        while placed := store.run_pages.samples(run, AT_ONCE, after, stage, policy_version):
            after = placed[-1].place
            for _, sample in placed:
                if sample.response.strip() and sample.id not in seen:
                    seen.add(sample.id)
                    yield sample_row(sample)


def _assessments(store: Store, run_id: str, objective: str, form: Form) -> list[Assessment]:
    """Find those of a run's replies, and of the run whose labels it has, each once, but for those that say nothing.

    Nothing is said by skips, and by people who are shut out.
    """
    runs = dict.fromkeys((_doer(store, run_id, "label"), run_id)) if run_id else ("",)
    found = {one.id: one for run in runs for one in store.assessments.find(objective, run, form)}
    said = [one for one in found.values() if not one.skipped]
    # Who names a study means its ratings, as with its labels of pairs.
    if not run_id:
        return teaching_assessments(store, said)
    shut_out = store.annotators.shut_out()
    return [one for one in said if one.labeler not in shut_out]


def _labels(store: Store, run_id: str, objective: str, labelers: Labelers | None) -> Iterator[Preference]:
    run, shut_out = _doer(store, run_id, "label") if run_id else None, store.annotators.shut_out()
    after = 0
    while True:
        found, after = store.preferences.page(AT_ONCE, after, objective or None, run, labelers)
        # Who names a study means its labels; nobody else trains on them by chance.
        kept = [one for one in found if one.labeler not in shut_out] if run else teaching(store, found)
        yield from (label for label in kept if not label.abstained and label.choice != "skip")
        if not after:
            return


def _check_one_objective(objectives: set[str]) -> None:
    if len(objectives) > 1:
        named = ", ".join(sorted(objectives))
        raise InvalidInput(
            f"objective: these labels are of several objectives ({named}), and a file holds those of one; name it",
            "objective",
        )


def _doer(store: Store, run_id: str, stage: Stage) -> str:
    """The run that did the stage whose results this one has; itself where it is doing it still."""
    done = results_of(store, run_id).get(stage)
    return done.run_id if done else run_id


def _runs(store: Store) -> list[str]:
    """All runs, oldest first."""
    found: list[str] = []
    token = ""
    while True:
        runs, token = store.runs.page(AT_ONCE, token)
        found += [run.id for run in runs]
        if not token:
            return found[::-1]
