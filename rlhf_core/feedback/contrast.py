"""Feedback without judging skill: a principle's worked examples, mended or as they were, stand before a reply.

A model that cannot say which of two replies holds to a principle still writes like the replies that it has just been
shown. So the same weights read a reply after the examples' good halves and after their bad ones, and the difference of
the two log-probabilities says which of the two contexts it is more likely to come from. To write as the principle asks,
the model answers after the good halves (context distillation, Askell et al. 2021, section 4.1; pairs of contrasting
contexts are those of RLCD, Yang et al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.constitution.principle import Principle, hash_of
from rlhf_core.feedback.judge_answers import Answer
from rlhf_core.feedback.judge_cache import MOST, Notebook
from rlhf_core.interfaces import Chat, Conversation, Weigh
from rlhf_core.records.feedback import Critique
from rlhf_core.records.samples import Comparison, Message, Prompt, Sample

CONTRAST_HASH = hash_of(["contrast", "good examples over bad ones", "sum of log-probs"])
"""Part of every vote's key."""


class Reader(NamedTuple):
    """The model that reads replies."""

    name: str
    """With its revision: what another model has read is not what this one does."""
    weigh: Weigh


def can_contrast(principle: Principle) -> bool:
    """Tell whether a principle has what a contrast is made of."""
    return bool(principle.examples)


def context(principle: Principle, messages: Conversation, good: bool) -> list[Message]:
    """Return a conversation with the principle's examples before it, behind its system turn where it has one."""
    system = [message for message in messages[:1] if message.role == "system"]
    shown: list[Message] = []
    for example in principle.examples:
        reply = example.good if good else example.bad
        shown += [Message(role="user", content=example.prompt), Message(role="assistant", content=reply)]
    return [*system, *shown, *messages[len(system) :]]


def write_under(chat: Chat, prompts: Sequence[Prompt], principles: Sequence[Principle]) -> list[str]:
    """Write a reply to each prompt after its principle's good examples."""
    return chat([context(one, prompt.messages, True) for prompt, one in zip(prompts, principles, strict=True)])


def log_ratios(
    reader: Reader, replies: Sequence[tuple[Prompt, str]], principles: Sequence[Principle], notebook: Notebook
) -> list[float]:
    """Return log p(reply | good examples) - log p(reply | bad examples), in nats; a notebook reads none twice."""
    if len(notebook.ratios) > MOST:
        notebook.ratios.clear()
    keys = [(reader.name, one.hash, prompt.id, reply) for (prompt, reply), one in zip(replies, principles, strict=True)]
    asked = zip(keys, replies, principles, strict=True)
    unread = {key: (prompt, reply, one) for key, (prompt, reply), one in asked if key not in notebook.ratios}
    if unread:
        told = [
            reader.weigh(
                [context(one, prompt.messages, good) for prompt, _, one in unread.values()],
                [reply for _, reply, _ in unread.values()],
            )
            for good in (True, False)
        ]
        notebook.ratios.update(zip(unread, (a - b for a, b in zip(*told, strict=True)), strict=True))
    return [notebook.ratios[key] for key in keys]


def compare_by_contrast(
    reader: Reader, questions: Sequence[tuple[Comparison, Principle]], notebook: Notebook
) -> list[Answer]:
    """Return what a contrast makes of each pair, a first.

    If one of two replies was written after the good examples and the other after the bad ones, and nothing else is
    known, the log-odds that it is a are the difference of their log-ratios (Bayes' rule).
    """
    replies = [(pair.prompt, sample.response) for pair, _ in questions for sample in (pair.a, pair.b)]
    ratios = log_ratios(reader, replies, [one for _, one in questions for _ in range(2)], notebook)
    return [_answer(a, b) for a, b in zip(ratios[::2], ratios[1::2], strict=True)]


def _answer(a: float, b: float) -> Answer:
    text = f"Reply A: {a:+.2f} nats for the good examples over the bad ones. Reply B: {b:+.2f} nats."
    return Answer(_log_sigmoid(a - b), _log_sigmoid(b - a), 1.0, text)


def criticise_by_contrast(
    critic: Reader,
    samples: Sequence[Sample],
    principles: Sequence[Principle],
    constitution_hash: str,
    notebook: Notebook,
) -> list[Critique]:
    """Return a verdict on each sample by its log-ratio alone; the text says both numbers."""
    ratios = log_ratios(critic, [(sample.prompt, sample.response) for sample in samples], principles, notebook)
    bounds = {one.hash: boundary(critic, one, notebook) for one in principles}
    return [
        Critique(
            sample_id=sample.id,
            principle_id=one.id,
            principle_hash=one.hash,
            constitution_hash=constitution_hash,
            template_hash=CONTRAST_HASH,
            critic=critic.name,
            verdict="complies" if ratio >= bounds[one.hash] else "violates",
            text=f"{ratio:+.2f} nats for the good examples over the bad ones; complies from {bounds[one.hash]:+.2f}.",
        )
        for sample, one, ratio in zip(samples, principles, ratios, strict=True)
    ]


def boundary(reader: Reader, principle: Principle, notebook: Notebook) -> float:
    """Return the log-ratio from which a reply complies: half way between the two sides of the principle's tests.

    0 for a principle without tests. A test's replies stand in no example, so that none has been shown its answer.
    """
    if not principle.tests:
        return 0.0
    prompts = [Prompt.of(test.prompt) for test in principle.tests]
    sides = [[test.prefer for test in principle.tests], [test.over for test in principle.tests]]
    replies = [(prompt, reply) for side in sides for prompt, reply in zip(prompts, side, strict=True)]
    ratios = log_ratios(reader, replies, [principle] * len(replies), notebook)
    return sum(ratios) / len(ratios)


def _log_sigmoid(x: float) -> float:
    return min(x, 0.0) - math.log1p(math.exp(-abs(x)))
