"""Questions are closed by the labels that count, whoever is shut out at the very moment of a label."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rlhf_core.records.annotation import AnnotatorChange
from rlhf_core.records.feedback import Preference
from rlhf_core.records.samples import Comparison
from rlhf_core.records.studies import StudyPair, StudyPlan
from rlhf_core.store.databases.place import Place
from rlhf_core.store.store import Store
from rlhf_core.studies.results import set_standing, settle
from tests.store.examples import comparison, preference
from tests.store.postgres_server import Server

STUDY = "study"
ADA, BO = "human:ada", "human:bo"
WAIT_SECONDS = 0.3
"""For somebody who must wait not to be done."""


@pytest.fixture
def two(postgres: Server, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Two processes' stores in one database, with a study of two pairs."""
    place = Place(database=postgres.empty())
    with closing(Store.open(tmp_path / "a", place)) as first, closing(Store.open(tmp_path / "b", place)) as second:
        open_study(first, [comparison(f"c{number}", STUDY) for number in range(2)])
        yield first, second


def open_study(store: Store, pairs: list[Comparison]) -> None:
    plan = StudyPlan(policies=("p", "q"), objectives=("harmless",), stopping="fixed", pairs=len(pairs))
    sides = {"a_policy": "p", "b_policy": "q", "a_words": 1, "b_words": 1}
    rows = [
        StudyPair(study_id=STUDY, comparison_id=pair.id, place=place, prompt_id=pair.a.prompt.id, **sides)
        for place, pair in enumerate(pairs)
    ]
    with store.transaction():
        store.comparisons.add(pairs)
        store.studies.add(STUDY, plan)
        store.studies.open(STUDY, rows, plan)


def submit(store: Store, labeler: str, pair: str) -> None:
    """As a label is stored: with what it decides, in one commit."""
    given: Preference = preference(f"{labeler}-{pair}", pair, labeler, run_id=STUDY)
    with store.transaction():
        store.preferences.submit(given, given.id)
        settle(store, STUDY, "harmless")


def shut_out(store: Store, labeler: str) -> None:
    set_standing(store, AnnotatorChange(labeler=labeler, standing="paused"))


def meanwhile(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, work: Callable[[], None]
) -> Callable[[], None]:
    """Let somebody else begin their work right after a step of this thread; returns what waits for them."""
    step, other = getattr(owner, name), threading.Thread(target=work)

    def then(*given: object) -> object:
        done = step(*given)
        if not other.ident:
            other.start()
            other.join(WAIT_SECONDS)
        return done

    monkeypatch.setattr(owner, name, then)
    return other.join


def closed(store: Store) -> str:
    return store.studies.questions(STUDY)[0].closed_because


def test_the_last_label_of_a_study_does_not_close_it_while_the_first_labeler_is_shut_out(two, monkeypatch):
    reviewer, labeler = two
    submit(labeler, ADA, "c0")
    wait = meanwhile(monkeypatch, reviewer.studies, "answers", lambda: submit(labeler, BO, "c1"))
    shut_out(reviewer, ADA)
    wait()
    assert closed(reviewer) == ""
    submit(labeler, BO, "c0")
    assert closed(reviewer) == "complete"


def test_the_last_label_of_somebody_who_is_shut_out_meanwhile_closes_nothing(two, monkeypatch):
    reviewer, labeler = two
    submit(labeler, BO, "c0")
    wait = meanwhile(monkeypatch, labeler.studies, "close", lambda: shut_out(reviewer, ADA))
    submit(labeler, ADA, "c1")
    wait()
    assert closed(reviewer) == ""
