import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.constitution.constitution import Constitution, Objective, Principle
from rlhf_core.constitution.weights import parse_weights, resolve_weights
from rlhf_core.errors import InvalidInput

CONSTITUTION = Constitution(
    id="t",
    version="1.0.0",
    title="T",
    objectives=(Objective(name="helpful", default_weight=3), Objective(name="harmless", default_weight=1)),
    principles=(Principle(id="p", serves={"helpful": 1, "harmless": 1}, compare="Which?"),),
)


def test_weights_are_read_from_text():
    assert parse_weights("helpful=3,harmless=1") == {"helpful": 3.0, "harmless": 1.0}
    assert parse_weights(" helpful = 0.5 , harmless=1e-3") == {"helpful": 0.5, "harmless": 0.001}


@pytest.mark.parametrize("text", ["", "helpful", "helpful=", "=3", "helpful=x", "helpful=nan", "helpful=1,", "a=1;b=2"])
def test_text_that_is_not_name_and_number_is_refused(text):
    with pytest.raises(InvalidInput, match="as in helpful=3,harmless=1"):
        parse_weights(text)


def test_an_objective_given_twice_is_refused():
    with pytest.raises(InvalidInput, match="'helpful' is given twice"):
        parse_weights("helpful=1,helpful=2")


def test_none_named_means_the_default_weights():
    assert resolve_weights(CONSTITUTION, {}) == {"helpful": 3.0, "harmless": 1.0}


def test_objectives_that_are_not_named_get_zero_when_any_is():
    resolved = resolve_weights(CONSTITUTION, {"harmless": 2})
    assert resolved == {"helpful": 0.0, "harmless": 2.0}
    assert list(resolved) == ["helpful", "harmless"]


def test_an_unknown_objective_is_named_with_the_known_ones():
    with pytest.raises(InvalidInput) as caught:
        resolve_weights(CONSTITUTION, {"harmles": 1})
    assert str(caught.value) == "unknown objective 'harmles'; the constitution has: helpful, harmless"
    assert caught.value.field == "weights.harmles"


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf, -math.inf, 1e7])
def test_a_weight_that_is_no_finite_number_of_at_least_zero_is_refused(weight):
    with pytest.raises(InvalidInput, match=r"the weight of 'helpful' is .*allowed: a number from 0 to 1000000"):
        resolve_weights(CONSTITUTION, {"helpful": weight})


def test_all_weights_zero_are_refused():
    with pytest.raises(InvalidInput, match="all weights are 0; at least one must be above 0"):
        resolve_weights(CONSTITUTION, {"helpful": 0, "harmless": 0.0})


@given(st.text(max_size=40))
def test_any_text_gives_weights_or_a_named_mistake(text):
    try:
        weights = parse_weights(text)
    except InvalidInput:
        return
    assert weights and not any(math.isnan(weight) for weight in weights.values())


@given(st.dictionaries(st.sampled_from(["helpful", "harmless", "honest"]), st.floats()))
def test_resolved_weights_always_make_a_direction(weights):
    try:
        resolved = resolve_weights(CONSTITUTION, weights)
    except InvalidInput:
        return
    assert set(resolved) == {"helpful", "harmless"} and sum(resolved.values()) > 0
