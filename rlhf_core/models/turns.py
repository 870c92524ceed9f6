"""How a chat template writes turns, found by what it makes of a conversation: its parts, its opening, its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from rlhf_core.errors import InvalidInput

USER, REPLY, NEXT, SYSTEM = "apples", "pears", "plums", "cherries"
"""Words that no template writes by itself."""


class Turns(NamedTuple):
    """What is to be known for reading a template's conversations as it writes them."""

    as_parts: bool
    """A turn's content is given as a list of parts; a plain string's words would vanish."""
    reads_system: bool
    """The words of a system turn reach the model; a template may also refuse such a turn by itself."""
    end: str
    """The token that ends the assistant's turn."""
    end_id: int

    def content(self, text: str) -> Any:
        """Return a turn's words as the template reads them."""
        return [{"type": "text", "text": text}] if self.as_parts else text


def find_turns(name: str, tokenizer: PreTrainedTokenizerBase) -> Turns:
    """Render a conversation of two turns. InvalidInput when prompt, reply and end are not how it begins."""
    added = {token.content: index for index, token in tokenizer.added_tokens_decoder.items()}
    as_parts = _loses_strings(name, tokenizer)
    talk = _talk(USER, REPLY, NEXT)
    prompt = _rendered(name, tokenizer, talk[:1], as_parts, opened=True)
    tails = []
    for turns in (talk, talk[:2]):  # some end a reply only where another turn follows, others only the last one
        whole = _rendered(name, tokenizer, turns, as_parts)
        if lost := [word for _, word in turns if word not in whole]:
            raise _unusable(name, f"its chat template leaves out the words of a turn ({len(lost)} of {len(turns)})")
        tails.append(_after_reply(name, prompt, whole))
    end = next((end for tail in tails if (end := _end_of(tail, added))), "")
    if not end:
        raise _unusable(
            name, f"its chat template ends the assistant's turn with {tails[0][:20]!r}, which begins with no end token"
        )
    return Turns(as_parts, _reads_system(tokenizer, as_parts), end, added[end])


def _talk(*words: str) -> list[tuple[str, str]]:
    return [(("user", "assistant")[index % 2], word) for index, word in enumerate(words)]


def _apply(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]], as_parts: bool, opened: bool = False
) -> str:
    messages = [
        {"role": role, "content": [{"type": "text", "text": words}] if as_parts else words} for role, words in turns
    ]
    return str(tokenizer.apply_chat_template(messages, add_generation_prompt=opened, tokenize=False))


def _rendered(
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    turns: Sequence[tuple[str, str]],
    as_parts: bool,
    opened: bool = False,
) -> str:
    try:
        return _apply(tokenizer, turns, as_parts, opened)
    except Exception as error:  # a template is a program, and the user's
        roles = ", ".join(role for role, _ in turns)
        raise InvalidInput(
            f"the chat template of '{name}' refuses the turns {roles}: {error}", "model.base_model"
        ) from error


def _loses_strings(name: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether words come through as a list of parts alone."""
    found = []
    for as_parts in (False, True):
        try:
            found.append(USER in _apply(tokenizer, _talk(USER), as_parts, opened=True))
        except Exception:  # what is refused both ways is told by the render that follows
            found.append(False)
    return found == [False, True]


def _reads_system(tokenizer: PreTrainedTokenizerBase, as_parts: bool) -> bool:
    try:
        return SYSTEM in _apply(tokenizer, [("system", SYSTEM), *_talk(USER)], as_parts, opened=True)
    except TemplateError:
        return True  # it refuses such turns in its own words
    except Exception:
        return False


def _after_reply(name: str, prompt: str, whole: str) -> str:
    """What the template writes behind the reply; white space between prompt and reply may be the template's."""
    begun = prompt.rstrip()
    rest = whole[len(begun) :].lstrip()
    if whole.startswith(begun) and rest.startswith(REPLY):
        return rest[len(REPLY) :]
    between = whole[len(begun) :].partition(REPLY)[0] if whole.startswith(begun) else ""
    raise _unusable(
        name,
        f"its chat template writes {between!r} between a prompt and its reply, so add_generation_prompt does not open "
        "the assistant's turn"
        if between
        else "its chat template writes a prompt in another way once a reply follows, so replies would be learnt in a "
        "place where they never stand",
    )


def _end_of(tail: str, added: Mapping[str, int]) -> str:
    """The longest token at the beginning of what follows a reply; '' where there is none."""
    begin = tail.lstrip()
    return max((token for token in added if token.strip() and begin.startswith(token)), key=len, default="")


def _unusable(name: str, problem: str) -> InvalidInput:
    return InvalidInput(f"base_model '{name}' cannot be used: {problem}", "model.base_model")
