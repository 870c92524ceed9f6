"""Reading a critic's text: the verdict, and the quotations that really occur in the response."""

from __future__ import annotations

import re
from typing import NamedTuple, cast

from rlhf_core.records import Verdict

_VERDICT = re.compile(r"\bverdict\s*:\s*(complies|borderline|violates)\b", re.IGNORECASE)
_QUOTE = re.compile(r'["“]([^"“”]{1,400})["”]')


class ParsedCritique(NamedTuple):
    verdict: Verdict | None
    spans: tuple[str, ...]
    reason: str


def parse_critique(text: str, response: str) -> ParsedCritique:
    """Verdict and verified quotations of a critique.

    No verdict gives None with reason `no_verdict`; a fault without one quotation that stands in the response gives
    None with reason `invented_fault`: a critic that cannot point at the words has found nothing.
    """
    found = _VERDICT.findall(text)
    if not found:
        return ParsedCritique(None, (), "no_verdict")
    # The last one: an earlier one may be a quotation of a reply that speaks to its critic.
    verdict = cast(Verdict, found[-1].lower())
    plain = _normal(response)
    spans = tuple(span for span in _QUOTE.findall(text) if _normal(span) and _normal(span) in plain)
    if verdict != "complies" and not spans:
        return ParsedCritique(None, (), "invented_fault")
    return ParsedCritique(verdict, spans, "")


def _normal(text: str) -> str:
    return " ".join(text.split()).casefold()
