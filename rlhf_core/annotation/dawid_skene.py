"""How skilled each person is, and what the truth of each item probably is, both from the answers alone.

Dawid and Skene 1979, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm": everybody has a
table of what they say given the truth; EM finds the tables and the truths that explain the answers. Tables are smoothed
by pseudo-counts, a Dirichlet prior under which EM finds the mode (as Passonneau and Carpenter 2014 do), so that
somebody with three answers is neither perfect nor hopeless.

The truths are: sample a is better, neither is, b is better. Which sample is called a means nothing, so the tables are
kept equal under an exchange of the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

A, EVEN, B = range(3)
TRUTHS = 3
UNKNOWN = -1
PSEUDO_ANSWERS = np.where(np.eye(TRUTHS) > 0, 4.0, 0.5)
"""(truth, said): five imagined answers of everybody to each truth, four of them right."""
PSEUDO_ITEMS = 1.0
"""Imagined items of each truth."""
MAX_STEPS = 200
SETTLED = 1e-9
"""Largest change of a probability at which EM stops."""


class Given(NamedTuple):
    """Answers, one by one: which item, whose, and A, EVEN or B. Each (N,)."""

    items: Indices
    people: Indices
    said: Indices


class Fit(NamedTuple):
    tables: Array
    """(people, truth, said): probability of what somebody says given the truth."""
    shares: Array
    """(truth,): how often each truth is the case."""
    truths: Array
    """(items, truth): probability of each item's truth given all answers."""


def fit(given: Given, items: int, people: int, known: Mapping[int, int] | None = None) -> Fit:
    """Find everybody's table and every item's truth by EM.

    `known` are the truths of items that somebody decided; they are taken as they are, and tell most of who is skilled.
    An item without answers gets the shares of the truths.
    """
    decided = np.array([*(known or {})], dtype=np.int64), np.array([*(known or {}).values()], dtype=np.int64)
    truths = _with_known(_first_guess(given, items), *decided)
    found = Fit(np.empty(0), np.empty(0), truths)
    for _ in range(MAX_STEPS):
        tables, shares = _maximised(given, truths, people)
        settled = _with_known(_expected(given, tables, shares, items), *decided)
        found, change = Fit(tables, shares, settled), float(np.abs(settled - truths).max(initial=0.0))
        truths = settled
        if change < SETTLED:
            break
    return found


def truths_of_others(found: Fit, given: Given, known: Mapping[int, int] | None = None) -> Array:
    """Return for each answer the probabilities of its item's truth by everybody else's answers: (N, truth).

    Nobody's own answer may confirm them. A known truth is known to all.
    """
    factors = np.log(found.tables[given.people, :, given.said])
    logs = np.tile(np.log(found.shares), (len(found.truths), 1))
    np.add.at(logs, given.items, factors)
    without = _normalised(logs[given.items] - factors)
    truths = np.full(len(found.truths), UNKNOWN)
    truths[[*(known or {})]] = [*(known or {}).values()]
    of_answers = truths[given.items]
    rows = np.flatnonzero(of_answers != UNKNOWN)
    return _with_known(without, rows, of_answers[rows])


def skills(found: Fit) -> Array:
    """Return each person's probability of being right on the next item: (people,)."""
    return np.einsum("t,ptt->p", found.shares, found.tables)


def _first_guess(given: Given, items: int) -> Array:
    counts = np.zeros((items, TRUTHS))
    np.add.at(counts, (given.items, given.said), 1.0)
    return (counts + 1 / TRUTHS) / (counts.sum(axis=1, keepdims=True) + 1)


def _with_known(truths: Array, rows: Indices, known: Indices) -> Array:
    """The same, in which what is known in some rows is certain."""
    truths[rows] = np.eye(TRUTHS)[known]
    return truths


def _maximised(given: Given, truths: Array, people: int) -> tuple[Array, Array]:
    """The tables and shares that are likeliest where the truths are as probable as this."""
    by_answer = np.zeros((people, TRUTHS, TRUTHS))
    np.add.at(by_answer, (given.people, given.said), truths[given.items])
    counts = by_answer.transpose(0, 2, 1) + PSEUDO_ANSWERS
    counts = counts + counts[:, ::-1, ::-1]
    shares = truths.sum(axis=0) + PSEUDO_ITEMS
    shares += shares[::-1]
    return counts / counts.sum(axis=2, keepdims=True), shares / shares.sum()


def _expected(given: Given, tables: Array, shares: Array, items: int) -> Array:
    """How probable each truth is under these tables and shares."""
    logs = np.tile(np.log(shares), (items, 1))
    np.add.at(logs, given.items, np.log(tables[given.people, :, given.said]))
    return _normalised(logs)


def _normalised(logs: Array) -> Array:
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
