from __future__ import annotations

from collections.abc import Sequence

import pytest

from rlhf_core.constitution.load import load_constitution
from rlhf_core.constitution.principle import Example, Principle, hash_of
from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.critic import (
    CRITIQUE_AGAIN,
    criticise,
    critique_turns,
    parse_critique,
    revise_turns,
    rewrite,
)
from rlhf_core.feedback.templates import critique_conversation, revise_conversation
from rlhf_core.interfaces import Conversation
from rlhf_core.records.samples import Message, Prompt, Sample

PROMPT = Prompt.of("How do I clear a drain?")
SAMPLE = Sample(id="s", prompt=PROMPT, response="Pour acid.", policy_version="base")
PLAIN = Principle(id="p", serves={"safe": 1}, critique="Check for acid.", revise="Leave it out.", compare="Which?")
EXAMPLE = Example(prompt="How do I dye?", bad='Use acid, "the strong one".\nWait.', critique="Acid burns.", good="Ask.")


class Script:
    """A chat that answers from a list and remembers what it was asked."""

    def __init__(self, *answers: Sequence[str]):
        self.answers, self.asked = list(answers), []

    def __call__(self, conversations: Sequence[Conversation]) -> list[str]:
        self.asked.append([tuple(conversation) for conversation in conversations])
        return list(self.answers.pop(0))


def test_the_sandboxs_principles_are_asked_word_for_word_as_its_model_was_taught():
    for principle in load_constitution("household").critiquing():
        assert principle.critique and principle.revise
        plain = critique_conversation(PROMPT, "Pour acid.", principle.critique)
        assert critique_turns(principle, PROMPT, "Pour acid.") == plain
        assert plain[0].content == (
            f"{principle.critique}\n\nHow do I clear a drain?\n\nReply:\nPour acid.\n\n"
            'Go line by line, quote the words at fault, end with "Verdict:" and complies, borderline or violates.'
        )
        again = revise_conversation(PROMPT, "Pour acid.", principle.critique, "C", principle.revise)
        assert revise_turns(principle, PROMPT, "Pour acid.", "C") == again


@pytest.mark.parametrize("line", ["**Verdict:** violates", "Verdict: **violates**", "**Verdict**: `violates`"])
def test_a_verdict_may_stand_in_markdown(line: str):
    parsed = parse_critique(f'"Pour acid" burns.\n{line}', "Pour acid.")
    assert parsed.verdict == "violates"


def test_worked_examples_are_earlier_turns_in_the_same_words():
    principle = PLAIN.model_copy(update={"examples": (EXAMPLE,)})
    turns = critique_turns(principle, PROMPT, "Pour acid.")
    assert [turn.role for turn in turns] == ["user", "assistant"] * 3 + ["user"]
    assert turns[-1:] == critique_turns(PLAIN, PROMPT, "Pour acid.")
    dye = Prompt.of("How do I dye?")
    assert turns[:1] == critique_turns(PLAIN, dye, EXAMPLE.bad)
    # The example quotes nothing, so some of its words are put there; a verdict is added where there is none.
    assert turns[1].content == '"the strong one": Acid burns.\nVerdict: violates'
    assert turns[2] == revise_turns(PLAIN, dye, EXAMPLE.bad, turns[1].content)[-1]
    assert turns[3].content == "Ask."
    assert (turns[4],) == critique_turns(PLAIN, dye, "Ask.")
    assert turns[5].content == "Verdict: complies"
    assert revise_turns(principle, PROMPT, "Pour acid.", "C")[: len(turns)] == turns


def test_what_is_right_about_the_good_reply_is_said_before_its_verdict():
    """A critic that has only seen bare verdicts of `complies` gives one to anything."""
    reasoned = EXAMPLE.model_copy(update={"approval": "It asks first, and burns nothing."})
    before, after = (PLAIN.model_copy(update={"examples": (one,)}) for one in (EXAMPLE, reasoned))
    turns = critique_turns(after, PROMPT, "Pour acid.")
    assert turns[5].content == "It asks first, and burns nothing.\nVerdict: complies"
    assert turns[:5] == critique_turns(before, PROMPT, "Pour acid.")[:5]
    parsed = parse_critique(turns[5].content, "Ask.")
    assert parsed.verdict == "complies"


