"""A bad value is told with its field, in words that are no Python."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.http.chat import ChatRequest
from services.wire.refusals import invalid_input

TURNS = [{"role": "user", "content": "How do I dust?"}]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"max_tokens": True}, "max_tokens: true is not allowed; it is a number"),
        ({"messages": "hi"}, "messages: Input should be a valid list; it is 'hi'"),
        ({"n": 0}, "n: Input should be greater than or equal to 1; it is '0'"),
    ],
)
def test_the_field_is_named_and_what_is_wrong_is_said_once(given, told):
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate({"model": "base", "messages": TURNS} | given)
    assert str(invalid_input(caught.value)) == told
