"""Ask a critic and read its answer: the verdict, and the quotations that really occur in the response."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, cast

from rlhf_core.constitution.principle import Example, Principle, hash_of
from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.revision_guards import Attempt, misunderstood, strip_prefix
from rlhf_core.feedback.templates import CRITIQUE_HASH, critique_conversation, revise_conversation
from rlhf_core.interfaces import Chat
from rlhf_core.records.feedback import Critique, Verdict
from rlhf_core.records.samples import Message, Prompt, Sample

_VERDICT = re.compile(r"\bverdict[\s*_`]*:[\s*_`]*(complies|borderline|violates)\b", re.IGNORECASE)
_QUOTE = re.compile(r'["“]([^"“”]{1,400})["”]')
_FAULTS = r"(?:harms?|faults?|problems?|issues?|concerns?|violations?|risks?)"
_HEDGE = r"(?:mostly|generally|fairly|largely|relatively|reasonably|probably|not)"
_NOTHING = re.compile(
    rf"(?:nothing\b|no (?:\w+ )?{_FAULTS}\b"
    rf"|there(?:'s| is| are| seems to be| appears to be) (?:nothing\b|no (?:\w+ )?{_FAULTS}\b)"
    r"|i (?:do not|don't|cannot|can't) (?:see|find|think|believe)\b[^.!?]*?\bany(?:thing)?\b"
    rf"|(?:it|(?:this|the) (?:[\w']+ ){{0,2}}(?:reply|response|answer)) (?:is|seems|appears)(?: to be)? (?!{_HEDGE}\b)"
    r"(?:\w+ )?(?:harmless|fine|safe|acceptable)\b)",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(r"\b(?:but|although|though|however|except)\b", re.IGNORECASE)
_FIRST_SENTENCE = re.compile(r"\s*(.*?)(?:[.!?](?:\s|$)|$)", re.DOTALL)
Turns = tuple[Message, ...]

CRITIQUE_AGAIN = (
    "This cannot be read as a critique. Quote words that stand in the reply, "
    'and end with "Verdict:" and complies, borderline or violates.'
)
REVISE_AGAIN = "This is not a reply to the person. Write the new reply itself, and nothing else."
TEMPLATE_HASH = hash_of([CRITIQUE_HASH, CRITIQUE_AGAIN, REVISE_AGAIN])
"""Of all words around a principle's own."""


def criticise(
    chat: Chat, samples: Sequence[Sample], principles: Sequence[Principle], constitution_hash: str, critic: str
) -> list[Critique]:
    """Ask for a critique of each sample under the principle at its index; ask again where it cannot be read.

    What it says then stands.
    """
    both = list(zip(samples, principles, strict=True))
    asked = [critique_turns(principle, sample.prompt, sample.response) for sample, principle in both]
    read = [(text, parse_critique(text, sample.response)) for text, sample in zip(chat(asked), samples, strict=True)]
    unclear = [row for row, (_, parsed) in enumerate(read) if parsed.verdict is None]
    again = [_again(asked[row], read[row][0], CRITIQUE_AGAIN) for row in unclear]
    for row, text in zip(unclear, chat(again) if again else [], strict=True):
        parsed = parse_critique(text, samples[row].response)
        if parsed.verdict is not None:
            read[row] = text, parsed
    return [
        _record(sample, principle, text, parsed, constitution_hash, critic)
        for (sample, principle), (text, parsed) in zip(both, read, strict=True)
    ]


def rewrite(
    chat: Chat, samples: Sequence[Sample], critiques: Sequence[str], principles: Sequence[Principle]
) -> list[str]:
    """Ask for a new response to each sample's prompt after its critique; ask once more where a text is no reply."""
    asked = [
        revise_turns(principle, sample.prompt, sample.response, critique)
        for sample, critique, principle in zip(samples, critiques, principles, strict=True)
    ]
    texts = chat(asked)
    unclear = [
        row
        for row, (sample, critique, text) in enumerate(zip(samples, critiques, texts, strict=True))
        if misunderstood(Attempt.of(sample, critique, strip_prefix(text, sample.response)))
    ]
    again = [_again(asked[row], texts[row], REVISE_AGAIN) for row in unclear]
    for row, text in zip(unclear, chat(again) if again else [], strict=True):
        texts[row] = text
    return texts


def critique_turns(principle: Principle, prompt: Prompt, response: str) -> Turns:
    """Build the critic's conversation: the principle's worked examples as earlier turns, then the request."""
    return (*_worked(principle), *critique_conversation(prompt, response, _texts(principle)[0]))


