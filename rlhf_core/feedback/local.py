"""Critic, reviser and judge over two callables: `chat` writes a turn, `choose` weighs labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlhf_core.constitution.schema import Principle
from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.critique import parse_critique
from rlhf_core.feedback.prompts import (
    COMPARE_HASH,
    CRITIQUE_HASH,
    LABELS,
    compare_conversation,
    critique_conversation,
    revise_conversation,
)
from rlhf_core.feedback.votes import vote_id
from rlhf_core.records import Comparison, Critique, Sample, Vote
from rlhf_core.seams import Chat, Choose


class LocalFeedback:
    """seams.Feedback with a model in this process. `name` is the critic's and judge's, with its revision."""

    def __init__(self, chat: Chat, choose: Choose, constitution_hash: str, name: str):
        self._chat = chat
        self._choose = choose
        self._constitution_hash = constitution_hash
        self.name = name

    def critique(self, samples: Sequence[Sample], principle: Principle) -> list[Critique]:
        request = _critique_request(principle)
        texts = self._chat([critique_conversation(s.prompt, s.response, request) for s in samples])
        return [self._critique(sample, principle, text) for sample, text in zip(samples, texts, strict=True)]

    def _critique(self, sample: Sample, principle: Principle, text: str) -> Critique:
        verdict, spans, reason = parse_critique(text, sample.response)
        return Critique(
            sample_id=sample.id,
            principle_id=principle.id,
            principle_hash=principle.hash,
            constitution_hash=self._constitution_hash,
            template_hash=CRITIQUE_HASH,
            critic=self.name,
            verdict=verdict,
            text=text,
            spans=spans,
            reason=reason,
        )

    def revise(self, samples: Sequence[Sample], critiques: Sequence[Critique], principle: Principle) -> list[str]:
        request, revise = _critique_request(principle), principle.revise or ""
        return self._chat(
            [
                revise_conversation(sample.prompt, sample.response, request, critique.text, revise)
                for sample, critique in zip(samples, critiques, strict=True)
            ]
        )

    def compare(self, comparisons: Sequence[Comparison], principle: Principle) -> list[Vote]:
        asked = [(pair, swapped) for pair in comparisons for swapped in (False, True)]
        conversations = []
        for pair, swapped in asked:
            shown = pair.swap() if swapped else pair
            conversations.append(
                compare_conversation(pair.prompt, shown.a.response, shown.b.response, principle.compare)
            )
        logprobs = self._choose(conversations, LABELS)
        return [self._vote(pair, principle, swapped, row) for (pair, swapped), row in zip(asked, logprobs, strict=True)]

    def _vote(self, pair: Comparison, principle: Principle, swapped: bool, row: Sequence[float]) -> Vote:
        first, second = row
        return Vote(
            id=vote_id(pair, principle, self.name, swapped),
            comparison_id=pair.id,
            principle_id=principle.id,
            principle_hash=principle.hash,
            template_hash=COMPARE_HASH,
            constitution_hash=self._constitution_hash,
            judge=self.name,
            swapped=swapped,
            logprob_a=second if swapped else first,
            logprob_b=first if swapped else second,
            label_mass=_mass(first, second),
            run_id=pair.run_id,
        )


def _mass(first: float, second: float) -> float:

    return min(1.0, math.exp(first) + math.exp(second))


def _critique_request(principle: Principle) -> str:
    if principle.critique is None or principle.revise is None:
        raise InvalidInput(f"principle '{principle.id}' only compares; it has no critique and revise texts")
    return principle.critique