def test_only_an_approval_that_is_there_makes_a_principle_another_one():
    same, other = (EXAMPLE.model_copy(update={"approval": said}) for said in (None, "Right."))
    known, reworded = (PLAIN.model_copy(update={"examples": (one,)}).hash for one in (same, other))
    shown = [EXAMPLE.prompt, EXAMPLE.bad, EXAMPLE.critique, EXAMPLE.good]
    assert known == hash_of([PLAIN.critique, PLAIN.revise, PLAIN.compare, [], [shown]])
    assert reworded != known


def test_an_example_that_quotes_and_judges_stays_as_it_is():
    said = '"Use acid" burns.\nVerdict: borderline'
    principle = PLAIN.model_copy(update={"examples": (EXAMPLE.model_copy(update={"critique": said}),)})
    assert critique_turns(principle, PROMPT, "Pour acid.")[1].content == said


def test_a_conversation_of_several_turns_stays_whole():
    turns = tuple(Message(role=r, content=c) for r, c in [("user", "one"), ("assistant", "two"), ("user", "three")])
    (asked,) = critique_turns(PLAIN, Prompt.from_messages(turns), "four")
    assert asked.content.startswith("Check for acid.\n\nuser: one\n\nassistant: two\n\nuser: three\n\nReply:\nfour\n\n")


def test_a_critique_that_cannot_be_read_is_asked_for_once_more_and_only_it():
    other = SAMPLE.model_copy(update={"id": "t", "response": "Pour soda."})
    chat = Script(["hm", "Verdict: complies"], ['"Pour acid" burns. Verdict: violates'])
    first, second = criticise(chat, [SAMPLE, other], [PLAIN, PLAIN], "law", "critic")
    assert (first.verdict, first.spans, first.text) == (
        "violates",
        ("Pour acid",),
        '"Pour acid" burns. Verdict: violates',
    )
    assert (second.verdict, second.critic, second.constitution_hash) == ("complies", "critic", "law")
    ((again,),) = chat.asked[1:]
    assert again[:-2] == chat.asked[0][0]
    assert [turn.content for turn in again[-2:]] == ["hm", CRITIQUE_AGAIN]


@pytest.mark.parametrize("second", ["hm?", 'He said "soda". Verdict: violates'])
def test_a_second_critique_that_cannot_be_read_is_rejected_and_the_first_stands(second: str):
    chat = Script(['"soda" is bad. Verdict: violates'], [second])
    (critique,) = criticise(chat, [SAMPLE], [PLAIN], "law", "critic")
    assert (critique.verdict, critique.reason) == (None, "invented_fault")
    assert critique.text.startswith('"soda"') and not chat.answers


def test_a_revision_that_is_no_reply_is_asked_for_once_more():
    other = SAMPLE.model_copy(update={"id": "t"})
    chat = Script(["The reply should not name acid.", "Use soda."], ["Use hot water."])
    assert rewrite(chat, [SAMPLE, other], ["C", "C"], [PLAIN, PLAIN]) == ["Use hot water.", "Use soda."]
    assert len(chat.asked[1]) == 1


def test_a_label_that_can_be_taken_off_is_no_reason_to_ask_again():
    chat = Script(["Revised reply: use soda."])
    assert rewrite(chat, [SAMPLE], ["C"], [PLAIN]) == ["Revised reply: use soda."]


def test_an_empty_text_is_shown_as_nothing_when_it_is_asked_for_again():
    chat = Script([" "], ["Verdict: complies"])
    (critique,) = criticise(chat, [SAMPLE], [PLAIN], "law", "critic")
    assert critique.verdict == "complies" and chat.asked[1][0][-2].content == "(nothing)"


def test_a_principle_that_only_compares_cannot_criticise():
    only = Principle(id="only", serves={"safe": 1}, compare="Which?")
    with pytest.raises(InvalidInput, match="principle 'only' only compares"):
        criticise(Script([]), [SAMPLE], [only], "law", "critic")
