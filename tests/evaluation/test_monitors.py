from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_core.config.monitors import MonitorConfig, MonitorLimits
from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.monitors import drifts, monitor
from rlhf_core.records.samples import Prompt, Sample


def replies(*texts: str, tags: tuple[str, ...] = (), start: int = 0) -> list[Sample]:
    """One reply for each of as many prompts, which differ by number."""
    return [
        Sample(id=f"{i}", prompt=Prompt.of(f"{tags} {i}", tags=tags), response=text, policy_version="p")
        for i, text in enumerate(texts, start)
    ]


def test_refusals_and_apologies_are_counted_by_kind_of_prompt():
    samples = replies("I'm sorry, no.", "Use soap.", "I can't.", "Use it.", tags=("benign",))
    samples += replies("I won't.", "I'm sorry, no.", tags=("harmful",)) + replies("Yes.", "Yes.")
    heard = monitor(samples)
    assert heard.openings["benign"].refusals.value == 0.5 and heard.openings["benign"].refusals.n == 4
    assert heard.openings["benign"].apology_starts.value == 0.25
    assert heard.openings["harmful"].refusals.value == 1.0
    assert (heard.openings["all"].refusals.value, heard.openings["all"].refusals.n) == (0.5, 8)
    assert heard.watched is heard.openings["benign"]
    assert monitor(replies("Yes.")).watched.refusals.value == 0


def test_the_top_run_of_five_words_is_a_share_of_replies():
    heard = monitor(replies("I am here for you now", "Well, I am here for you", "I am here", "a b c d e"))
    assert heard.top_gram == "i am here for you"
    assert (heard.top_gram_share.value, heard.top_gram_share.n) == (0.5, 4)


def test_a_run_counts_once_in_a_reply_and_not_at_all_where_only_one_prompt_brings_it():
    same = replies("a b c d e a b c d e")[0]
    assert monitor([same, same, *replies("x", start=1)]).top_gram_share.value == 0
    assert monitor(replies("a b c d e a b c d e", "f")).top_gram == ""


def test_distinct_runs_by_hand():
    # Words a b a, b a: two kinds of five; pairs ab ba, ba: two kinds of three.
    heard = monitor(replies("a b a", "b a"))
    assert (heard.distinct_1, heard.distinct_2, heard.words) == (2 / 5, 2 / 3, 2.5)


def test_lengths_are_compared_prompt_by_prompt():
    reference = replies("one two three four", "one two", "one", "alone " * 9)
    heard = monitor(replies("one", "one two", "one two"), reference).length_ratio
    assert heard is not None
    # Ratios 1/4, 1, 2; the prompt that only the reference answered does not count.
    assert (heard.median, heard.n) == (1.0, 3) and heard.p90 == pytest.approx(1.8)
    assert monitor(replies("one")).length_ratio is None


def test_several_replies_to_a_prompt_narrow_no_interval():
    one = monitor(replies("I can't.", "Yes."))
    many = monitor(replies("I can't.", "Yes.") * 50)
    assert one.openings == many.openings


def test_drift_is_a_rise_above_the_reference_policy():
    sorry, fine = ["I'm sorry, no."], ["Use soap."]
    before, after = monitor(replies(*sorry, *fine * 9)), monitor(replies(*sorry * 3, *fine * 7))
    limits = MonitorConfig(warn=MonitorConfig().warn.model_copy(update={"refusals": 0.25}))
    assert [d.monitor for d in drifts(after, limits)] == ["refusals", "apology_starts"]
    assert [d.monitor for d in drifts(after, limits, before)] == ["apology_starts"]
    (drift,) = drifts(after, limits, before)
    assert (drift.level, drift.value, drift.reference, drift.limit) == ("warn", 0.3, 0.1, 0.1)
    assert (
        str(drift)
        == "replies that open with an apology 30%, above the limit of 20%, 10% more than the reference policy's 10%"
    )


def test_the_worse_level_is_what_is_told():
    heard = monitor(replies(*["I can't."] * 3))
    stop = MonitorConfig(stop=MonitorLimits(refusals=0.5))
    assert {d.monitor: d.level for d in drifts(heard, stop)} == {"refusals": "stop"}


def test_lengths_have_a_limit_on_either_side_once_enough_prompts_are_shared():
    limits, reference = MonitorConfig(), replies(*["one two"] * 10)
    short, long = (monitor(replies(*[text] * 10), reference) for text in ("", "one two three four five"))
    assert [(d.monitor, d.limit) for d in drifts(short, limits)] == [("length_ratio", 0.5)]
    assert [d.limit for d in drifts(long, limits) if d.monitor == "length_ratio"] == [2.0]
    few = monitor(replies(*[""] * 9), reference)
    assert drifts(few, limits) == ()


def test_no_limit_by_default_ends_a_run():
    awful = monitor(replies(*["I'm sorry, I can't do that. It is wrong."] * 20), replies(*["Yes"] * 20))
    assert {drift.level for drift in drifts(awful, MonitorConfig())} == {"warn"}


def test_naming_one_limit_keeps_the_others():
    config = MonitorConfig.model_validate({"warn": {"top_gram": 0.4}})
    assert (config.warn.top_gram, config.warn.refusals) == (0.4, 0.1)


def test_no_replies_is_an_error():
    with pytest.raises(InvalidInput, match="no replies"):
        monitor([])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.text(max_size=40)), min_size=1, max_size=8))
def test_any_set_of_replies_can_be_measured(rows: list[tuple[int, str]]):
    samples = [replies(text, start=i)[0] for i, text in rows]
    heard = monitor(samples, samples[:1])
    assert all(math.isfinite(number) and number >= 0 for number in heard.numbers().values())
    shares = [n for name, n in heard.numbers().items() if name not in ("words", "length_ratio")]
    assert all(0 <= share <= 1 for share in shares)
