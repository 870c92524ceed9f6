"""Batches hold every place once, keep keys together and keep their size."""

from __future__ import annotations

from charter.v1 import common_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.server.limits import Limits
from services.wire.batches import batches, in_order


def test_items_are_cut_at_the_size():
    assert list(batches([3, 3, 3, 9, 1], 6)) == [[0, 1], [2], [3], [4]]


def test_a_key_stays_together():
    assert list(batches([2, 2, 2, 2], 4, ["a", "b", "a", "c"])) == [[0, 2], [1, 3]]


def test_no_request_has_more_items_than_a_server_takes():
    slices = list(in_order([common_pb2.Sample(response="x")] * 20_000))
    assert [part.stop - part.start for part in slices] == [8192, 8192, 3616]
    assert Limits().items > 8192


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abcdef"))), st.integers(1, 20))
def test_every_place_comes_once_and_no_batch_of_several_keys_is_too_large(items, most):
    sizes, keys = [size for size, _ in items], [key for _, key in items]
    found = list(batches(sizes, most, keys))
    assert sorted(place for batch in found for place in batch) == list(range(len(items)))
    for batch in found:
        assert sum(sizes[place] for place in batch) <= most or len({keys[place] for place in batch}) == 1
    for key in set(keys):
        assert sum(any(keys[place] == key for place in batch) for batch in found) == 1
