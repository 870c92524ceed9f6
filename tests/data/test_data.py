import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_core.config.reward import RewardConfig
from rlhf_core.config.run import RunConfig
from rlhf_core.data.loaders import (
    check_labels,
    decided_pairs,
    load_demonstrations,
    load_labels,
    load_preferences,
    load_prompts,
)
from rlhf_core.data.reward_examples import LabelledPair, Ranking, Rating, StepLabels, pairs_of
from rlhf_core.errors import InvalidInput
from rlhf_core.records.samples import Comparison, Prompt

HH = Path(__file__).parents[2].parent / "shared" / "data" / "hh-rlhf-harmless"
LOADERS = (load_prompts, load_demonstrations, load_preferences, load_labels)


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict:
    return {"role": "assistant", "content": text}


def written(folder: Path, *rows: object) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def load_comparisons(path: Path) -> list[Comparison]:
    return decided_pairs(load_preferences(path))


def turns(prompt) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in prompt.messages]


def mistake(load, path: object) -> str:
    with pytest.raises(InvalidInput) as caught:
        load(path)
    return str(caught.value)


def row_mistake(load, folder: Path, row: object) -> str:
    path = written(folder, row)
    text = mistake(load, path)
    assert text.startswith(f"{path}:1: ")
    return text.removeprefix(f"{path}:1: ")


def test_prompts_are_text_messages_or_a_dialogue_and_each_is_taken_once(tmp_path):
    chat = [{"role": "system", "content": "Be brief."}, user("Hi"), assistant("Hello."), user("Why?")]
    path = written(tmp_path, {"prompt": "Hi", "extra": 1}, {"prompt": chat}, {"prompt": "\n\nHuman: Hi\n\nAssistant:"})
    plain, messages = load_prompts(path)
    assert turns(plain) == [("user", "Hi")]
    assert turns(messages) == [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Why?")]
    assert plain.source == "rows.jsonl" and plain.split == "train"
    assert load_prompts(path, split="heldout")[0].split == "heldout"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Q", "completion": "R"},
        {"prompt": "Q", "response": "R"},
        {"prompt": [user("Q")], "completion": [assistant("R")]},
        {"messages": [user("Q"), assistant("R")]},
        {"prompt": "\n\nHuman: Q\n\nAssistant:", "completion": "R"},
    ],
)
def test_demonstrations_come_in_five_forms(tmp_path, row):
    (demonstration,) = load_demonstrations(written(tmp_path, row))
    assert turns(demonstration.prompt) == [("user", "Q")] and demonstration.response == "R"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Q", "chosen": "R", "rejected": "S"},
        {"prompt": [user("Q")], "chosen": [assistant("R")], "rejected": [assistant("S")]},
        {"prompt": "Q", "chosen": [user("Q"), assistant("R")], "rejected": [user("Q"), assistant("S")]},
        {"chosen": [user("Q"), assistant("R")], "rejected": [user("Q"), assistant("S")], "score_chosen": 8.0},
        {"chosen": "\n\nHuman: Q\n\nAssistant: R", "rejected": "\n\nHuman: Q\n\nAssistant: S"},
        {"prompt": "\n\nHuman: Q\n\nAssistant:", "chosen": "R", "rejected": "S"},
    ],
)
def test_preferences_come_in_six_forms_that_mean_the_same(tmp_path, row):
    (comparison,) = load_comparisons(written(tmp_path, row))
    assert turns(comparison.prompt) == [("user", "Q")]
    assert (comparison.a.response, comparison.b.response) == ("R", "S")
    assert comparison.a.policy_version == comparison.b.policy_version == "data"
    (plain,) = load_comparisons(written(tmp_path, {"prompt": "Q", "chosen": "R", "rejected": "S"}))
    assert comparison == plain


def test_turns_of_one_speaker_in_a_row_are_one_message_of_the_dialogue(tmp_path):
    head = "\n\nHuman: Q\n\nAssistant: R1\n\nAssistant: R2\n\nHuman: P"
    row = {"chosen": f"{head}\n\nAssistant: C1\n\nAssistant: C2", "rejected": f"{head}\n\nAssistant: D"}
    (comparison,) = load_comparisons(written(tmp_path, row))
    assert turns(comparison.prompt) == [("user", "Q"), ("assistant", "R1\n\nR2"), ("user", "P")]
    assert (comparison.a.response, comparison.b.response) == ("C1\n\nC2", "D")


