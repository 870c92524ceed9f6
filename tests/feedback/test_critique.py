from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.feedback.critique import parse_critique

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
