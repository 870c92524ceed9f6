"""Text from people never becomes a special token, on tokenizers in the manner of Llama, GPT-2 and Qwen."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Message
from rlhf_core.sandbox.sandbox import MODEL_FOLDER
from tests.conftest import save_model

TEXT = ["How do I unclog the drain? Turn the valve off, then plunge it twice."] * 3
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content | trim }}{{ eos_token }}"
    "{% else %}[INST] {{ m.content | trim }} [/INST]{% endif %}{% endfor %}"
)
GPT2 = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"


def special(text: str, **flags: bool) -> AddedToken:
    return AddedToken(text, special=True, normalized=False, **flags)


def llama() -> PreTrainedTokenizerFast:
    """Pieces with a mark for the space before them; the special tokens stand in the vocabulary too."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(
        special_tokens=["<unk>", "<s>", "</s>"],
        vocab_size=300,
        initial_alphabet=[chr(place) for place in range(33, 127)],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return wrap(tokenizer, INST, bos_token=special("<s>"), eos_token=special("</s>"), unk_token=special("<unk>"))


def gpt2() -> PreTrainedTokenizerFast:
    """Bytes; the one special token is a word of the vocabulary."""
    return wrap(of_bytes(["<|endoftext|>"]), GPT2, eos_token=special("<|endoftext|>"))


def qwen() -> PreTrainedTokenizerFast:
    """Bytes after normalisation; special tokens beside the vocabulary, and an added one that is not special."""
    tokenizer = of_bytes([])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    tokenizer.add_special_tokens([special("<|im_start|>", rstrip=True)])
    return wrap(tokenizer, CHATML, eos_token=special("<|im_end|>"), pad_token=special("<|endoftext|>"))


def of_bytes(first: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=first, vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def wrap(tokenizer: Tokenizer, template: str, **names: AddedToken) -> PreTrainedTokenizerFast:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    fast.chat_template = template
    return fast


@pytest.fixture(scope="module")
def backbones(tmp_path_factory) -> dict[str, Backbone]:
    found = {}
    for name, make in {"llama": llama, "gpt2": gpt2, "qwen3": qwen}.items():
        folder = tmp_path_factory.mktemp(name)
        save_model(folder, name, vocabulary=500)
        make().save_pretrained(folder)
        found[name] = Backbone.load(str(folder), ModelConfig(base_model=str(folder)))
    found["sandbox"] = Backbone.load(str(MODEL_FOLDER), ModelConfig())
    return found


def turns(*texts: str) -> tuple[Message, ...]:
    return tuple(Message(role=("user", "assistant")[i % 2], content=text) for i, text in enumerate(texts))


def unguarded(backbone: Backbone, conversation: tuple[Message, ...]) -> list[int]:
    return backbone.tokenizer.apply_chat_template(
        [message.model_dump() for message in conversation], add_generation_prompt=True, return_dict=False
    )


def special_ids(backbone: Backbone, ids: list[int]) -> list[int]:
    """Those in ids, but for the one that stands for characters which the tokenizer does not know."""
    known = {token for token, added in backbone.tokenizer.added_tokens_decoder.items() if added.special}
    known.discard(backbone.tokenizer.unk_token_id)
    return [token for token in ids if token in known]


KINDS = ("llama", "gpt2", "qwen3", "sandbox")


@pytest.mark.parametrize("kind", KINDS)
def test_a_special_token_in_any_turn_stays_text(backbones, kind):
    backbone = backbones[kind]
    harmless = special_ids(backbone, backbone.render(turns("x", "x", "x")))
    for token in (added.content for added in backbone.tokenizer.added_tokens_decoder.values() if added.special):
        for text in (token, f"Hi{token}x", f" {token}\n{token} ", f"{token[:2]}{token}{token[2:]}", token * 3):
            hostile = turns(f"Hi {text}", f"Yes {text}.", f"{text} so")
            assert special_ids(backbone, backbone.render(hostile)) == harmless
            if token != "<unk>":
                assert special_ids(backbone, unguarded(backbone, hostile)) != harmless


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_spelled_out_is_still_there_to_read(backbones, kind):
    backbone = backbones[kind]
    end = backbone.tokenizer.eos_token
    text = backbone.tokenizer.decode(backbone.render(turns(f"What does {end} mean?")))
    assert f"What does {end} mean?" in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_response_that_spells_its_end_has_one_end_only(backbones, kind):
    backbone = backbones[kind]
    ids = backbone.encode_response(f"It is {backbone.tokenizer.eos_token}, said I.")
    assert special_ids(backbone, ids) == [backbone.eos_id] and ids[-1] == backbone.eos_id
    assert backbone.decode(ids[:-1]) == f"It is {backbone.tokenizer.eos_token}, said I."


PIECES = ("drain", " <", "|", "\n", "[INST]", "é", "<think>", "</", "s >", "<|im_", "end|")


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    text=st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=12).map("".join)),
)
def test_an_ordinary_text_keeps_every_token(backbones, kind, text):
    backbone = backbones[kind]
    conversation = turns(text, text, text)
    assert backbone.render(conversation) == unguarded(backbone, conversation)
    assert backbone.encode_response(text)[:-1] == backbone.tokenizer.encode(text, add_special_tokens=False)


def test_the_tasks_of_the_sandbox_keep_every_token(backbones):
    backbone = backbones["sandbox"]
    for text in (
        "How do I unclog the drain?",
        "Reply A:\n1. Turn it off.\n\nReply B:\n(none)\n\nWhich is safer? A or B.",
    ):
        assert backbone.render(turns(text)) == unguarded(backbone, turns(text))


def test_a_tokenizer_that_reads_a_special_token_out_of_plain_text_refuses_it(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "hi": 2}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    save_model(tmp_path, "llama")
    wrap(tokenizer, GPT2, eos_token=special("</s>"), unk_token=special("<unk>")).save_pretrained(tmp_path)
    backbone = Backbone.load(str(tmp_path), ModelConfig(base_model=str(tmp_path)))
    with pytest.raises(InvalidInput, match="cannot read a special token that a turn spells out"):
        backbone.render(turns("hi </s> hi"))
    with pytest.raises(InvalidInput, match="cannot read the special token '</s>'"):
        backbone.encode_response("hi </s> hi")
