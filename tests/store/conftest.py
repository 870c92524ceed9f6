from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_core.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store")
    yield opened
    opened.close()