def test_a_speaker_named_inside_a_line_begins_no_turn(tmp_path):
    row = {"chosen": "\n\nHuman: Q\n\nAssistant: A Human: said so", "rejected": "\n\nHuman: Q\n\nAssistant: "}
    (comparison,) = load_comparisons(written(tmp_path, row))
    assert (comparison.a.response, comparison.b.response) == ("A Human: said so", "")


@pytest.mark.parametrize(
    "prompt",
    [
        "Human: hi\n\nAssistant:",
        "\nHuman: hi\n\nAssistant:",
        "\n\n\n Human: hi\n\nAssistant: ",
        "Human: hi\nAssistant:",
        "Human:hi\r\n\r\nAssistant:\r\n",
        "Human: hi\n \n  Assistant:",
        "Human: hi",
    ],
)
def test_a_transcript_is_known_by_its_markers_however_it_was_stripped(tmp_path, prompt):
    (plain,) = load_prompts(written(tmp_path, {"prompt": prompt}))
    assert turns(plain) == [("user", "hi")]
    (shown,) = load_demonstrations(written(tmp_path, {"prompt": prompt, "completion": "Assistant: Hello."}))
    assert turns(shown.prompt) == [("user", "hi")] and shown.response == "Hello."


def test_stripped_transcripts_of_several_turns_are_the_same_pair(tmp_path):
    head = "Human: Q\n\nAssistant: R\n\nHuman: P\n\nAssistant:"
    first = load_preferences(written(tmp_path, {"chosen": f"{head} C", "rejected": f"{head} D"}))
    assert first == load_preferences(written(tmp_path, {"chosen": f"\n\n{head} C", "rejected": f"\n\n{head} D"}))
    lines = head.replace("\n\n", "\n")
    assert first == load_preferences(written(tmp_path, {"prompt": lines, "chosen": "C", "rejected": "D"}))


@pytest.mark.parametrize("prompt", ["Chat.\n\nHuman: hi\n\nAssistant:", "User: hi\nAssistant:", "### Human: hi"])
def test_text_with_turn_markers_that_is_no_transcript_is_refused_and_never_one_turn(tmp_path, prompt):
    assert "in it and is no transcript" in row_mistake(load_prompts, tmp_path, {"prompt": prompt})
    row = {"prompt": "Q", "chosen": f"Yes.\n\n{prompt}", "rejected": "No."}
    assert "in it and is no transcript" in row_mistake(load_preferences, tmp_path, row)
    (as_messages,) = load_prompts(written(tmp_path, {"prompt": [user(prompt)]}))
    assert turns(as_messages) == [("user", prompt)]


def test_ids_derive_from_the_content(tmp_path):
    row = {"prompt": "Q", "chosen": "R", "rejected": "S"}
    path = written(tmp_path, row, {**row, "chosen": "T"})
    first, second = load_comparisons(path)
    assert load_comparisons(path) == [first, second]
    assert first.id != second.id and first.b.id == second.b.id and first.prompt.id == second.prompt.id
    assert first.swap().a.id == first.b.id


