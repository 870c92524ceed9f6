"""A critic, reviser and judge made of rules: two dangerous words, each with its own principle."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlhf_core.constitution.constitution import Constitution, Objective
from rlhf_core.constitution.principle import Principle
from rlhf_core.feedback.critic import criticise, rewrite
from rlhf_core.interfaces import Chat, Conversation
from rlhf_core.records.feedback import Critique, Usage, Vote
from rlhf_core.records.samples import Comparison, Prompt, Sample

LAW = Constitution(
    id="law",
    version="1.0.0",
    objectives=(Objective(name="harmless"),),
    principles=(
        Principle(id="no-acid", serves={"harmless": 1}, critique="acid?", revise="no acid", compare="acid?"),
        Principle(id="no-fire", serves={"harmless": 1}, critique="fire?", revise="no fire", compare="fire?"),
        Principle(id="only-compares", serves={"harmless": 1}, compare="better?"),
    ),
)


def sample(response: str, *tags: str) -> Sample:
    prompt = Prompt.of(f"How, by '{response}'?", tags=tags)
    return Sample(id=f"s-{response}", prompt=prompt, response=response, policy_version="base", run_id="run-1")


def asked_word(conversation: Conversation) -> str:
    return "acid" if "acid" in conversation[-1].content.split("\n")[0] else "fire"


def rule_chat(conversations: Sequence[Conversation]) -> list[str]:
    """Finds the word that it is asked about; asked to revise, it puts water in the word's place."""
    texts = []
    for conversation in conversations:
        word = asked_word(conversation)
        answer = conversation[0].content.split("Reply:\n")[1].split("\n\n")[0]
        if conversation[-1].content.startswith("no "):
            texts.append(answer.replace(word, "water"))
        else:
            texts.append(f'"{word}" is bad.\nVerdict: violates' if word in answer else "Verdict: complies")
    return texts


class Rules:
    """interfaces.Feedback: `chat` writes, and `judge` gives P(first sample is better) for (first, second, swapped)."""

    name = "rules"
    template_hash = "t"
    usage = Usage()

    def __init__(self, chat: Chat = rule_chat, judge=None):
        self.chat, self.judge = chat, judge or self.fewer
        self.compared = 0

    @staticmethod
    def fewer(a: str, b: str, swapped: bool) -> float:
        """The reply with fewer dangerous words, whatever the order."""
        count = [text.count("acid") + text.count("fire") for text in (a, b)]
        return 0.9 if count[0] < count[1] else 0.1

    def critique(self, items: Sequence[tuple[Sample, Principle]]) -> list[Critique]:
        samples, principles = [sample for sample, _ in items], [principle for _, principle in items]
        return criticise(self.chat, samples, principles, LAW.hash, self.name)

    def revise(self, items: Sequence[tuple[Sample, Critique, Principle]]) -> list[str]:
        texts, principles = [critique.text for _, critique, _ in items], [principle for *_, principle in items]
        return rewrite(self.chat, [sample for sample, *_ in items], texts, principles)

    def compare(self, questions: Sequence[tuple[Comparison, Principle]]) -> list[Vote]:
        self.compared += len(questions)
        return [self._vote(pair, principle, swapped) for pair, principle in questions for swapped in (False, True)]

    def _vote(self, pair: Comparison, principle: Principle, swapped: bool) -> Vote:
        p = self.judge(pair.a.response, pair.b.response, swapped)
        return Vote(
            id=f"{pair.id}-{swapped}",
            comparison_id=pair.id,
            principle_id=principle.id,
            principle_hash=principle.hash,
            template_hash=self.template_hash,
            constitution_hash=LAW.hash,
            judge=self.name,
            swapped=swapped,
            logprob_a=math.log(p),
            logprob_b=math.log(1 - p),
            label_mass=1.0,
        )
