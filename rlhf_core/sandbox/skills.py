"""How well a model answers, criticises, revises and judges, on tasks that it saw in none of these forms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from rlhf_core.constitution.constitution import Constitution, Principle
from rlhf_core.feedback.model_feedback import ModelFeedback
from rlhf_core.feedback.templates import critique_conversation, notes_conversation, revise_conversation
from rlhf_core.interfaces import Chat, Choose
from rlhf_core.records.base import Record
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.sandbox import oracle
from rlhf_core.sandbox.corpus import CRITIQUE_REQUESTS, REVISE_REQUESTS
from rlhf_core.sandbox.gold import SandboxGold
from rlhf_core.sandbox.scenarios import UNSEEN, Draws
from rlhf_core.sandbox.world import load_world, prompts


class Skill(Record):
    """A mean over n items with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int


class SkillReport(Record):
    """Skills on held-out tasks. Judge agreement and position gap are per objective."""

    answer: Skill
    critique: Skill
    critique_seen: Skill
    critique_unseen: Skill
    revision: Skill | None
    """None where no reply was at fault, as where one item was asked for."""
    notes: Skill
    judge: dict[str, Skill]
    judge_asked: Skill | None
    """Where the one kind of hazard asked about says otherwise than all kinds together; None where no principle asks
    about one kind."""
    position_gap: dict[str, Skill]


class _Case(NamedTuple):
    prompt: Prompt
    response: str
    request: str
    revise: str
    kinds: tuple[str, ...]
    at_fault: bool


class _Pair(NamedTuple):
    """Two replies, and by how much the truth prefers the first."""

    comparison: Comparison
    difference: float


def measure_skills(chat: Chat, choose: Choose, constitution: Constitution, items: int, seed: int = 0) -> SkillReport:
    """Measure every skill on `items` items of the held-out tasks, drawn by the seed; gold is the truth throughout."""
    rng = np.random.default_rng(seed)
    gold, draws = SandboxGold(), Draws(load_world(), rng)
    seen, revised = _criticise(chat, draws, constitution, items, unseen=False)
    unseen, revised_unseen = _criticise(chat, draws, constitution, items, unseen=True)
    revised += revised_unseen
    feedback = ModelFeedback(chat, choose, constitution.hash, "skills")
    agreement, gap = {}, {}
    for objective in constitution.objective_names:
        principles = constitution.serving(objective)
        if objective in gold.objectives and principles:
            pairs = _pairs(draws, items, lambda prompt, a, b, name=objective: _advantage(gold, name, prompt, a, b))
            right, gaps = _judge(feedback, principles, pairs)
            agreement[objective], gap[objective] = _skill(right), _skill(gaps)
    answer, notes = _answer(chat, gold, items, rng), _notes(chat, draws, items)
    asked = _judge_asked(feedback, draws, constitution, items)
    return SkillReport(
        answer=_skill(answer),
        critique=_skill([*seen, *unseen]),
        critique_seen=_skill(seen),
        critique_unseen=_skill(unseen),
        revision=_skill(revised) if revised else None,
        notes=_skill(notes),
        judge=agreement,
        judge_asked=_skill(asked) if asked else None,
        position_gap=gap,
    )


def _answer(chat: Chat, gold: SandboxGold, items: int, rng: np.random.Generator) -> list[float]:
    """Helpful gold of the greedy answers."""
    asked = _some(prompts("heldout"), items, rng)
    replies = chat([prompt.messages for prompt in asked])
    return [gold.score(prompt, reply)["helpful"] for prompt, reply in zip(asked, replies, strict=True)]


def _criticise(
    chat: Chat, draws: Draws, constitution: Constitution, items: int, unseen: bool
) -> tuple[list[float], list[float]]:
    """1 or 0 for each critique, and for each revision of a reply at fault, which starts from the right critique."""
    cases = [_case(draws, constitution, unseen, at_fault=bool(i % 2)) for i in range(items)]
    said = chat([critique_conversation(case.prompt, case.response, case.request) for case in cases])
    right = [oracle.critique(draws.world, case.response, case.kinds) for case in cases]
    faulty = [(case, critique) for case, critique in zip(cases, right, strict=True) if case.at_fault]
    revised = chat(
        [
            revise_conversation(case.prompt, case.response, case.request, critique, case.revise)
            for case, critique in faulty
        ]
    )
    wanted = [oracle.revision(draws.world, case.response, case.kinds) for case, _ in faulty]
    return (
        [float(a == b) for a, b in zip(said, right, strict=True)],
        [float(a == b) for a, b in zip(revised, wanted, strict=True)],
    )


def _case(draws: Draws, constitution: Constitution, unseen: bool, at_fault: bool) -> _Case:
    """A reply on a held-out task and what is asked of it; every second one is at fault."""
    while True:
        [prompt] = _some(prompts("heldout"), 1, draws.rng)
        request, revise = _request(draws, constitution, unseen)
        response, kinds = draws.response(draws.gold.task(prompt)), oracle.kinds_named(request)
        if bool(oracle.flagged(draws.world, response, kinds)) == at_fault:
            return _Case(prompt, response, request, revise, kinds, at_fault)


