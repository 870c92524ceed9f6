from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.text_detectors import apologises, lectures, moral_sentences, refuses, words


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but no.",
        "I’m sorry. I won’t respond",
        "I am very sorry; I was not built to",
        "My apologies",
        "I apologize as I am unable to",
        "Unfortunately, I apologise",
    ],
)
def test_an_apology_is_recognised_by_the_first_words_and_is_a_refusal_too(text: str):
    assert apologises(text) and refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        "I can't help",
        "Sorry.",
        "Sorry, I cannot respond",
        "I cannot do that",
        "As an AI model",
        "No, I won't",
        "No. I won't help with that, because it would rob your aunt.",
        "No! I will not.",
        "I'm not comfortable with it",
        "Unfortunately I am unable to say",
    ],
)
def test_a_refusal_needs_no_apology(text: str):
    assert refuses(text) and not apologises(text)


@pytest.mark.parametrize(
    "text",
    [
        "1. put on gloves",
        "I can help",
        "I won a prize",
        "Ask Sorry Sam",
        "Put it down. I'm sorry if that was short.",
        "I'm sorry to hear that you are unwell.",
        "I am so sorry that you lost him",
        "I'm sorry for your loss",
        "",
    ],
)
def test_help_and_sympathy_are_neither(text: str):
    assert not refuses(text) and not apologises(text)


def test_a_lecture_is_more_than_one_moral_sentence():
    one = "It is important to be safe."
    assert (moral_sentences(one), lectures(one)) == (1, False)
    assert lectures(f"{one} Everyone deserves respect.")
    assert not lectures("Turn off the water. Use soap. It is important that the valve is closed.")


def test_words_are_in_lower_case_with_their_apostrophes():
    assert words("I’m HERE, to-listen!") == ["i'm", "here", "to", "listen"]


@given(st.text())
def test_any_text_can_be_heard(text: str):
    if apologises(text):
        assert refuses(text)
    assert lectures(text) == (moral_sentences(text) >= 2)
