from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.constitution.validation.placeholders import has_lone_brace, placeholders, render


def test_names_in_braces_are_placeholders_each_once_in_order():
    assert placeholders("Read {response}, then {prompt}, then {response}; {{not}}") == ("response", "prompt")


def test_a_brace_that_belongs_to_nothing_is_found():
    lone = {
        text: has_lone_brace(text) for text in ("a { b", "a } b", "{not this}", "{{ok}}", "{response}", "plain", "{{{")
    }
    assert [text for text, found in lone.items() if found] == ["a { b", "a } b", "{not this}", "{{{"]


def test_values_are_inserted_once_and_never_read_again():
    assert render("{a} {b} {{a}} {c}", {"a": "{b}", "b": "{{"}) == "{b} {{ {a} {c}"


@given(st.text())
def test_a_text_without_braces_is_rendered_as_it_is(text):
    text = text.replace("{", "").replace("}", "")
    assert render(text, {"response": "x"}) == text and placeholders(text) == ()


@given(st.text(alphabet="{}ab"), st.text())
def test_doubling_every_brace_gives_the_text_back(text, value):
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert render(doubled, {"a": value, "b": value}) == text and not has_lone_brace(doubled)
