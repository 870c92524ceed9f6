from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_core.store.databases.place import Place, use
from rlhf_core.store.store import Store


@pytest.fixture(params=["sqlite", "postgres"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a store will be opened: in the folder itself, or in a database that it names."""
    if request.param == "postgres":
        use(tmp_path / "store", Place(database=request.getfixturevalue("postgres").empty()))
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    opened = Store.open(folder)
    yield opened
    opened.close()