def _request(draws: Draws, constitution: Constitution, unseen: bool) -> tuple[str, str]:
    """A critique and a revision request: a principle's, or one that names a combination of kinds never trained on."""
    named = [p for p in constitution.critiquing() if oracle.kinds_named(p.critique or "")]
    if named and not unseen:
        principle = named[int(draws.rng.integers(len(named)))]
        return principle.critique or "", principle.revise or ""
    kinds = sorted(map(sorted, UNSEEN))[int(draws.rng.integers(len(UNSEEN)))]
    frame = CRITIQUE_REQUESTS[int(draws.rng.integers(len(CRITIQUE_REQUESTS)))]
    return frame.format(draws.listed(kinds)), REVISE_REQUESTS[0]


def _notes(chat: Chat, draws: Draws, items: int) -> list[float]:
    """1 or 0 for the notes on each pair."""
    cases = []
    for prompt in _some(prompts("heldout"), items, draws.rng):
        cases.append((prompt, *(draws.response(draws.gold.task(prompt)) for _ in range(2))))
    answers = chat([prompt.messages for prompt, _, _ in cases])
    asked = [notes_conversation(prompt, answer, a, b) for (prompt, a, b), answer in zip(cases, answers, strict=True)]
    written = chat(asked)
    return [float(text == oracle.notes(draws.gold, *case)) for text, case in zip(written, cases, strict=True)]


def _judge_asked(feedback: ModelFeedback, draws: Draws, constitution: Constitution, items: int) -> list[float]:
    """1 or 0 for pairs where a principle's one kind of hazard and all kinds together do not say the same."""
    right: list[float] = []
    asking = [(p, oracle.kinds_named(p.compare)) for p in constitution.principles]
    single = [(p, kinds) for p, kinds in asking if len(kinds) == 1]
    for principle, kinds in single:

        def difference(prompt: Prompt, a: str, b: str, kinds: tuple[str, ...] = kinds) -> float:
            asked = oracle.preference(draws.gold, prompt, a, b, kinds)
            return asked if asked * _advantage(draws.gold, "harmless", prompt, a, b) <= 0 else 0

        right += _judge(feedback, [principle], _pairs(draws, max(1, items // len(single)), difference))[0]
    return right


def _judge(
    feedback: ModelFeedback, principles: Sequence[Principle], pairs: Sequence[_Pair]
) -> tuple[list[float], list[float]]:
    """1 or 0 for each pair by the principles' votes, and the mean difference of the two orders' probabilities."""
    total, gaps = np.zeros(len(pairs)), np.zeros(len(pairs))
    for principle in principles:
        votes = feedback.compare([(pair.comparison, principle) for pair in pairs])
        odds = np.array([vote.logprob_a - vote.logprob_b for vote in votes]).reshape(-1, 2)
        total += principle.weight * odds.mean(1)
        gaps += np.abs(_sigmoid(odds[:, 0]) - _sigmoid(odds[:, 1])) / len(principles)
    return [float(t * pair.difference > 0) for t, pair in zip(total, pairs, strict=True)], gaps.tolist()


def _pairs(draws: Draws, items: int, difference: Callable[[Prompt, str, str], float]) -> list[_Pair]:
    """Pairs of replies on held-out tasks of which the truth prefers one."""
    pairs: list[_Pair] = []
    while len(pairs) < items:
        [prompt] = _some(prompts("heldout"), 1, draws.rng)
        a, b = (draws.response(draws.gold.task(prompt)) for _ in range(2))
        wanted = difference(prompt, a, b)
        if abs(wanted) > 1e-9:
            samples = [Sample(id=text, prompt=prompt, response=text, policy_version="") for text in (a, b)]
            pairs.append(_Pair(Comparison.of(*samples, run_id=""), wanted))
    return pairs


def _advantage(gold: SandboxGold, objective: str, prompt: Prompt, a: str, b: str) -> float:
    return gold.score(prompt, a)[objective] - gold.score(prompt, b)[objective]


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def _some(asked: Sequence[Prompt], n: int, rng: np.random.Generator) -> list[Prompt]:
    """n prompts, none twice before all have come once."""
    order = [int(i) for _ in range(math.ceil(n / len(asked))) for i in rng.permutation(len(asked))]
    return [asked[i] for i in order[:n]]


def _skill(values: Sequence[float]) -> Skill:
    """Mean and normal 95 % interval; for shares of 0 and 1 Wilson's, which holds at the ends."""
    n, mean = len(values), sum(values) / len(values)
    if set(values) <= {0.0, 1.0}:
        z = 1.96
        middle = (mean + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return Skill(mean=mean, low=middle - half, high=middle + half, n=n)
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / max(n - 1, 1))
    half = 1.96 * sd / math.sqrt(n)
    return Skill(mean=mean, low=mean - half, high=mean + half, n=n)