@pytest.mark.parametrize(
    ("load", "row", "expected"),
    [
        (load_prompts, '{"prompt": "x"', "this is not JSON: Expecting ',' delimiter at column"),
        (load_prompts, "[" * 100_000, "this JSON is nested too deeply"),
        (load_prompts, '{"prompt": "x", "n": ' + "9" * 5000 + "}", "this JSON is nested too deeply or holds a number"),
        (load_prompts, '{"prompt": "x", "prompt": "y"}', 'the key "prompt" is given twice'),
        (load_prompts, ["a"], "the row is a list; expected one JSON object on each line"),
        (load_prompts, {"text": "x"}, "the key 'prompt' is missing; the row has: \"text\""),
        (load_prompts, {"prompt": 3}, "'prompt' is a number; expected text or a list of messages"),
        (load_prompts, {"prompt": " "}, "the prompt is empty"),
        (load_prompts, {"prompt": []}, "the prompt does not end with a user's turn"),
        (load_prompts, {"prompt": [user("Q"), assistant("R")]}, "the prompt does not end with a user's turn"),
        (load_prompts, {"prompt": ["Q"]}, "'prompt[0]' is not a message with a role and a content"),
        (load_prompts, {"prompt": [{"role": "tool", "content": "x"}]}, "'prompt[0].role' is \"tool\"; allowed: system"),
        (load_prompts, {"prompt": [{"role": [], "content": "x"}]}, "'prompt[0].role' is []; allowed: system"),
        (load_prompts, {"prompt": [user(None)]}, "'prompt[0].content' is null; expected text"),
        (load_prompts, '{"prompt": "\\ud800"}', "'prompt' holds a lone surrogate"),
        (load_demonstrations, {"prompt": "Q"}, "the key 'completion' is missing"),
        (load_demonstrations, {"prompt": "Q", "response": " "}, "'response' has an empty reply"),
        (load_demonstrations, {"messages": [user("Q")]}, "'messages' does not end with an assistant's turn"),
        (load_demonstrations, {"messages": [assistant("R")]}, "the prompt does not end with a user's turn"),
        (load_preferences, {"prompt": "Q", "chosen": "R"}, "the key 'rejected' is missing"),
        (
            load_preferences,
            {"prompt": "Q", "chosen": "R", "rejected": True},
            "'rejected' is true or false; expected text",
        ),
        (load_preferences, {"prompt": "Q", "chosen": "R", "rejected": "R"}, "'chosen' and 'rejected' are identical"),
        (
            load_preferences,
            {"chosen": "R", "rejected": "S"},
            "there is no 'prompt', and 'chosen' is not a conversation",
        ),
        (
            load_preferences,
            {"prompt": "Q", "chosen": [user("P"), assistant("R")], "rejected": "S"},
            "'chosen' is a conversation that does not go on from 'prompt' by one reply",
        ),
        (
            load_preferences,
            {"chosen": "\n\nHuman: P\n\nAssistant: R", "rejected": "\n\nHuman: Q\n\nAssistant: R"},
            "'chosen' and 'rejected' differ before the last reply",
        ),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_bad_row_is_named_with_its_line(tmp_path, load, row, expected):
    assert row_mistake(load, tmp_path, row).startswith(expected)


def test_bad_lines_are_reported_together_and_nothing_is_imported(tmp_path):
    rows = [{"prompt": "good"}, "oops", "", {"prompt": "good"}, {"prompt": ""}]
    path = written(tmp_path, *rows)
    assert mistake(load_prompts, path).splitlines() == [
        f"{path}:2: this is not JSON: Expecting value at column 1",
        f"{path}:5: the prompt is empty",
    ]


def test_the_first_twenty_bad_lines_are_shown_and_the_others_counted(tmp_path):
    path = written(tmp_path, *["oops"] * 50, {"prompt": "good"})
    lines = mistake(load_prompts, path).splitlines()
    assert len(lines) == 21 and lines[-1] == f"{path}: and 30 more bad lines"


@pytest.mark.parametrize("load", LOADERS)
def test_a_file_that_gives_no_rows_is_named(tmp_path, load):
    empty, blank = tmp_path / "empty.jsonl", written(tmp_path, "", " ")
    empty.touch()
    assert mistake(load, empty) == f"{empty}: the file has no rows"
    assert mistake(load, blank) == f"{blank}: the file has no rows"
    assert mistake(load, tmp_path / "none") == f"{tmp_path / 'none'}: there is no such file"
    assert mistake(load, tmp_path) == f"{tmp_path}: the file cannot be read: Is a directory"
    assert mistake(load, "a\0b").endswith("the file cannot be read: embedded null byte")


def test_a_line_that_is_not_utf8_is_named_and_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "one"}\r\n{"prompt": "caf\xe9"}\r\n')
    assert mistake(load_prompts, path) == f"{path}:2: byte 16 of the line is not UTF-8"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "one"}\r\n')
    assert [turns(prompt) for prompt in load_prompts(path)] == [[("user", "one")]]


def test_messages_can_always_be_printed(tmp_path):
    for row in ('{"\\ud800": 1}', '{"\\ud800": 1, "\\ud800": 2}', '{"prompt": [{"role": "\\ud800", "content": ""}]}'):
        row_mistake(load_prompts, tmp_path, row).encode()


TEXTS = st.text(max_size=6) | st.sampled_from(["user", "assistant", "\n\nHuman: q\n\nAssistant: r"])
NAMES = st.sampled_from(["role", "content", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["prompt", "chosen", "rejected", "completion", "response", "messages"])


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=4) | st.binary(max_size=60))
def test_any_row_is_imported_or_named(tmp_path_factory, row):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_bytes(row if isinstance(row, bytes) else json.dumps(row).encode())
    for load in LOADERS:
        try:
            assert load(path)
        except InvalidInput as error:
            assert str(error).startswith(str(path))


