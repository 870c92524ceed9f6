import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.errors import InvalidInput
from rlhf_core.inference.choice_logprobs import Family, choose, families
from rlhf_core.records.samples import Message

KINDS = ("llama", "gpt2", "qwen3")
LONG = "Reply A is long enough to be worth sharing between several questions. "


def turns(*texts: str) -> list[list[Message]]:
    return [[Message(role="user", content=text)] for text in texts]


@pytest.mark.parametrize("kind", KINDS)
def test_choose_gives_each_labels_logprob_with_and_without_a_space(tiny_model, kind):
    backbone = tiny_model(kind)
    conversations = turns("which one?", "a rather longer question: which one?")
    for conversation, values in zip(conversations, choose(backbone, conversations, ("A", "B")), strict=True):
        ids = torch.tensor([backbone.render(conversation)])
        logprobs = backbone.model(ids).logits[0, -1].log_softmax(-1)
        expected = [logprobs[backbone.tokenizer.encode(label)[0]].item() for label in "AB"]
        assert values == pytest.approx(expected, abs=1e-4)  # " A" is two tokens here, so it adds nothing


def test_a_label_of_two_tokens_is_refused(tiny_model):
    with pytest.raises(InvalidInput, match="label 'AB' is 2 tokens"):
        choose(tiny_model(), turns("?"), ("AB", "C"))
    with pytest.raises(InvalidInput, match="are the same token"):
        choose(tiny_model(), turns("?"), ("A", "A"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_shared_beginning_changes_no_answer(tiny_model, kind):
    backbone = tiny_model(kind)
    other = LONG.replace("A", "B")
    texts = [LONG + "Safer?", other + "Safer?", LONG + "Which one is more helpful?", "alone", LONG + "Safer?", other]
    together = choose(backbone, turns(*texts), ("A", "B"))
    for text, values in zip(texts, together, strict=True):
        assert values == pytest.approx(choose(backbone, turns(text), ("A", "B"))[0], abs=1e-4)


def test_each_beginning_is_computed_once(tiny_model):
    backbone = tiny_model()
    assert backbone._spared_block is not None, "what is tried once is not counted"
    asked = turns(*[LONG + f"Question number {n}?" for n in range(10)])
    seen: list[torch.Size] = []
    hook = backbone.model.get_input_embeddings().register_forward_hook(lambda *args: seen.append(args[1][0].shape))
    choose(backbone, asked, ("A", "B"))
    hook.remove()
    longest = max(len(backbone.render(conversation)) for conversation in asked)
    (one, prefix), (ten, rest) = seen
    assert (one, ten) == (1, 10) and prefix > rest and prefix + rest == longest


def test_rows_that_begin_alike_are_a_family():
    rows = [[1, 2, 3, 4], [9], [1, 2, 3, 5, 6], [1, 2, 3, 4], [1, 7, 7, 7]]
    assert families(rows) == [Family(3, [0, 3, 2]), Family(0, [4]), Family(0, [1])]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), max_size=12))
def test_every_row_is_in_one_family_and_begins_as_its_family_does(rows):
    found = families(rows)
    assert sorted(i for family in found for i in family.rows) == list(range(len(rows)))
    for prefix, members in found:
        assert all(rows[i][:prefix] == rows[members[0]][:prefix] and len(rows[i]) > prefix for i in members)


def test_no_question_is_no_answer(tiny_model):
    assert choose(tiny_model(), [], ("A", "B")) == []
