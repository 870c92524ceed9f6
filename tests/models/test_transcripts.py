"""A conversation that a template has written is read back as it was, and a text that it has not written is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

import rlhf_core.sandbox
from rlhf_core.models.transcripts import find_transcripts
from rlhf_core.models.turns import find_turns
from rlhf_core.records.samples import Message

CHATML = (
    "{{ bos_token }}{% if messages[0].role != 'system' %}<|im_start|>system\nYou are kind.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""With a system turn of its own where none is given, as Qwen's and SmolLM's have it."""
TALK = [("user", "Hello"), ("assistant", "Hi.\n\nWell?"), ("user", "Bye <b> {x}")]


def reader(chatml: bool):
    tokenizer = AutoTokenizer.from_pretrained(Path(rlhf_core.sandbox.__file__).parent / "model")
    if chatml:
        tokenizer.add_special_tokens({"bos_token": "<s>", "additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        tokenizer.chat_template = CHATML
    found = find_transcripts(tokenizer, find_turns("x", tokenizer))
    assert found is not None
    return tokenizer, found


@pytest.mark.parametrize("chatml", [False, True])
@pytest.mark.parametrize("talk", [TALK, TALK[:1], [("system", "Be brief."), *TALK], [("system", "Be brief."), TALK[0]]])
def test_turns_and_reply_come_back_as_they_were(chatml, talk):
    tokenizer, transcripts = reader(chatml)
    turns = [{"role": role, "content": content} for role, content in talk]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    expected = tuple(Message(role=role, content=content) for role, content in talk)
    end = "<|im_end|>" if chatml else "<|end|>"
    assert transcripts.read(prompt) == (expected, "")
    for tail in ("", end, f"{end}\n", f"{end}<|pad|><|pad|>"):
        assert transcripts.read(f"{prompt}A reply,\nof two lines.{tail}") == (expected, "A reply,\nof two lines.")
    if chatml:  # some leave out the token that begins a text, as it would be added again
        assert transcripts.read(prompt.removeprefix("<s>")) == (expected, "")


def test_a_prompt_whose_reply_has_not_begun_has_none():
    tokenizer, transcripts = reader(chatml=False)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False)
    assert transcripts.read(prompt) == ((Message(role="user", content="Hello"),), None)


def test_what_another_template_has_written_is_not_read():
    for chatml, text in ((False, "<|im_start|>user\nHi<|im_end|>"), (True, "<|user|>Hi<|end|>"), (True, "Hi")):
        assert reader(chatml)[1].read(text) is None
    assert reader(True)[1].read("<s><|im_start|>system\nnever ended") is None
