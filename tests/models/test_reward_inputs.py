"""Rows of tokens: what is scored of a conversation, and what is cut."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.reward_inputs import Row, by_line, lines_of, parted, whole
from rlhf_core.records.samples import Prompt
from tests.conftest import CHAT_TEMPLATE, save_model

PROMPT = Prompt.of("How do I oil a saw?")
REPLY = "1. stop\n2. oil it\n3. wipe"


def test_the_end_of_too_long_a_conversation_is_kept():
    assert whole([1, 2, 3], [4, 5], None) == Row((1, 2, 3, 4, 5), ((0, 5),), 2)
    assert whole([1, 2, 3], [4, 5], 3) == Row((3, 4, 5), ((0, 3),), 2)


def test_each_line_has_a_span_and_lines_that_are_cut_away_have_none():
    assert by_line([1, 2], [[3, 4], [5]], None) == Row((1, 2, 3, 4, 5), ((2, 4), (4, 5)), 3)
    assert by_line([1, 2], [[3, 4], [5]], 2) == Row((4, 5), ((0, 1), (1, 2)), 3)
    assert by_line([1, 2], [[3, 4], [5]], 1) == Row((5,), ((0, 1),), 3)


def test_a_reply_without_tokens_is_scored_by_what_was_asked():
    assert by_line([1, 2], [[]], None) == Row((1, 2), ((0, 2),), 0)


@pytest.mark.parametrize(
    ("reply", "lines"),
    [
        ("one", ["one"]),
        ("", [""]),
        ("one\ntwo", ["one\n", "two"]),
        ("one\n\ntwo\n", ["one\n\n", "two\n"]),
        ("\n\none", ["\n\none"]),
    ],
)
def test_lines_keep_their_ends_and_empty_ones_join_their_neighbour(reply, lines):
    assert lines_of(reply) == lines


@given(st.text(st.sampled_from("a \n\r"), max_size=20))
def test_lines_add_up_to_the_reply(reply):
    lines = lines_of(reply)
    assert "".join(lines) == reply
    assert all(line.strip() for line in lines) or not reply.strip()


def test_tokens_go_to_the_line_in_which_they_end():
    # "ab\ncd": the third token spans the line's end, the last ends the reply.
    assert parted([1, 2, 3, 4, 5], [1, 2, 4, 5, 5], ["ab\n", "cd"]) == [[1, 2], [3, 4, 5]]
    assert parted([1, 2, 3], [3, 5, 5], ["ab\n", "cd"]) == [[1], [2, 3]]
    assert parted([9], [0], [""]) == [[9]]


def test_a_line_within_one_token_has_none_of_its_own():
    assert parted([1, 2, 3], [5, 6, 6], ["a\n", "b\n", "cd"]) == [[], [], [1, 2, 3]]


def test_no_token_changes_its_place_whatever_is_told_of_where_it_ends():
    assert parted([1, 2, 3, 4], [4, 0, 5, 5], ["ab\n", "cd"]) == [[], [1, 2, 3, 4]]


def save_joining_tokenizer(folder: Path) -> None:
    """Bytes, but that a line's end and the number of the line behind it are one token: "\\n2."."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    end, *_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str("\n")[0]
    joined = [(end, "2"), (f"{end}2", "."), (end, "3"), (f"{end}3", ".")]
    vocabulary = {token: place for place, token in enumerate([*alphabet, *("".join(pair) for pair in joined)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=joined))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>")
    fast.add_special_tokens({"additional_special_tokens": ["<|system|>", "<|user|>", "<|assistant|>"]})
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


@pytest.fixture(scope="module")
def joining(tmp_path_factory) -> Backbone:
    folder = tmp_path_factory.mktemp("joining")
    save_model(folder, "llama", vocabulary=272)
    save_joining_tokenizer(folder)
    return Backbone.load(str(folder), ModelConfig(base_model=str(folder), lora=LoraConfig(rank=4, alpha=8)))


def test_lines_are_read_in_the_tokens_that_a_policy_writes(joining):
    alone = [token for line in lines_of(REPLY) for token in joining.encode_response(line)[:-1]]
    assert alone != joining.encode_response(REPLY)[:-1], "line by line they would be other tokens"
    row = joining.row(PROMPT, lines_of(REPLY))
    assert row.ids == joining.row(PROMPT, REPLY).ids
    assert row.reply == len(joining.encode_response(REPLY))


def test_each_lines_span_ends_where_the_line_does_and_the_last_before_the_end_token(joining):
    row = joining.row(PROMPT, lines_of(REPLY))
    assert [joining.decode(row.ids[start:end]) for start, end in row.spans] == ["1. stop", "\n2. oil it", "\n3. wipe"]
    assert row.spans[-1][1] == len(row.ids) - 1 and row.ids[-1] == joining.eos_id
    starts, ends = zip(*row.spans, strict=True)
    assert starts[1:] == ends[:-1] and starts[0] == len(joining.render(PROMPT.messages))


def test_a_tokenizer_that_joins_nothing_keeps_each_lines_end_with_it(tiny_model):
    backbone = tiny_model()
    row = backbone.row(PROMPT, lines_of(REPLY))
    assert row.ids == backbone.row(PROMPT, REPLY).ids
    assert [backbone.decode(row.ids[a:b]) for a, b in row.spans] == ["1. stop\n", "2. oil it\n", "3. wipe"]


@given(st.text(st.sampled_from("23. \naé<|end>"), max_size=24))
def test_whatever_a_reply_says_it_is_the_same_row_by_lines(joining, reply):
    row = joining.row(PROMPT, lines_of(reply))
    assert row.ids == joining.row(PROMPT, reply).ids
    assert row.spans[-1][1] == len(row.ids) - (reply != "") and 1 <= len(row.spans) <= len(lines_of(reply))
    assert all(start < end for start, end in row.spans)


def test_a_special_token_that_a_line_spells_out_stays_text(joining):
    reply = "1. say <|end|>\n2. stop"
    row = joining.row(PROMPT, lines_of(reply))
    assert row.ids == joining.row(PROMPT, reply).ids
    assert row.ids.count(joining.eos_id) == 2, "the ends of the user's turn and of the reply"
    assert joining.decode(row.ids[slice(*row.spans[0])]) == "1. say <|end|>"
