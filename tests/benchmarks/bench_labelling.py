"""Votes of the sandbox's judge: pairs of many prompts and all their principles together, against one prompt at a time.

Both write the same notes and give the same votes; only how many conversations a call to the model holds differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.load import load_constitution
from rlhf_core.effects.probe_votes import UNIT
from rlhf_core.feedback.model_feedback import ModelFeedback
from rlhf_core.inference.choice_logprobs import choose
from rlhf_core.inference.generate import chat
from rlhf_core.interfaces import Chat, Choose, Conversation
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.feedback import Vote
from rlhf_core.records.samples import Comparison
from rlhf_core.sandbox.sandbox import Sandbox
from tests.benchmarks.bench_generation import SANDBOX_MODEL
from tests.benchmarks.rows import Row, report, row
from tests.benchmarks.serving import MODEL

PAIRS, ALONE, ROUNDS = 96, 12, 3
"""Pairs that are judged together, and one prompt at a time; and how often both are measured in turn."""
CLOSE = 1e-3
"""Nats by which padding may move a log-probability."""


def together(backbone: Backbone, limit: int) -> tuple[Chat, Choose]:
    def write(conversations: Sequence[Conversation]) -> list[str]:
        return chat(backbone, conversations, limit)

    def weigh(conversations: Sequence[Conversation], labels: Sequence[str]) -> list[list[float]]:
        return choose(backbone, conversations, labels)

    return write, weigh


def one_at_a_time(backbone: Backbone, limit: int) -> tuple[Chat, Choose]:
    def write(conversations: Sequence[Conversation]) -> list[str]:
        return [text for one in conversations for text in chat(backbone, [one], limit)]

    def weigh(conversations: Sequence[Conversation], labels: Sequence[str]) -> list[list[float]]:
        return [row for one in conversations for row in choose(backbone, [one], labels)]

    return write, weigh


def judged(ways: tuple[Chat, Choose], law: Constitution, pairs: Sequence[Comparison]) -> tuple[float, list[Vote]]:
    """Votes a second of a judge that has written nothing yet, and the votes."""
    judge = ModelFeedback(*ways, law.hash, "sandbox")
    started, votes = time.perf_counter(), []
    for start in range(0, len(pairs), UNIT):
        unit = pairs[start : start + UNIT]
        votes += judge.compare([(pair, principle) for pair in unit for principle in law.principles])
    return len(votes) / (time.perf_counter() - started), votes


def check_alike(one: Sequence[Vote], other: Sequence[Vote]) -> None:
    for a, b in zip(one, other, strict=True):
        apart = max(abs(a.logprob_a - b.logprob_a), abs(a.logprob_b - b.logprob_b))
        if (a.id, apart > CLOSE) != (b.id, False):
            raise SystemExit(f"vote {a.id} is {apart:.2g} nats from the one that was asked alone")


def measure() -> Iterator[Row]:
    law, limit = load_constitution("household"), RunConfig().model.feedback_tokens
    backbone = Backbone.load(str(SANDBOX_MODEL), MODEL)
    pairs = Sandbox().pairs(PAIRS, 0)
    many, alone = together(backbone, limit), one_at_a_time(backbone, limit)
    judged(many, law, pairs[:4])
    rates: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        ours, votes = judged(many, law, pairs)
        baseline, same = judged(alone, law, pairs[:ALONE])
        check_alike(same, votes[: len(same)])
        rates.append((ours, baseline))
        print(f"  votes a second, together and one prompt at a time: {ours:.0f} and {baseline:.0f}", flush=True)
    best, slow = map(max, zip(*rates, strict=True))
    yield row("votes, many prompts together against one at a time", best, slow, "votes/s")
    yield from _principles(many, law, pairs)


def _principles(many: tuple[Chat, Choose], law: Constitution, pairs: Sequence[Comparison]) -> Iterator[Row]:
    """All questions on a pair in one call, which reads the pair once, against a call for each principle."""

    def apart() -> float:
        judge = ModelFeedback(*many, law.hash, "sandbox")
        started = time.perf_counter()
        count = sum(len(judge.compare([(pair, principle) for pair in pairs[:UNIT]])) for principle in law.principles)
        return count / (time.perf_counter() - started)

    runs: tuple[Callable[[], float], Callable[[], float]] = (lambda: judged(many, law, pairs[:UNIT])[0], apart)
    rates = [[run() for run in runs] for _ in range(ROUNDS)]
    ours, baseline = map(max, zip(*rates, strict=True))
    yield row(f"votes, all {len(law.principles)} principles together against one at a time", ours, baseline, "votes/s")


if __name__ == "__main__":
    report(measure)
