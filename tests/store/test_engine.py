from __future__ import annotations

import sqlite3

import pytest

from rlhf_core.store.databases.sqlite import engine, resets_safely


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
    ],
)
def test_the_versions_with_the_wal_reset_bug_are_known(version: tuple[int, ...], safe: bool):
    assert resets_safely(version) is safe


def test_the_engine_is_the_one_that_python_uses():
    assert engine().version == sqlite3.sqlite_version
