"""Read back what a chat template has written: a conversation in one text, as its turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from rlhf_core.models.turns import NEXT, REPLY, SYSTEM, USER, Turns
from rlhf_core.records.samples import Message


class Transcript(NamedTuple):
    """The turns before the assistant's last one, and the words of that; None where it has not begun."""

    messages: tuple[Message, ...]
    reply: str | None


class Transcripts(NamedTuple):
    """What a template writes around the words of the turns, found by what it makes of a conversation."""

    begin: str
    """Before the first words of a conversation that begins with the user."""
    system: tuple[str, str] | None
    """Before and after the words of a system turn; None where the template writes none."""
    ask: str
    """Between the user's words and the assistant's."""
    follow: str
    """Between the assistant's words and the user's next."""
    end: str
    """The token that ends the assistant's turn."""
    bos: str
    """The token that begins a text; who passes a text on may have left it out."""

    def read(self, text: str) -> Transcript | None:
        """Read a conversation back from a text; None for one that this template has not written."""
        text = text.removeprefix(self.bos)
        turns: list[Message] = []
        if text.startswith(self.begin):
            rest = text.removeprefix(self.begin)
        elif self.system and text.startswith(self.system[0]):
            words, found, rest = text.removeprefix(self.system[0]).partition(self.system[1])
            if not found:
                return None
            turns.append(Message(role="system", content=words))
        else:
            return None
        while True:
            words, asked, rest = rest.partition(self.ask)
            if not asked:
                return Transcript((*turns, Message(role="user", content=self._ended(words))), None)
            turns.append(Message(role="user", content=words))
            reply, followed, after = rest.partition(self.follow)
            if not followed:
                return Transcript(tuple(turns), self._ended(reply))
            turns.append(Message(role="assistant", content=reply))
            rest = after

    def _ended(self, words: str) -> str:
        """Words without the end of their turn, and without the padding behind it."""
        return words.partition(self.end)[0]


def find_transcripts(tokenizer: PreTrainedTokenizerBase, turns: Turns) -> Transcripts | None:
    """Find how the template's texts are read; none where it writes nothing before the first turn or between turns."""
    talk = _written(tokenizer, turns, [("user", USER), ("assistant", REPLY), ("user", NEXT)])
    begin, rest = talk.split(USER, 1)
    ask, rest = rest.split(REPLY, 1)
    follow = rest.split(NEXT, 1)[0]
    bos = str(tokenizer.bos_token or "")
    begin = begin.removeprefix(bos)
    if not (begin and ask and follow):
        return None
    return Transcripts(begin, _around_system(tokenizer, turns, bos), ask, follow, turns.end, bos)


def _around_system(tokenizer: PreTrainedTokenizerBase, turns: Turns, bos: str) -> tuple[str, str] | None:
    try:
        text = _written(tokenizer, turns, [("system", SYSTEM), ("user", USER)])
    except Exception:  # a template is a program, and may refuse such a turn
        return None
    before, found, rest = text.removeprefix(bos).partition(SYSTEM)
    between, asked, _ = rest.partition(USER)
    return (before, between) if found and asked and before and between else None


def _written(tokenizer: PreTrainedTokenizerBase, turns: Turns, talk: Sequence[tuple[str, str]]) -> str:
    messages = [{"role": role, "content": turns.content(words)} for role, words in talk]
    return str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