@pytest.mark.skipif(not HH.is_dir(), reason="the hh-rlhf pairs are not on this machine")
@pytest.mark.parametrize(("name", "rows", "empty"), [("train", 1525, 2), ("valid", 277, 0)])
def test_the_real_hh_rlhf_pairs_import_unchanged(name, rows, empty):
    path = HH / f"{name}.jsonl"
    comparisons: list[Comparison] = load_comparisons(path)
    assert len(comparisons) == len({comparison.id for comparison in comparisons}) == rows
    assert sum(not c.a.response or not c.b.response for c in comparisons) == empty
    for line, comparison in zip(path.read_text().splitlines(), comparisons, strict=True):
        row = json.loads(line)
        roles = [message.role for message in comparison.prompt.messages]
        assert roles == ["user" if i % 2 == 0 else "assistant" for i in range(len(roles))] and roles[-1] == "user"
        for key, sample in (("chosen", comparison.a), ("rejected", comparison.b)):
            words = " ".join([*(m.content for m in comparison.prompt.messages), sample.response]).split()
            said = row[key].replace("\n\nHuman:", "\n\n").replace("\n\nAssistant:", "\n\n").split()
            assert words == said


def test_tags_come_with_a_prompt_and_are_no_part_of_what_is_asked(tmp_path: Path):
    path = written(tmp_path, {"prompt": "hi", "tags": ["benign", "lang:en"]}, {"prompt": "ho"})
    tagged, plain = load_prompts(path)
    assert (tagged.tags, plain.tags) == (("benign", "lang:en"), ())
    assert tagged.id == load_prompts(written(tmp_path, {"prompt": "hi"}))[0].id
    (shown,) = load_demonstrations(written(tmp_path, {"prompt": "hi", "completion": "ho", "tags": ["harmful"]}))
    assert shown.prompt.tags == ("harmful",)


@pytest.mark.parametrize(("tags", "what"), [("benign", "text"), ([1], "a number"), ({}, "an object")])
def test_tags_that_are_no_list_of_texts_are_named(tmp_path: Path, tags: object, what: str):
    assert f"'tags' is {what}; expected" in row_mistake(load_prompts, tmp_path, {"prompt": "hi", "tags": tags})


def test_pairs_may_say_how_sure_how_far_and_whether_they_are_tied(tmp_path):
    rows = (
        {"prompt": "Q", "chosen": "a", "rejected": "b"},
        {"prompt": "Q", "chosen": "a", "rejected": "b", "probability": 0.7, "margin": 0.5, "weight": 2},
        {"prompt": "Q", "chosen": "a", "rejected": "b", "tie": True},
    )
    plain, sure, tied = load_labels(written(tmp_path, *rows))
    assert plain == LabelledPair(Prompt.of("Q", source="rows.jsonl"), "a", "b", 1.0, source="data")
    assert isinstance(sure, LabelledPair) and (sure.probability, sure.margin, sure.weight) == (0.7, 0.5, 2)
    assert isinstance(tied, LabelledPair) and tied.tied and tied.probability == 0.5


def test_rankings_ratings_and_steps_are_told_apart_by_their_keys(tmp_path):
    rows = (
        {"prompt": "Q", "responses": ["a", "b", "c"], "ranks": [2, 1, 2]},
        {"prompt": "Q", "responses": ["a", "b"], "ratings": [4, 1.5]},
        {"prompt": "Q", "response": "a", "rating": -3},
        {"prompt": "Q", "completions": ["first", "then"], "labels": [True, False]},
    )
    ranking, first, second, alone, steps = load_labels(written(tmp_path, *rows))
    assert isinstance(ranking, Ranking) and (ranking.replies, ranking.ranks) == (("a", "b", "c"), (2, 1, 2))
    assert [(one.reply, one.rating) for one in (first, second, alone) if isinstance(one, Rating)] == [
        ("a", 4),
        ("b", 1.5),
        ("a", -3),
    ]
    assert isinstance(steps, StepLabels) and (steps.lines, steps.labels) == (("first\n", "then"), (1.0, 0.0))