def revise_turns(principle: Principle, prompt: Prompt, response: str, critique: str) -> Turns:
    """Build the reviser's conversation: the critic's, then the request for a reply that it would find no fault in."""
    request, revise = _texts(principle)
    return (*_worked(principle), *revise_conversation(prompt, response, request, critique, revise))


def _worked(principle: Principle) -> Turns:
    return tuple(turn for example in principle.examples for turn in _worked_turns(principle, example))


def _worked_turns(principle: Principle, example: Example) -> Turns:
    """The bad reply criticised and mended, and the good one found to comply: a critic must have seen both ends.

    What a small critic has seen it copies: after bare verdicts it gives one to anything.
    """
    prompt, (request, revise) = Prompt.of(example.prompt), _texts(principle)
    critique = example.critique
    if not verified_spans(critique, example.bad):
        critique = f'"{quotable(example.bad)}": {critique}'
    if "verdict:" not in critique.lower():
        critique = f"{critique}\nVerdict: violates"
    reason = f"{example.approval}\n" if example.approval else ""
    return (
        *revise_conversation(prompt, example.bad, request, critique, revise),
        Message(role="assistant", content=example.good),
        *critique_conversation(prompt, example.good, request),
        Message(role="assistant", content=f"{reason}Verdict: complies"),
    )


def _again(asked: Turns, text: str, request: str) -> Turns:
    # Some chat templates and endpoints refuse an empty turn.
    said = Message(role="assistant", content=text if text.strip() else "(nothing)")
    return (*asked, said, Message(role="user", content=request))


def _texts(principle: Principle) -> tuple[str, str]:
    if principle.critique is None or principle.revise is None:
        raise InvalidInput(
            f"principle '{principle.id}' only compares; it has no critique and revise texts", "principle"
        )
    return principle.critique, principle.revise


def _record(
    sample: Sample, principle: Principle, text: str, parsed: ParsedCritique, constitution_hash: str, critic: str
) -> Critique:
    return Critique(
        sample_id=sample.id,
        principle_id=principle.id,
        principle_hash=principle.hash,
        constitution_hash=constitution_hash,
        template_hash=TEMPLATE_HASH,
        critic=critic,
        verdict=parsed.verdict,
        text=text,
        spans=parsed.spans,
        reason=parsed.reason,
    )


class ParsedCritique(NamedTuple):
    verdict: Verdict | None
    spans: tuple[str, ...]
    reason: str


def parse_critique(text: str, response: str) -> ParsedCritique:
    """Read the verdict and the verified quotations of a critique.

    Without a verdict, a critique that opens by finding nothing wrong complies; any other gives None with reason
    `no_verdict`. A fault without one quotation that stands in the response gives None with reason `invented_fault`:
    a critic that cannot point at the words has found nothing.
    """
    found = _VERDICT.findall(text)
    if not found:
        return ParsedCritique("complies", (), "") if finds_nothing(text) else ParsedCritique(None, (), "no_verdict")
    # The last one: an earlier one may be a quotation of a reply that speaks to its critic.
    verdict = cast(Verdict, found[-1].lower())
    spans = verified_spans(text, response)
    if verdict != "complies" and not spans:
        return ParsedCritique(None, (), "invented_fault")
    return ParsedCritique(verdict, spans, "")


def verified_spans(text: str, response: str) -> tuple[str, ...]:
    """Return the quotations of a text that occur in the response; case and line breaks do not count."""
    return tuple(span for span in _QUOTE.findall(text) if stands_in(span, response))


def stands_in(span: str, text: str) -> bool:
    """Tell whether the words occur in the text; case and line breaks do not count."""
    return bool(plain(span)) and plain(span) in plain(text)


def quotable(response: str) -> str:
    """Return the longest piece of a text's first line that can stand between quotation marks."""
    line = response.strip().partition("\n")[0]
    return max(re.split('["“”]', line), key=len).strip()[:400]


def finds_nothing(text: str) -> bool:
    """Tell whether a critique opens by saying that nothing is wrong, and does not take that back."""
    first = cast(re.Match[str], _FIRST_SENTENCE.match(text.replace("’", "'")))[1]
    return bool(_NOTHING.match(first)) and not _TAKEN_BACK.search(first)


def plain(text: str) -> str:
    """Normalise a text for search: lower case, single spaces."""
    return " ".join(text.split()).casefold()
