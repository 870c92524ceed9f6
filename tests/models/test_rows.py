"""Rows of tokens: what is scored of a conversation, and what is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.models.rows import Row, by_line, lines_of, whole


def test_the_end_of_too_long_a_conversation_is_kept():
    assert whole([1, 2, 3], [4, 5], None) == Row((1, 2, 3, 4, 5), ((0, 5),), 2)
    assert whole([1, 2, 3], [4, 5], 3) == Row((3, 4, 5), ((0, 3),), 2)


def test_each_line_has_a_span_and_lines_that_are_cut_away_have_none():
    assert by_line([1, 2], [[3, 4], [5]], None) == Row((1, 2, 3, 4, 5), ((2, 4), (4, 5)), 3)
    assert by_line([1, 2], [[3, 4], [5]], 2) == Row((4, 5), ((0, 1), (1, 2)), 3)
    assert by_line([1, 2], [[3, 4], [5]], 1) == Row((5,), ((0, 1),), 3)


def test_a_reply_without_tokens_is_scored_by_what_was_asked():
    assert by_line([1, 2], [[]], None) == Row((1, 2), ((0, 2),), 0)


@pytest.mark.parametrize(
    ("reply", "lines"),
    [
        ("one", ["one"]),
        ("", [""]),
        ("one\ntwo", ["one\n", "two"]),
        ("one\n\ntwo\n", ["one\n\n", "two\n"]),
        ("\n\none", ["\n\none"]),
    ],
)
def test_lines_keep_their_ends_and_empty_ones_join_their_neighbour(reply, lines):
    assert lines_of(reply) == lines


@given(st.text(st.sampled_from("a \n\r"), max_size=20))
def test_lines_add_up_to_the_reply(reply):
    lines = lines_of(reply)
    assert "".join(lines) == reply
    assert all(line.strip() for line in lines) or not reply.strip()
