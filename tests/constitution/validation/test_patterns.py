import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.constitution.validation.patterns import MAX_PATTERN, found, pattern_fault


@pytest.mark.parametrize(
    "pattern", [r"\d{1,4} ?(mg|ml)", r"\bI('m| am) sorry\b", "(?<=a)b", "a{1000}", "(?P<x>a)(?(x)b|c)"]
)
def test_a_bounded_pattern_can_be_used(pattern):
    assert pattern_fault(pattern) == ""


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a*", "it repeats without a bound; write {0,40} for *"),
        (r"(\w+\s)+x", "it repeats without a bound"),
        ("(a|a){1,30}", "it can match in 3.22e+10 ways; allowed: at most 200"),
        ("a{0,100}b{0,100}", "it can match in 1.02e+04 ways"),
        ("(", "missing ), unterminated subpattern at position 0"),
        ("a{99999999999}", "the repetition number is too large"),
        ("[[a]", "Possible nested set"),
        ("x" * (MAX_PATTERN + 1), "it has 301 characters; allowed: at most 300"),
    ],
    ids=lambda value: value[:16],
)
def test_a_pattern_that_cannot_be_used_is_told_why(pattern, expected):
    assert pattern_fault(pattern).startswith(expected)


def test_case_does_not_matter_and_place_does_not():
    assert found("SORRY", "I am sorry to say") and not found("sorry", "with joy")


@given(st.text(alphabet=r"ab(|){}[]?+*,123\dws^$.:=!<>P", max_size=40))
def test_any_pattern_is_refused_or_runs_in_bounded_time(pattern):
    if not pattern_fault(pattern):
        start = time.process_time()
        found(pattern, "ab" * 100)
        assert time.process_time() - start < 0.5
