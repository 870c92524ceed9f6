"""The order in which people are asked, and what studies change of it."""

import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rlhf_core.errors import Conflict
from rlhf_core.records.annotation import Adjudication
from rlhf_core.records.queue import PairInformation
from rlhf_core.records.studies import StudyPair, StudyPlan, StudyQuestion
from rlhf_core.seeding import UNIFORM_SLICE, uniform_draw
from rlhf_core.store.databases.sqlite import SqliteConnections
from rlhf_core.store.store import Store
from tests.store.examples import comparison, preference

NAMES = [f"n{number}" for number in range(40)]
OUTSIDE = [name for name in NAMES if uniform_draw(name) >= UNIFORM_SLICE]
INSIDE = [name for name in NAMES if uniform_draw(name) < UNIFORM_SLICE]


def information(name: str, priority: float, objective: str = "harmless") -> PairInformation:
    return PairInformation(
        comparison_id=name,
        objective=objective,
        run_id="run",
        information=priority,
        spread=1.0,
        abstained=False,
        disagreement=0.0,
        coverage=0.0,
        priority=priority,
    )


def asked(store: Store, count: int, labeler: str = "human:ada", objective: str = "harmless") -> list[str]:
    return [pair.id for pair in store.comparisons.upcoming(labeler, objective, count=count)]


def test_what_tells_most_is_asked_first_and_every_fifth_comes_from_the_slice_whatever_it_tells(store: Store):
    store.comparisons.add(comparison(name) for name in NAMES)
    told = [information(name, 0.01 * place) for place, name in enumerate(OUTSIDE)]
    store.pair_information.put([*told, *(information(name, 9.0) for name in INSIDE[1:])])
    first = asked(store, 10)
    by_lot = sorted(INSIDE, key=uniform_draw)
    best = OUTSIDE[::-1]
    assert first == [*best[:4], by_lot[0], *best[4:8], by_lot[1]]
    assert asked(store, 3, objective="helpful") == OUTSIDE[:3], "of another objective nothing is told"


def test_a_later_run_puts_pairs_in_another_order_and_abstentions_stand_with_what_tells_a_bit(store: Store):
    first, second, third, fourth = OUTSIDE[:4]
    store.comparisons.add(comparison(name) for name in OUTSIDE[:4])
    store.pair_information.put([information(first, 0.5), information(second, 1.5)])
    store.preferences.add([preference("x", third, "ai:judge", abstained=True)])
    assert asked(store, 4) == [second, third, first, fourth]
    store.pair_information.put([information(second, 0.1)])
    assert asked(store, 4) == [third, first, second, fourth]
    assert [one.comparison_id for one in store.pair_information.find("harmless", "run")] == [first, second]
    assert store.pair_information.find("harmless", "other") == []


def study(store: Store, names: list[str], labels_per_pair: int = 1) -> None:
    plan = StudyPlan(policies=("base", "policy-1"), objectives=("harmless",), labels_per_pair=labels_per_pair)
    store.comparisons.add(comparison(name, "study") for name in names)
    rows = [
        StudyPair(
            study_id="study",
            comparison_id=name,
            place=place,
            prompt_id="p",
            a_policy="base",
            b_policy="policy-1",
            a_words=2,
            b_words=2,
        )
        for place, name in enumerate(names)
    ]
    store.studies.add("study", plan)
    store.studies.open("study", rows, plan)


def test_a_pair_of_a_study_is_asked_about_by_as_many_as_its_plan_says_for_its_objectives_alone(store: Store):
    study(store, OUTSIDE[:2], labels_per_pair=2)
    store.preferences.add([preference("1", OUTSIDE[0], "human:bo"), preference("2", OUTSIDE[0], "ai:judge")])
    assert asked(store, 5) == OUTSIDE[:2]
    store.preferences.add([preference("3", OUTSIDE[0], "human:cy")])
    assert asked(store, 5) == OUTSIDE[1:2]
    assert asked(store, 5, objective="helpful") == []
    assert store.comparisons.waiting("human:ada", "harmless") == 1
    store.studies.close(StudyQuestion(study_id="study", objective="harmless", wanted=2, closed_because="complete"))
    assert asked(store, 5) == []
    assert [answer.labeler for answer in store.studies.answers("study", "harmless")] == ["human:bo", "human:cy"]


def test_the_slice_that_measures_the_judge_has_no_pair_of_a_study(store: Store):
    study(store, INSIDE[:2])
    store.comparisons.add([comparison(INSIDE[2])])
    assert [one.id for one in store.comparisons.upcoming("human:ada", "harmless", uniform=True, count=5)] == INSIDE[2:3]
    assert store.comparisons.waiting("human:ada", "harmless", uniform=True) == 1
    assert set(asked(store, 5)) == set(INSIDE[:3])


