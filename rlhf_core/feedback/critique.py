"""Reading a critic's text: the verdict, and the quotations that really occur in the response."""

from __future__ import annotations

import re
from typing import NamedTuple, cast

from rlhf_core.records import Verdict

_VERDICT = re.compile(r"\bverdict\s*:\s*(complies|borderline|violates)\b", re.IGNORECASE)
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


class ParsedCritique(NamedTuple):
    verdict: Verdict | None
    spans: tuple[str, ...]
    reason: str


def parse_critique(text: str, response: str) -> ParsedCritique:
    """Verdict and verified quotations of a critique.

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
    """The quotations of a text that occur in the response; case and line breaks do not count."""
    return tuple(span for span in _QUOTE.findall(text) if stands_in(span, response))


def stands_in(span: str, text: str) -> bool:
    """Whether the words occur in the text; case and line breaks do not count."""
    return bool(plain(span)) and plain(span) in plain(text)


def quotable(response: str) -> str:
    """The longest piece of its first line that can stand between quotation marks."""
    line = response.strip().partition("\n")[0]
    return max(re.split('["“”]', line), key=len).strip()[:400]


def finds_nothing(text: str) -> bool:
    """Whether a critique opens by saying, without taking it back, that nothing is wrong."""
    first = cast(re.Match[str], _FIRST_SENTENCE.match(text.replace("’", "'")))[1]
    return bool(_NOTHING.match(first)) and not _TAKEN_BACK.search(first)


def plain(text: str) -> str:
    """The words alone: case and line breaks do not count."""
    return " ".join(text.split()).casefold()
