"""What a person sees of two replies: what differs, and no sign that could rewrite the screen."""

from __future__ import annotations

import time

from services.console.pairs import compared, visible


def test_replies_without_a_word_in_common_are_unmarked_and_told_soon():
    left, right = (" ".join(f"{side}{number}" for number in range(900)) for side in "ab")
    began = time.perf_counter()
    for _ in range(20):
        assert compared(left, right) == ([(left, False)], [(right, False)])
    assert time.perf_counter() - began < 5, "by words and spaces apart one such pair takes longer"


def test_what_differs_is_marked_and_all_of_both_texts_is_there():
    left, right = compared("wipe it with a soft cloth", " wipe it with a wire brush")
    assert "".join(piece.text for piece in left) == "wipe it with a soft cloth"
    assert "".join(piece.text for piece in right) == " wipe it with a wire brush"
    assert [piece.text for piece in left if piece.differs] == ["soft cloth"]
    assert [piece.text for piece in right if piece.differs] == ["wire brush"]


def test_empty_replies_have_no_words():
    assert compared("", "") == ([], [])


def test_text_of_any_language_is_shown_and_what_turns_the_direction_is_spelled_out():
    kept = "a\tb\nc\u00a0d\u3000e \U0001f469\u200d\U0001f4bb \u0645\u06cc\u200c\u062e"
    assert visible(kept) == kept
    assert visible("a\u202eb\x1bc\u200fd") == "a\\u202eb\\x1bc\\u200fd"
