"""Everybody's skill and the truth of each item, from the answers alone."""

from __future__ import annotations

import numpy as np
import pytest

from rlhf_core.annotation.dawid_skene import EVEN, A, B, Given, fit, skills, truths_of_others


def answers(*given: tuple[int, int, int]) -> Given:
    """Of (item, person, said)."""
    columns = np.array(given, dtype=np.int64).reshape(-1, 3).T
    return Given(*columns)


def crowd(seed: int, right: list[float], items: int = 150, shared: int = 5) -> tuple[Given, np.ndarray]:
    """Each item is answered by some people, who are right so often, and else say either of the others."""
    rng = np.random.default_rng(seed)
    truths = rng.choice(3, size=items, p=[0.4, 0.2, 0.4])
    rows = []
    for item, truth in enumerate(truths):
        for person in rng.choice(len(right), size=shared, replace=False):
            wrong = rng.choice([other for other in range(3) if other != truth])
            rows.append((item, person, truth if rng.random() < right[person] else wrong))
    return answers(*rows), truths


def test_a_table_by_hand():
    """Of two items where a is better one is answered right. With five imagined answers to each truth the row of a is
    5, 0.5, 1.5; that of b, turned round, adds 4, 0.5, 0.5."""
    found = fit(answers((0, 0, A), (1, 0, B)), 2, 1, {0: A, 1: A})
    assert found.tables[0, A].tolist() == pytest.approx([9 / 12, 1 / 12, 2 / 12])
    assert found.tables[0, B].tolist() == pytest.approx([2 / 12, 1 / 12, 9 / 12])
    assert found.tables[0, EVEN].tolist() == pytest.approx([0.1, 0.8, 0.1])
    # Two items of a and one imagined of each truth; a and b are exchangeable.
    assert found.shares.tolist() == pytest.approx([2 / 5, 1 / 5, 2 / 5])
    assert skills(found).tolist() == pytest.approx([0.8 * 0.75 + 0.2 * 0.8])


def test_nobody_without_answers_is_perfect_or_hopeless():
    found = fit(answers(), 1, 1)
    assert skills(found).tolist() == pytest.approx([0.8])
    assert found.truths[0].tolist() == pytest.approx([1 / 3] * 3)


def test_the_truths_settle_where_tables_and_truths_explain_each_other():
    given, truths = crowd(0, [0.9] * 8)
    found = fit(given, 150, 8)
    assert found.truths.sum(axis=1).tolist() == pytest.approx([1.0] * 150)
    assert np.mean(found.truths.argmax(axis=1) == truths) > 0.97
    again = fit(given, 150, 8)
    assert (again.truths == found.truths).all()


def test_skill_tells_the_good_from_those_who_guess_and_from_those_who_say_the_contrary():
    given, truths = crowd(1, [0.9, 0.9, 0.85, 0.85, 0.9, 0.9, 1 / 3, 0.05])
    found = fit(given, 150, 8)
    right = skills(found)
    assert min(right[:6]) > 0.7 and right[6] < 0.5 and right[7] < 0.2
    votes = np.zeros((150, 3))
    np.add.at(votes, (given.items, given.said), 1)
    by_majority = np.mean(votes.argmax(axis=1) == truths)
    assert np.mean(found.truths.argmax(axis=1) == truths) > by_majority


def test_a_known_truth_stands_against_all_answers_and_tells_who_was_wrong():
    given = answers((0, 0, A), (0, 1, A), (0, 2, A), (1, 0, A), (1, 1, B))
    assert fit(given, 2, 3).truths[0].argmax() == A
    found = fit(given, 2, 3, {0: B, 1: B})
    assert found.truths[0].tolist() == [0, 0, 1]
    assert skills(found)[1] > skills(found)[0]


def test_nobodys_own_answer_confirms_them():
    given = answers((0, 0, A), (0, 1, B), (1, 1, A))
    found = fit(given, 2, 2)
    of_others = truths_of_others(found, given)
    assert of_others[0].argmax() == B and of_others[1].argmax() == A
    # Alone on an item: only the shares of the truths are left.
    assert of_others[2].tolist() == pytest.approx(found.shares.tolist())
    assert truths_of_others(found, given, {1: EVEN})[2].tolist() == [0, 1, 0]
