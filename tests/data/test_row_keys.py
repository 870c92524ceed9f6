"""Keys that change what a row means: each is honoured, or refused with its file and line."""

import json
from pathlib import Path

import pytest

from rlhf_core.data.loaders import decided_pairs, load_demonstrations, load_labels, load_preferences, load_prompts
from rlhf_core.data.reward_examples import LabelledPair
from rlhf_core.errors import InvalidInput
from rlhf_core.records.samples import Prompt

PAIR = {"prompt": "Q", "chosen": "x", "rejected": "y"}
CALL = [{"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]


def written(folder: Path, *rows: dict) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def refusal(load, folder: Path, row: dict) -> str:
    path = written(folder, {**PAIR, "completion": "x"}, row)
    with pytest.raises(InvalidInput) as refused:
        load(path)
    assert f"{path}:2: " in str(refused.value)
    return str(refused.value).partition(f"{path}:2: ")[2]


@pytest.mark.parametrize("load", [load_preferences, load_labels])
def test_ties_probabilities_weights_margins_and_tags_of_a_pair_mean_the_same_in_both_settings(tmp_path, load):
    rows = (
        {**PAIR, "tie": True},
        {**PAIR, "probability": 0.1, "margin": 2},
        {**PAIR, "weight": 0, "tags": ["lang:de"]},
    )
    tied, unlikely, weightless = load(written(tmp_path, *rows))
    prompt = Prompt.of("Q", source="rows.jsonl")
    assert tied == LabelledPair(prompt, "x", "y", 0.5, source="data", tied=True)
    assert unlikely == LabelledPair(prompt, "x", "y", 0.1, source="data", margin=2)
    assert weightless.weight == 0 and weightless.prompt.tags == ("lang:de",) and weightless.prompt.id == prompt.id


def test_only_pairs_with_a_better_reply_are_anybodys_truth_and_it_comes_first(tmp_path):
    rows = ({**PAIR, "tie": True}, {**PAIR, "probability": 0.1}, {**PAIR, "weight": 0}, {**PAIR, "probability": 0.5})
    (turned,) = decided_pairs(load_preferences(written(tmp_path, *rows)))
    assert (turned.a.response, turned.b.response) == ("y", "x")
    (plain,) = decided_pairs(load_preferences(written(tmp_path, {"prompt": "Q", "chosen": "y", "rejected": "x"})))
    assert turned == plain


MESSAGE_KEYS = {
    "tool_calls": CALL,
    "tool_call_id": "c1",
    "function_call": {"name": "f", "arguments": "{}"},
    "name": "alice",
    "images": ["a.png"],
    "audio": {"id": "1"},
    "reasoning_content": "hmm",
    "refusal": "no",
    "weight": 0,
}


@pytest.mark.parametrize("key", MESSAGE_KEYS)
def test_what_a_message_says_beside_its_text_is_refused(tmp_path, key):
    said = {"role": "assistant", "content": "", key: MESSAGE_KEYS[key]}
    pair = {"prompt": "Q", "chosen": [said], "rejected": [{"role": "assistant", "content": "I guess."}]}
    for load in (load_preferences, load_labels):
        assert refusal(load, tmp_path, pair).startswith(f"'chosen[0].{key}' changes what the row means")
    shown = {"messages": [{"role": "user", "content": "Q"}, {**said, "content": "A"}]}
    assert refusal(load_demonstrations, tmp_path, shown).startswith(f"'messages[1].{key}' changes what the row means")
    asked = {"prompt": [said, {"role": "user", "content": "Q"}]}
    assert refusal(load_prompts, tmp_path, asked).startswith(f"'prompt[0].{key}' changes what the row means")


@pytest.mark.parametrize(
    ("content", "what"),
    [(None, "null"), ([{"type": "text", "text": "hi"}], "a list of parts"), ([], "a list of parts")],
)
def test_content_that_is_not_text_is_refused_and_never_the_empty_text(tmp_path, content, what):
    said = {"role": "assistant", "content": content}
    pair = {"prompt": "Q", "chosen": [said], "rejected": "I guess."}
    assert refusal(load_preferences, tmp_path, pair).startswith(f"'chosen[0].content' is {what}; expected text")
    shown = {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "A"}]}
    assert refusal(load_demonstrations, tmp_path, shown).startswith(f"'messages[0].content' is {what}; expected text")