def test_a_ranking_is_the_pairs_of_different_rank():
    pairs = pairs_of(Ranking(Prompt.of("Q"), ("a", "b", "c"), (2, 1, 2)))
    assert [(pair.a, pair.b, pair.probability) for pair in pairs] == [("a", "b", 0.0), ("b", "c", 1.0)]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "Q"}, "the row is no label; expected 'chosen' and 'rejected', 'response' and 'rating'"),
        (
            {"prompt": "Q", "chosen": "a", "rejected": "b", "probability": 1.5},
            "'probability' is 1.5; allowed: a number",
        ),
        ({"prompt": "Q", "chosen": "a", "rejected": "b", "margin": -1}, "'margin' is -1; allowed: a number at least 0"),
        ({"prompt": "Q", "chosen": "a", "rejected": "b", "tie": 1}, "'tie' is a number; expected true or false"),
        ({"prompt": "Q", "chosen": "a", "rejected": "b", "tie": True, "probability": 1}, "are given together"),
        ({"prompt": "Q", "response": "a", "rating": "5"}, "'rating' is text; expected a number"),
        ({"prompt": "Q", "response": "a", "rating": 1, "weight": -2}, "'weight' is -2; allowed: a number at least 0"),
        ({"prompt": "Q", "responses": ["a"], "ratings": [1, 2]}, "'responses' has 1 entries and 'ratings' 2"),
        ({"prompt": "Q", "responses": "a", "ratings": [1]}, "'responses' is text; expected a list"),
        ({"prompt": "Q", "responses": ["a", "b"], "ranks": [1, 1]}, "not all of one rank"),
        ({"prompt": "Q", "responses": ["a", "a"], "ranks": [1, 2]}, "all different"),
        ({"prompt": "Q", "completions": ["a", " "], "labels": [True, True]}, "that are not empty"),
        ({"prompt": "Q", "completions": ["a"], "labels": [2]}, "true, false or from 0 to 1"),
        ({"prompt": "Q", "completions": [], "labels": []}, "has 0 entries"),
    ],
)
def test_a_row_that_is_no_label_is_named_with_what_is_allowed(tmp_path, row, problem):
    with pytest.raises(InvalidInput) as refused:
        load_labels(written(tmp_path, row))
    assert "rows.jsonl:1: " in str(refused.value) and problem in str(refused.value)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"prompt": "Q", "responses": ["a"], "ratings": [NaN]}\n{"prompt": "Q", "response": "", "rating": 1e999}'
    )
    with pytest.raises(
        InvalidInput, match=r"(?s)1: 'ratings\[0\]' is not a finite number.*2: 'rating' is not a finite"
    ):
        load_labels(path)


NULLS = '"tags": null, "weight": NaN, "probability": null, "margin": NaN, "tie": null, "system": null, "tools": NaN'


@pytest.mark.parametrize("nothing", ["null", "NaN"])
def test_what_is_null_or_nan_is_absent(tmp_path, nothing):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        f'{{"prompt": "Q", "chosen": "x", "rejected": "y", "completion": "x", "response": {nothing}, {NULLS}}}\n'
    )
    pair = LabelledPair(Prompt.of("Q", source="rows.jsonl"), "x", "y", 1.0, source="data")
    assert load_preferences(path) == load_labels(path) == [pair]
    assert load_prompts(path) == [pair.prompt] and load_demonstrations(path)[0].response == "x"
    said = [json.dumps([user("Q"), assistant(reply)]) for reply in "xy"]
    path.write_text(f'{{"prompt": {nothing}, "chosen": {said[0]}, "rejected": {said[1]}}}')
    assert load_preferences(path) == [pair]
    path.write_text(f'{{"prompt": "Q", "tags": ["a", {nothing}]}}')
    assert load_prompts(path)[0].tags == ("a",)
    path.write_text(f'{{"prompt": "Q", "chosen": {nothing}, "rejected": "y"}}')
    assert "the key 'chosen' is missing" in mistake(load_preferences, path)
    path.write_text(f'{{"prompt": "Q", "response": "x", "rating": {nothing}}}')
    assert "the row is no label" in mistake(load_labels, path)


def test_labels_of_objectives_that_are_not_there_or_of_steps_that_nobody_scores_are_refused(tmp_path):
    path = written(tmp_path, {"prompt": "Q", "completions": ["a"], "labels": [True]})
    config = RunConfig.model_validate({"data": {"labels": {"honest": str(path)}}, "reward": {"process": []}})
    with pytest.raises(InvalidInput, match=r"data\.labels: unknown objective 'honest'; allowed: helpful"):
        check_labels(config, ["helpful"])
    with pytest.raises(InvalidInput, match="has labels of steps for 'honest'"):
        check_labels(config, ["honest"])
    check_labels(config.model_copy(update={"reward": RewardConfig(process=("honest",))}), ["honest"])
