"""What is learnt and scored ends and begins where the chat template ends and begins a turn, or the model is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import AddedToken
from transformers import AutoTokenizer

from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.inference.generate import generate
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Message
from tests.conftest import save_model, save_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{m.role}}\n{{m.content}}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PARTS = CHATML.replace("{{m.content}}", "{% for c in m.content %}{{c['text']}}{% endfor %}")
INST = (
    "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}{{ eos_token }}"
    "{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
)
HI = (Message(role="user", content="Hi"),)
Load = Callable[..., Backbone]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A tiny model of this template, whose EOS is <|endoftext|>; `ends` are those of its generation config."""

    def make(template: str, ends: tuple[str, ...] = ("<|endoftext|>",), special: bool = True) -> Backbone:
        save_model(tmp_path, "llama", vocabulary=300)
        save_tokenizer(tmp_path)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path)
        tokenizer.add_special_tokens({"eos_token": AddedToken("<|endoftext|>", special=True)})
        marks = [AddedToken(mark, special=special, normalized=False) for mark in ("<|im_start|>", "<|im_end|>")]
        tokenizer.add_tokens(marks, special_tokens=special)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(tmp_path)
        ids = tokenizer.convert_tokens_to_ids(list(ends))
        (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
        return Backbone.load(str(tmp_path), ModelConfig(base_model=str(tmp_path)))

    return make


def spelled(backbone: Backbone, ids: list[int]) -> str:
    return str(backbone.tokenizer.decode(ids, skip_special_tokens=False))


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("ends", [("<|endoftext|>",), ("<|endoftext|>", "<|im_end|>")])
def test_a_reply_ends_with_the_templates_end_of_turn(load, ends, special):
    backbone = load(CHATML, ends, special)
    assert spelled(backbone, backbone.encode_response("Yes"))[-10:] == "<|im_end|>"
    assert {spelled(backbone, [stop]) for stop in backbone.stop_ids} == {"<|endoftext|>", "<|im_end|>"}
    assert backbone.decode(backbone.encode_response("Yes")) == "Yes"


@pytest.mark.parametrize("template", [CHATML, PARTS, INST])
def test_prompt_and_reply_are_the_beginning_of_the_templates_whole(load, template):
    backbone = load(template)
    read = spelled(backbone, [*backbone.render(HI), *backbone.encode_response("Yes")])
    talk = (*HI, Message(role="assistant", content="Yes"), *HI)
    assert spelled(backbone, backbone.render(talk)).replace(" Yes", "Yes").startswith(read)


def test_generation_stops_at_an_end_of_turn_that_no_file_names(load):
    backbone = load(CHATML)
    drawn = generate(backbone, [backbone.render(HI)], n=32, temperature=20.0, max_tokens=80, seed=0)
    ended = [result.tokens for result in drawn if result.finished]
    assert any(tokens[-1] == backbone.eos_id for tokens in ended)
    assert all(backbone.eos_id not in result.tokens[:-1] for result in drawn)


def test_a_template_that_reads_parts_gets_parts_with_special_tokens_as_text(load):
    backbone = load(PARTS)
    text = spelled(backbone, backbone.render((Message(role="user", content="What is <|im_end|>?"),)))
    assert "What is <|im_end|>?" in text
    ids = backbone.render((Message(role="user", content="What is <|im_end|>?"),))
    assert ids.count(backbone.eos_id) == 1


def test_a_template_that_loses_a_turn_is_refused(load):
    with pytest.raises(InvalidInput, match=r"leaves out the words of a turn \(2 of 3\)"):
        load("{{ messages[-1].content }}<|im_end|>")


def test_a_template_that_does_not_open_the_assistants_turn_is_refused(load):
    with pytest.raises(InvalidInput, match=r"writes '\\n<\|im_start\|>assistant\\n' between a prompt and its reply"):
        load(CHATML.partition("{% if add_gen")[0])


def test_a_template_whose_opening_never_stands_before_a_reply_is_refused(load):
    with pytest.raises(InvalidInput, match="in another way once a reply follows"):
        load(CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif"))


def test_a_template_without_an_end_of_turn_is_refused(load):
    with pytest.raises(InvalidInput, match=r"ends the assistant's turn with '\\nplums\\n', which begins with no end"):
        load("{% for m in messages %}{{ m.content }}\n{% endfor %}")


def test_a_template_that_ends_only_the_last_turn_is_taken(load):
    template = "{{ m.content }}\n{% if loop.last and m.role == 'assistant' %}{{ eos_token }}{% endif %}"
    backbone = load(f"{{% for m in messages %}}{template}{{% endfor %}}")
    assert spelled(backbone, [backbone.eos_id]) == "<|endoftext|>"


def test_system_turns_that_a_template_leaves_out_are_refused_when_they_come(load):
    backbone = load(CHATML.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}"))
    assert backbone.render(HI)
    with pytest.raises(InvalidInput, match="leaves out the words of system turns"):
        backbone.render((Message(role="system", content="Be kind."), *HI))


def test_the_end_of_a_turn_that_a_user_spells_out_ends_nothing(load):
    backbone = load(CHATML, special=False)
    ids = backbone.render((Message(role="user", content="so <|im_end|> it is"),))
    assert ids.count(backbone.eos_id) == 1 and "so <|im_end|> it is" in spelled(backbone, ids)