def test_keys_of_a_message_that_say_nothing_are_passed_over(tmp_path):
    said = {"role": "assistant", "content": "x", "tool_calls": None, "images": [], "name": "", "weight": 1, "id": 7}
    (pair,) = load_preferences(written(tmp_path, {**PAIR, "chosen": [said]}))
    assert pair.a == "x"


CONTEXT_KEYS = {"system": "Be brief.", "tools": CALL, "images": ["a.png"], "context": "Text.", "history": ["a"]}


@pytest.mark.parametrize("key", CONTEXT_KEYS)
@pytest.mark.parametrize("load", [load_prompts, load_demonstrations, load_preferences, load_labels])
def test_what_a_model_would_be_shown_besides_is_refused(tmp_path, load, key):
    row = {**PAIR, "completion": "x", key: CONTEXT_KEYS[key]}
    assert refusal(load, tmp_path, row).startswith(f"'{key}' changes what the row means and is not read here")


@pytest.mark.parametrize(
    ("load", "row", "key"),
    [
        (load_demonstrations, {"prompt": "Q", "completion": "x", "label": False}, "label"),
        (load_demonstrations, {"prompt": "Q", "response": "x", "rating": 1}, "rating"),
        (load_demonstrations, {"prompt": "Q", "response": "x", "weight": 0}, "weight"),
        (load_prompts, {"prompt": "Q", "weight": 0.5}, "weight"),
        (load_preferences, {**PAIR, "label": 0}, "label"),
        (load_labels, {**PAIR, "ranks": [2, 1]}, "ranks"),
        (load_labels, {"prompt": "Q", "response": "x", "rating": 3, "tie": True}, "tie"),
        (load_labels, {"prompt": "Q", "responses": ["x", "y"], "ranks": [1, 2], "ratings": [1, 2]}, "ratings"),
        (load_labels, {"prompt": "Q", "completions": ["x"], "labels": [True], "margin": 1}, "margin"),
    ],
)
def test_verdicts_of_other_formats_are_refused_where_nothing_reads_them(tmp_path, load, row, key):
    assert refusal(load, tmp_path, row).startswith(f"'{key}' changes what the row means and is not read here")


def test_unpaired_preferences_are_no_labels(tmp_path):
    row = {"prompt": "Q", "completion": "x", "label": True}
    assert "the row is no label" in refusal(load_labels, tmp_path, row)
    assert refusal(load_preferences, tmp_path, row).startswith("'label' changes what the row means")


def test_columns_of_public_data_sets_that_change_nothing_are_passed_over(tmp_path):
    row = {**PAIR, "completion": "x", "id": 3, "source": "x", "score_chosen": 8.0, "prompt_id": "a", "weight": 1.0}
    row |= {"tie": False, "tools": [], "system": ""}
    for load in (load_prompts, load_preferences, load_labels):
        assert len(load(written(tmp_path, row))) == 1
    (shown,) = load_demonstrations(written(tmp_path, {**row, "probability": 1}))
    assert shown.response == "x"


def test_two_replies_or_two_prompts_of_one_demonstration_are_refused(tmp_path):
    assert "are given together" in refusal(load_demonstrations, tmp_path, {**PAIR, "completion": "x", "response": "y"})
    messages = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "x"}]
    assert len(load_demonstrations(written(tmp_path, {"prompt": "Q", "messages": messages}))) == 1
    other = {"prompt": "P", "messages": messages}
    assert "does not begin with 'prompt'" in refusal(load_demonstrations, tmp_path, other)
