import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.records.samples import Message
from rlhf_core.sandbox import pretrain
from rlhf_core.sandbox.corpus import Aside, Corpus, Document
from rlhf_core.sandbox.documents import LETTER_WEIGHT, VERDICT_WEIGHT, WORTH_WEIGHT, Encoder
from rlhf_core.sandbox.pretrain import loss_sum, new_model
from rlhf_core.sandbox.tokenizer import train_tokenizer
from rlhf_core.sandbox.world import load_world

CORPUS = Corpus(load_world(), np.random.default_rng(0))
TOKENIZER = train_tokenizer(
    turn.content for _ in range(200) for draw in (CORPUS.criticism, CORPUS.judgement) for turn in draw().turns
)
ENCODER = Encoder(TOKENIZER)
TURNS = (Message(role="user", content="How do I paint the fence?"), Message(role="assistant", content="1. let it dry"))


@given(st.text())
def test_any_text_survives_the_tokenizer(text: str):
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert TOKENIZER.decode(ids) == text


def test_a_conversation_is_encoded_as_the_chat_template_has_it():
    messages = [turn.model_dump() for turn in TURNS]
    assert ENCODER(Document(turns=TURNS)).tokens == TOKENIZER.apply_chat_template(messages, return_dict=False)


def test_only_the_learned_turn_is_a_target_and_its_end_with_it():
    example = ENCODER(Document(turns=TURNS, learned=(1,)))
    answer = TOKENIZER.encode("1. let it dry<|end|>", add_special_tokens=False)
    assert [target.token for target in example.targets] == answer
    assert [example.tokens[target.position + 1] for target in example.targets] == answer
    assert example.targets[-1].position == len(example.tokens) - 2


def test_a_text_learns_its_own_pieces_only():
    example = ENCODER(Document(pieces=("1. let it dry", " (safe)"), learned=(1,)))
    tail = TOKENIZER.encode(" (safe)<|end|>", add_special_tokens=False)
    assert [target.token for target in example.targets] == tail
    whole = ENCODER(Document(pieces=("let it dry",), learned=(0,)))
    assert [target.token for target in whole.targets] == whole.tokens[1:]


def test_each_letter_has_two_targets_that_share_its_weight():
    question = Message(role="user", content="Answer A or B.")
    letter = Message(role="assistant", content="A")
    turns = (question, letter, question, letter)
    example = ENCODER(Document(turns=turns, learned=(1, 3), p_a=(0.75, 0.5)))
    a, b, end, *later = example.targets
    assert a.position == b.position == end.position - 1
    assert (a.weight, b.weight, end.weight) == pytest.approx((0.75 * LETTER_WEIGHT, 0.25 * LETTER_WEIGHT, 1))
    assert TOKENIZER.decode([a.token, b.token]) == "AB"
    assert [target.weight for target in later] == pytest.approx([0.5 * LETTER_WEIGHT, 0.5 * LETTER_WEIGHT, 1])


def test_of_notes_that_are_given_only_the_verdicts_are_learned():
    notes = Message(role="assistant", content="A:\n1. fumes 2 3\nB:\n1. safe 3\nBetter: fumes B, helps even")
    example = ENCODER(Document(turns=(notes,), given=(0,)))
    assert [TOKENIZER.decode([target.token]) for target in example.targets] == [" B", " even"]
    assert [example.tokens[target.position + 1] for target in example.targets] == [t.token for t in example.targets]
    assert {target.weight for target in example.targets} == {VERDICT_WEIGHT}


def test_what_is_brought_to_mind_is_learned_at_the_word_that_was_read_last():
    text = "Which reply risks less shock or fumes?"
    shock, fumes = text[: text.index(" or")], text[:-1]
    question = Message(role="user", content=text)
    asides = (Aside(0, shock, "B"), Aside(0, fumes, "even"), Aside(0, shock, "wrong"))
    example = ENCODER(Document(turns=(question,), asides=asides))
    read = [(example.tokens[target.position], target.token, target.weight) for target in example.targets]
    tokens = {word: TOKENIZER.encode(f" {word}")[-1] for word in ("shock", "fumes", "B", "even", "wrong")}
    assert read == [
        (tokens["shock"], tokens["B"], VERDICT_WEIGHT),
        (tokens["fumes"], tokens["even"], VERDICT_WEIGHT),
        (tokens["shock"], tokens["wrong"], WORTH_WEIGHT),
    ]


def test_the_loss_of_an_untrained_model_is_that_of_a_guess():
    torch.manual_seed(0)
    example = ENCODER(Document(turns=TURNS, learned=(1,)))
    longer = ENCODER(Document(turns=(*TURNS, *TURNS), learned=(1,)))
    loss = loss_sum(new_model(TOKENIZER), [example, longer])
    guess = 2 * len(example.targets) * np.log(len(TOKENIZER))
    assert float(loss) == pytest.approx(guess, rel=0.05)


def test_padding_to_few_shapes_changes_no_loss(monkeypatch):
    torch.manual_seed(0)
    model = new_model(TOKENIZER)
    examples = [ENCODER(Document(turns=turns, learned=(1,))) for turns in (TURNS, (*TURNS, *TURNS))]
    padded = loss_sum(model, examples)
    padded.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad(set_to_none=True)
    monkeypatch.setattr(pretrain, "WIDTHS", 1)
    monkeypatch.setattr(pretrain, "COUNTS", 1)
    plain = loss_sum(model, examples)
    plain.backward()
    assert float(padded) == pytest.approx(float(plain), rel=1e-3)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert parameter.grad is not None and gradient is not None
        assert torch.allclose(parameter.grad, gradient, rtol=0.05, atol=0.05 * float(gradient.abs().max()))
