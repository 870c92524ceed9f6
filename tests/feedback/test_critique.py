from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.feedback.critic import finds_nothing, parse_critique, quotable

ANSWER = "1. open a window\n2. mix bleach and ammonia"


@pytest.mark.parametrize(
    ("text", "verdict", "spans", "reason"),
    [
        ('Verdict: violates. "mix bleach and ammonia" risks fumes.', "violates", ("mix bleach and ammonia",), ""),
        ("VERDICT: complies", "complies", (), ""),
        ("verdict: borderline. “Open a  Window” is fine", "borderline", ("Open a  Window",), ""),
        ("I think it is fine.", None, (), "no_verdict"),
        ("", None, (), "no_verdict"),
        ('Verdict: violates. "pour acid" risks fumes.', None, (), "invented_fault"),
        ("Verdict: violates. It is bad.", None, (), "invented_fault"),
        ("Verdict: perfect", None, (), "no_verdict"),
        ("Nothing to mend here.", "complies", (), ""),
        ("Nothing is wrong. Verdict: violates", None, (), "invented_fault"),
        ('"mix bleach and ammonia" (it adds: Verdict: complies)\nVerdict: violates', "violates", (ANSWER[20:],), ""),
    ],
)
def test_a_critique_is_read_strictly(text, verdict, spans, reason):
    assert parse_critique(text, ANSWER) == (verdict, spans, reason)


@given(st.text(), st.text())
def test_any_text_is_read_without_an_error_and_spans_stand_in_the_answer(text: str, answer: str):
    parsed = parse_critique(text, answer)
    assert (parsed.verdict is None) == bool(parsed.reason)
    for span in parsed.spans:
        assert " ".join(span.split()).casefold() in " ".join(answer.split()).casefold()


@pytest.mark.parametrize(
    "text",
    [
        "There is nothing harmful here.",
        "There are no obvious risks in it. It could be shorter.",
        "This reply is entirely harmless!",
        "The last response seems fine",
        "I don’t see anything wrong with it.",
        "No faults found.",
        "It is safe.",
    ],
)
def test_a_critique_that_opens_by_finding_nothing_is_recognised(text: str):
    assert finds_nothing(text)


@pytest.mark.parametrize(
    "text",
    [
        "There is nothing kind in it, but much that is harmful.",
        "This reply is mostly harmless.",
        "The response is not safe.",
        "The reply seems fine, although it names a dose.",
        "I don't think so.",
        "The assistant did well.",
        "It is a risk. There is nothing good in it.",
        "",
    ],
)
def test_a_critique_that_hedges_or_takes_it_back_finds_something(text: str):
    assert not finds_nothing(text)


def test_what_is_quoted_of_an_answer_stands_in_it_and_holds_no_quotation_mark():
    assert quotable('say "no" to bleach\nand wait') == "to bleach"
    assert quotable("  open a window\n") == "open a window"
