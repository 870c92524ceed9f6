"""What people's labels say of which reply is better."""

from __future__ import annotations

from rlhf_core.records.feedback import Choice, Preference
from rlhf_core.stages.labelling.judge_truth import human_truth


def said(pair: str, choice: Choice, who: str = "ada", uniform: bool = True) -> Preference:
    return Preference(
        id=pair + who, comparison_id=pair, objective="helpful", labeler=f"human:{who}", choice=choice, uniform=uniform
    )


def test_people_know_what_most_of_them_say_of_pairs_that_were_drawn_evenly():
    labels = [
        *(said("one", "a"), said("one", "b", "eve"), said("one", "a", "bob")),
        *(said("even", "a"), said("even", "b", "eve")),
        *(said("tie", "tie"), said("skipped", "skip"), said("bad", "both_bad")),
        *(said("other", "b"), said("chosen", "a", uniform=False)),
    ]
    assert human_truth(labels) == {"one": True, "other": False}
