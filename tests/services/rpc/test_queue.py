"""The order in which people are asked, with its parts, over a real socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlhf_core.errors import InvalidInput
from rlhf_core.records.queue import PairInformation
from rlhf_core.seeding import UNIFORM_SLICE, uniform_draw
from rlhf_core.store.store import Store
from tests.services.rpc.test_labelling import pairs
from tests.services.run_server import run_server
from tests.services.test_contract_lists import Labels


def test_the_parts_of_the_order_are_listed_and_the_order_is_that_in_which_pairs_are_given(tmp_path: Path):
    store, made = Store.open(tmp_path), pairs(20)
    store.comparisons.add(made)
    told = [
        PairInformation(
            comparison_id=pair.id,
            objective="helpful",
            run_id="run",
            information=number / 20,
            spread=2.5,
            abstained=True,
            disagreement=0.25,
            coverage=0.5,
            priority=number / 20 * 2.75,
        )
        for number, pair in enumerate(made)
    ]
    store.pair_information.put(told)
    store.close()
    with run_server(tmp_path) as server:
        labels = Labels(server)
        found = labels.ask("ExplainQueue", objective="helpful", count=3).pairs
        assert [one.comparison_id for one in found] == [pair.id for pair in made[:16:-1]]
        first = found[0]
        parts = (first.information, first.spread, first.abstained, first.disagreement, first.coverage)
        assert parts == (0.95, 2.5, True, 0.25, 0.5) and first.priority == pytest.approx(0.95 * 2.75)
        queued = [one.comparison_id for one in labels.ask("ExplainQueue", objective="helpful").pairs if not one.uniform]
        assert queued == [pair.id for pair in reversed(made) if uniform_draw(pair.id) >= UNIFORM_SLICE]
        shown = labels.ask("NextComparison", objective="helpful", labeler="ada", count=4).shown
        assert [one.comparison.id for one in shown] == queued[:4]
        assert not labels.ask("ExplainQueue", objective="harmless").pairs
        with pytest.raises(InvalidInput, match="count"):
            labels.ask("ExplainQueue", objective="helpful", count=-1)
