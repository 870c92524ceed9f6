"""The calibration round before the first pair, and gold items and repeats hidden among the pairs after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rlhf_core.annotation.next_pairs import REPEAT_AFTER, Question, Upcoming, turn_of, upcoming
from rlhf_core.config.labelling import LabellingConfig
from rlhf_core.errors import Forbidden
from rlhf_core.records.annotation import Adjudication, AnnotatorChange, Standing
from rlhf_core.records.feedback import Choice
from rlhf_core.store.store import Store
from tests.store.examples import comparison, preference
from tests.store.test_queue_order import study

ADA = Question("human:ada", "harmless")
CONFIG = LabellingConfig(calibration_items=4, calibration_right=0.75, gold_share=0.2, repeat_share=0.2)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(tmp_path)) as opened:
        yield opened


def fill(store: Store, pairs: int = 60, gold: int = 12, by: str = "rei") -> set[str]:
    """Pairs, and gold items of which a is the better reply."""
    store.comparisons.add(comparison(f"p{number}") for number in range(pairs))
    names = [f"g{number}" for number in range(gold)]
    store.comparisons.add(map(comparison, names))
    for name in names:
        store.adjudications.add(Adjudication(comparison_id=name, objective="harmless", choice="a", adjudicated_by=by))
    return set(names)


def ask(store: Store, count: int = 1, config: LabellingConfig = CONFIG, question: Question = ADA) -> Upcoming:
    return upcoming(store, question, config, count, lease_seconds=60)


def answer(store: Store, pair: str, choice: Choice = "a", question: Question = ADA) -> None:
    name = f"{len(store.annotators.answers(labeler=question.labeler))} {question.labeler}"
    label = preference(name, pair, question.labeler, question.objective).model_copy(update={"choice": choice})
    store.preferences.submit(label, name)


def walk(store: Store, steps: int, ahead: int = 1, choice: Choice = "a") -> list[str]:
    """Answer one after the other, with so many in hand each time."""
    seen = []
    for _ in range(steps):
        found = ask(store, ahead).comparisons
        if not found:
            break
        seen.append(found[0].id)
        answer(store, found[0].id, choice)
    return seen


def test_without_gold_items_everybody_is_asked_what_waits_and_nothing_else(store: Store):
    fill(store, pairs=30, gold=0)
    expected = [pair.id for pair in store.comparisons.upcoming("human:ada", "harmless", count=30)]
    assert [pair.id for pair in ask(store, 30).comparisons] == expected
    assert ask(store).remaining == 30
    assert len(set(walk(store, 40))) == 30


def test_somebody_new_answers_gold_items_first_and_is_then_let_in(store: Store):
    gold = fill(store)
    first = ask(store, 30)
    assert len(first.comparisons) == 4 and {pair.id for pair in first.comparisons} <= gold
    assert first.remaining == 4 + 60
    assert [pair.id for pair in ask(store, 2).comparisons] == [pair.id for pair in first.comparisons[:2]]
    seen = walk(store, 4)
    assert seen == [pair.id for pair in first.comparisons]
    after = ask(store, 10)
    assert after.remaining == 60 and any(pair.id not in gold for pair in after.comparisons)
    other = ask(store, 4, question=Question("human:bo", "harmless"))
    assert {pair.id for pair in other.comparisons} != set(seen), "everybody has an order of their own"


def test_who_is_wrong_too_often_gets_more_gold_items_until_none_is_left(store: Store):
    gold = fill(store, gold=7)
    assert set(walk(store, 4, choice="b")) <= gold
    assert ask(store).comparisons[0].id in gold and ask(store).remaining == 1 + 60
    walk(store, 3, choice="skip")
    with pytest.raises(Forbidden, match="0 of the last 4 calibration items as they were decided; needed: 75%"):
        ask(store)
    store.annotators.change(AnnotatorChange(labeler="human:ada", standing="admitted"))
    assert ask(store).comparisons[0].id not in gold


@pytest.mark.parametrize("anew", [True, False])
def test_a_decision_that_is_made_anew_or_taken_back_lets_nobody_in(store: Store, anew: bool):
    fill(store)
    seen = walk(store, 4, choice="b")
    if anew:
        again = Adjudication(comparison_id=seen[0], objective="harmless", choice="a", adjudicated_by="rei")
        store.adjudications.add(again)
    else:
        store.adjudications.withdraw(seen[0], "harmless", "rei")
    assert all(pair.id.startswith("g") for pair in ask(store, 5).comparisons)


def test_the_last_answers_decide_so_that_somebody_can_learn(store: Store):
    gold = fill(store)
    walk(store, 4, choice="b")
    walk(store, 2)
    assert ask(store).comparisons[0].id in gold
    walk(store, 1)
    assert {pair.id for pair in ask(store, 5).comparisons} - gold


def test_whoever_labels_already_stays_in_when_the_first_items_become_gold(store: Store):
    store.comparisons.add([comparison("early")])
    answer(store, "early")
    fill(store)
    assert len(ask(store, 10).comparisons) == 10


def test_too_few_gold_items_make_no_round(store: Store):
    gold = fill(store, gold=3)
    assert {pair.id for pair in ask(store, 10).comparisons} - gold
    for asked in (0, 4):
        config = CONFIG.model_copy(update={"calibration_items": asked})
        assert ask(store, 10, config).remaining == 60


def test_gold_items_and_repeats_stand_in_their_places_however_many_pairs_are_asked_for_at_once(tmp_path: Path):
    walks = []
    for ahead in (1, 7):
        with closing(Store.open(tmp_path / str(ahead))) as store:
            gold = fill(store)
            walks.append(walk(store, 48, ahead))
    one, seven = walks
    assert one == seven
    turns = [turn_of("human:ada", "harmless", place, CONFIG) for place in range(48)]
    for place in range(4, 48):
        if turns[place] == "gold" and len([p for p in one[:place] if p in gold]) < 12:
            assert one[place] in gold, place
        if turns[place] != "gold":
            assert one[place] not in gold or one[place] in one[:place], place
    again = [place for place, pair in enumerate(one) if pair in one[:place]]
    assert again and all(turns[place] == "repeat" for place in again)
    assert all(place - one.index(one[place]) > REPEAT_AFTER for place in again)


def test_a_repeat_is_a_second_answer_and_no_new_label(store: Store):
    fill(store)
    seen = walk(store, 60)
    answers = store.annotators.answers(labeler="human:ada")
    repeated = [each.comparison_id for each in answers if each.repeated]
    assert repeated and len(set(repeated)) == len(repeated) and len(seen) == len(answers) == 60
    assert len(store.preferences.find("harmless", labelers="human")) == 60 - len(repeated)


def test_a_pair_of_a_study_is_not_asked_about_a_second_time(store: Store):
    fill(store, pairs=0)
    names = [f"s{number}" for number in range(50)]
    study(store, names)
    seen = walk(store, 60)
    assert len(set(seen) & set(names)) > 40
    repeated = [each.comparison_id for each in store.annotators.answers(labeler="human:ada") if each.repeated]
    assert repeated and not set(repeated) & set(names)


def test_the_shares_are_those_of_the_settings():
    turns = [turn_of("human:ada", "helpful", place, CONFIG) for place in range(2000)]
    assert turns.count("gold") / 2000 == pytest.approx(0.2, abs=0.03)
    assert turns.count("repeat") / 2000 == pytest.approx(0.2, abs=0.03)


def test_who_asks_for_the_uniform_slice_gets_nothing_else(store: Store):
    gold = fill(store)
    walk(store, 4)
    uniform = ADA._replace(uniform=True)
    assert not {pair.id for pair in ask(store, 40, question=uniform).comparisons} & gold


def test_a_reviewer_is_not_asked_what_they_decided_themselves(store: Store):
    fill(store, by="ada")
    with pytest.raises(Forbidden):
        ask(store)
    assert len(ask(store, 9, question=Question("human:bo", "harmless")).comparisons) == 4


@pytest.mark.parametrize(("standing", "allowed"), [("paused", False), ("admitted", True), ("by_rule", True)])
def test_who_is_shut_out_gets_no_pairs(store: Store, standing: Standing, allowed: bool):
    fill(store, gold=0)
    store.annotators.change(AnnotatorChange(labeler="human:ada", standing=standing))
    if allowed:
        assert len(ask(store, 5).comparisons) == 5
    else:
        with pytest.raises(Forbidden, match="gets nothing more to label"):
            ask(store)