def test_nobody_decides_on_a_pair_of_a_study(store: Store):
    study(store, OUTSIDE[:1])
    with pytest.raises(Conflict, match="is of a study"):
        store.adjudications.add(Adjudication(comparison_id=OUTSIDE[0], objective="harmless", choice="a"))
    assert store.adjudications.find() == [] and asked(store, 5) == OUTSIDE[:1]


def test_a_deleted_study_leaves_its_labelled_pairs_known_as_such_and_asks_about_none(store: Store):
    run = store.runs.create("study", "{}", "", "made")
    store.runs.cancel(run.id)
    plan = StudyPlan(policies=("base", "policy-1"), objectives=("harmless",))
    store.comparisons.add(comparison(name, run.id) for name in OUTSIDE[:2])
    store.studies.add(run.id, plan)
    common = {"study_id": run.id, "prompt_id": "p", "a_policy": "base", "b_policy": "policy-1", "a_words": 1}
    rows = [StudyPair(comparison_id=name, place=place, b_words=1, **common) for place, name in enumerate(OUTSIDE[:2])]
    store.studies.open(run.id, rows, plan)
    store.preferences.add([preference("1", OUTSIDE[0], run_id=run.id)])
    assert store.studies.page(5) == ([run.id], 0)
    store.deletion.delete(run.id)
    assert store.studies.page(5) == ([], 0)
    assert store.studies.among(OUTSIDE) == {OUTSIDE[0]}
    assert asked(store, 5, "human:bo") == []


def test_the_order_is_what_the_rule_says_of_each_pair(store: Store):
    drawn = random.Random(5)
    names = [f"r{number}" for number in range(60)]
    store.comparisons.add(comparison(name) for name in names)
    told = {name: round(drawn.uniform(0, 2), 6) for name in drawn.sample(names, 15)}
    store.pair_information.put(information(name, priority) for name, priority in told.items())
    judged = {name: (drawn.random() < 0.3, round(drawn.random(), 6)) for name in drawn.sample(names, 40)}
    store.preferences.add(
        preference(f"ai{name}", name, "ai:j", probability=sure, abstained=abstained)
        for name, (abstained, sure) in judged.items()
    )
    # Another judge is surer of some, and abstains on others.
    twice = drawn.sample(sorted(judged), 12)
    store.preferences.add(
        preference(f"k{name}", name, "ai:k", probability=1.0, abstained=place < 4) for place, name in enumerate(twice)
    )
    mine = drawn.sample(names, 7)
    store.preferences.add(preference(f"me{name}", name) for name in mine)

    def rank(name: str) -> tuple[float, float, float]:
        abstained, sure = judged.get(name, (False, 0.0))
        abstained |= name in twice[:4]
        if name in told:
            return -told[name], 0, 0
        if abstained:
            margins = [abs(sure - 0.5)] * judged[name][0] + [0.5] * (name in twice[:4])
            return -1.0, 1, min(margins)
        return (0, 2, abs(sure - 0.5)) if name in judged else (0, 3, names.index(name))

    left = [name for name in names if name not in mine]
    by_worth = sorted((name for name in left if uniform_draw(name) >= UNIFORM_SLICE), key=rank)
    by_lot = sorted((name for name in left if uniform_draw(name) < UNIFORM_SLICE), key=uniform_draw)
    expected: list[str] = []
    for place in range(len(mine), len(mine) + len(left)):
        first, second = (by_lot, by_worth) if place % 5 == 4 else (by_worth, by_lot)
        expected.append((first or second).pop(0))
    assert asked(store, len(left) + 5) == expected
    assert [asked(store, count) for count in (1, 7)] == [expected[:1], expected[:7]]


def test_what_comes_next_is_found_by_indexes_without_reading_or_sorting_all_pairs(tmp_path: Path, monkeypatch):
    with closing(Store.open(tmp_path)) as store:
        store.comparisons.add(comparison(name) for name in NAMES)
        store.pair_information.put(information(name, 1.0) for name in OUTSIDE[:5])
        rows, seen = SqliteConnections.rows, list[tuple[str, Any]]()

        def noted(self: SqliteConnections, sql: str, values: Any = ()) -> Any:
            seen.append((sql, values))
            return rows(self, sql, values)

        monkeypatch.setattr(SqliteConnections, "rows", noted)
        assert len(asked(store, 5)) == 5
        walks = [one for one in seen if "LIMIT :count" in one[0]]
        for sql, values in walks:
            plan = [row["detail"] for row in rows(store.comparisons._connections, f"EXPLAIN QUERY PLAN {sql}", values)]
            read_whole = ("SCAN c", "SCAN p", "SCAN told", "USE TEMP B-TREE FOR ORDER BY", "MATERIALIZE ai")
            assert not [line for line in plan if line.startswith(read_whole)], plan
        assert len(walks) == 3
