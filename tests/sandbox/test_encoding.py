import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.records import Message
from rlhf_core.sandbox import pretrain
from rlhf_core.sandbox.corpus import Corpus
from rlhf_core.sandbox.documents import Aside, Document, Read, Totals
from rlhf_core.sandbox.encoding import LETTER_WEIGHT, VERDICT_WEIGHT, WORTH_WEIGHT, WORTHS, Encoder, risk_class
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


def test_what_is_read_is_to_be_known_at_each_lines_last_token_and_at_the_end_of_the_turn():
    for document in filter(lambda document: document.reads, (CORPUS.reading() for _ in range(40))):
        example = ENCODER(document)
        assert example.targets == [], "a reply that is read is not one to write"
        *lines, end = example.readings
        start = len(example.tokens) - len(TOKENIZER.encode(document.turns[-1].content, add_special_tokens=False)) - 1
        heard = [TOKENIZER.decode(example.tokens[start : reading.position + 1]) for reading in lines]
        assert heard == [read.text for read in document.reads]
        assert end == lines[-1]._replace(position=len(example.tokens) - 1)
        assert [(WORTHS[reading.worth], reading.risk) for reading in lines] == [
            (read.worth, risk_class(read)) for read in document.reads
        ]


def test_a_reply_comes_to_its_help_and_its_severities_in_thirds():
    reads = (Read("1. let it dry", 6, "", 0),)
    document = Document(turns=TURNS, reads=reads, totals=Totals(0.75, (3, 0, 0, 1, 0)))
    example = ENCODER(document)
    (found,) = example.sums
    assert found.position == len(example.tokens) - 1
    assert found.numbers == pytest.approx((0.75, 1, 0, 0, 1 / 3, 0))
    assert [reading.position for reading in example.readings] == [len(example.tokens) - 2, len(example.tokens) - 1]


def test_an_empty_reply_has_no_lines_and_comes_to_nothing():
    turns = (TURNS[0], Message(role="assistant", content=""))
    example = ENCODER(Document(turns=turns, totals=Totals(0.0, (0,) * 5)))
    assert example.readings == () and example.sums[0].numbers == (0,) * 6
    assert example.sums[0].position == len(example.tokens) - 1


@pytest.mark.parametrize(
    ("kind", "severity", "place"), [("", 0, 0), ("fumes", 1, 1), ("fumes", 3, 3), ("burns", 1, 4), ("falls", 3, 15)]
)
def test_each_severity_of_each_kind_is_a_risk_of_its_own(kind, severity, place):
    assert risk_class(Read("", 0, kind, severity)) == place


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
