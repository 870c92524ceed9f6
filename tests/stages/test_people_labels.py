"""What people's labels say together: to reward models, and of which reply is better."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from rlhf_core.annotation.pooled_answers import SoftLabel
from rlhf_core.records.annotation import Adjudication, AnnotatorChange
from rlhf_core.records.feedback import Choice
from rlhf_core.records.runs import StageResult
from rlhf_core.stages.labelling.people import human_truth, people_labels
from rlhf_core.stages.reward_data import labels_of
from rlhf_core.store.store import Store
from tests.stages.conftest import Desk, NumberJudge
from tests.store.examples import comparison, preference


def said(store: Store, pair: str, who: str, choice: Choice, objective: str = "helpful") -> None:
    label = preference(f"{pair}{who}", pair, f"human:{who}", objective).model_copy(update={"choice": choice})
    store.preferences.submit(label, f"{pair}{who}{choice}")


def test_people_know_what_they_are_sure_of_together_of_pairs_that_were_drawn_evenly():
    def label(pair: str, probability: float, uniform: bool = True) -> SoftLabel:
        return SoftLabel(pair, probability, probability == 0.5, max(probability, 1 - probability), 1.0, uniform, 2)

    labels = [label("a", 0.9), label("b", 0.1), label("unsure", 0.6), label("even", 0.5), label("chosen", 0.9, False)]
    assert human_truth(labels) == {"a": True, "b": False}


def test_a_pair_of_several_people_is_one_label_that_reward_models_learn_from(desk: Desk):
    ctx = desk.context(NumberJudge(), {"kind": "label", "reward": {"human_weight": 2.0}})
    ctx.results["label"] = StageResult(run_id=ctx.run.id, stage="label")
    desk.store.comparisons.add(comparison(name) for name in ("one", "agreed", "split", "decided", "aside", "even"))
    for who in ("ada", "bo", "cy"):
        said(desk.store, "agreed", who, "a")
        said(desk.store, "split", who, "b" if who == "cy" else "a")
        said(desk.store, "even", who, "tie")
        said(desk.store, "decided", who, "a")
        said(desk.store, "aside", who, "a")
    said(desk.store, "one", "ada", "b")
    desk.store.adjudications.add(Adjudication(comparison_id="decided", objective="helpful", choice="b"))
    desk.store.adjudications.add(Adjudication(comparison_id="aside", objective="helpful", choice="skip"))
    found = {label.replies[0].split()[1]: label for label in labels_of(ctx, "helpful").labels}
    assert found.keys() == {f"{name}-a" for name in ("one", "agreed", "split", "decided", "even")}
    assert {label.weight for label in found.values()} == {2.0}
    assert (found["one-a"].probability, found["decided-a"].probability) == (0.0, 0.0)
    assert (found["even-a"].probability, found["even-a"].tied) == (0.5, True)
    assert 0.5 < found["split-a"].probability < found["agreed-a"].probability < 1


def test_who_is_shut_out_teaches_nothing_until_let_in_again(tmp_path: Path):
    with closing(Store.open(tmp_path)) as store:
        store.comparisons.add([comparison("c")])
        said(store, "c", "eve", "b")
        assert [label.probability for _, label in people_labels(store, "helpful")] == [0.0]
        store.annotators.change(AnnotatorChange(labeler="human:eve", standing="paused"))
        assert people_labels(store, "helpful") == []
        said(store, "c", "ada", "a")
        assert [label.probability for _, label in people_labels(store, "helpful")] == [1.0]
        store.annotators.change(AnnotatorChange(labeler="human:eve", standing="by_rule"))
        ((pair, label),) = people_labels(store, "helpful")
        assert pair == comparison("c") and label.people == 2
        assert label.probability == pytest.approx(0.5)
