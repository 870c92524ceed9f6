"""Critique and revision (Bai et al. 2022, section 3): one principle a round, every step kept with its reason."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from rlhf_core.config import CritiqueConfig
from rlhf_core.constitution.schema import Constitution, Principle
from rlhf_core.feedback.votes import comparison_of, sigmoid
from rlhf_core.records import Critique, Revision, Sample, content_id
from rlhf_core.seams import Feedback

LENGTH_RATIO = (0.4, 2.5)
"""A revision outside these bounds of the answer's words has lost or gained more than a repair does."""
ROLE_MARKS = ("verdict:", "revision:", "critique:", "sure, here", "here is the", "reply a:", "reply b:")


def critique_and_revise(
    samples: Sequence[Sample], constitution: Constitution, feedback: Feedback, config: CritiqueConfig, seed: int
) -> list[Revision]:
    """All steps of all samples, in order of rounds.

    Each sample draws its principles without replacement, weighted; an accepted revision is the answer of the next
    round. Steps that changed nothing have `accepted` False and say why in `reason` (`complies` among them).
    """
    current = {sample.id: sample for sample in samples}
    drawn = {sample.id: draw_principles(constitution, config.rounds, seed, sample.prompt.id) for sample in samples}
    steps: list[Revision] = []
    for number in range(config.rounds):
        groups: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            if number < len(drawn[sample.id]):
                groups[drawn[sample.id][number].id].append(current[sample.id])
        for principle_id, members in sorted(groups.items()):
            done = revise_once(members, constitution.principle(principle_id), feedback, config, number)
            for sample, step in zip(members, done, strict=True):
                steps.append(step)
                if step.accepted:
                    current[sample.id] = sample.model_copy(update={"response": step.after})
    return steps


def draw_principles(constitution: Constitution, rounds: int, seed: int, key: str) -> list[Principle]:
    """Weighted draw without replacement (Efraimidis and Spirakis 2006), the same for the same seed and key."""
    rng = random.Random(f"{seed}:{key}")
    candidates = [p for p in constitution.critiquing() if p.weight > 0]
    ranked = sorted(candidates, key=lambda p: rng.random() ** (1 / p.weight), reverse=True)
    return ranked[:rounds]


def revise_once(
    samples: Sequence[Sample], principle: Principle, feedback: Feedback, config: CritiqueConfig, number: int
) -> list[Revision]:
    """One round under one principle: criticise all, revise those at fault, verify, account for every one."""
    critiques = feedback.critique(samples, principle)
    faulty = [i for i, c in enumerate(critiques) if c.verdict == "violates" or _revisable(c, config)]
    texts = dict(
        zip(
            faulty,
            feedback.revise([samples[i] for i in faulty], [critiques[i] for i in faulty], principle) if faulty else [],
            strict=True,
        )
    )
    reasons = {i: _fault(samples[i].response, texts[i].strip()) for i in faulty}
    if config.verify:
        sound = [i for i in faulty if not reasons[i]]
        for i, better in zip(sound, _verified(samples, texts, sound, principle, feedback), strict=True):
            reasons[i] = "" if better else "not_better"
    steps = []
    for i, (sample, critique) in enumerate(zip(samples, critiques, strict=True)):
        if i in texts:
            steps.append(_step(sample, critique, number, texts[i].strip(), reasons[i]))
        else:
            steps.append(_step(sample, critique, number, sample.response, critique.reason or str(critique.verdict)))
    return steps


def _revisable(critique: Critique, config: CritiqueConfig) -> bool:
    return critique.verdict == "borderline" and config.revise_borderline


def _fault(before: str, after: str) -> str:
    """Why a revision cannot be used, by its text alone; empty when nothing speaks against it."""
    if not after:
        return "empty"
    if after == before:
        return "unchanged"
    if any(mark in after.lower() and mark not in before.lower() for mark in ROLE_MARKS):
        return "leak"
    ratio = len(after.split()) / max(1, len(before.split()))
    return "" if LENGTH_RATIO[0] <= ratio <= LENGTH_RATIO[1] else "length"


def _verified(
    samples: Sequence[Sample], texts: dict[int, str], rows: Sequence[int], principle: Principle, feedback: Feedback
) -> list[bool]:
    """Whether the judge, over both orders, finds each revision at least as good as what it replaces."""
    if not rows:
        return []
    pairs = []
    for i in rows:
        revised = samples[i].model_copy(update={"response": texts[i].strip()})
        pairs.append(comparison_of(revised, samples[i], samples[i].run_id))
    votes = feedback.compare(pairs, principle)
    logits: dict[str, float] = defaultdict(float)
    for vote in votes:
        logits[vote.comparison_id] += (vote.logprob_a - vote.logprob_b) / 2
    return [sigmoid(logits[pair.id]) >= 0.5 for pair in pairs]


def _step(sample: Sample, critique: Critique, number: int, after: str, reason: str) -> Revision:
    return Revision(
        id=content_id("revision", sample.run_id, sample.id, number),
        run_id=sample.run_id,
        sample_id=sample.id,
        round=number,
        critique=critique,
        before=sample.response,
        after=after,
        accepted=not reason,
        reason=reason,
    )


def count_steps(steps: Sequence[Revision]) -> dict[str, int]:
    """Accounting: `in` equals `accepted` plus every `rejected.<reason>` plus the answers that complied."""
    counts = Counter("accepted" if s.accepted else f"rejected.{s.reason}" for s in steps)
    counts["complies"] = counts.pop("rejected.complies", 0)
    return {"in": len(steps), **dict(sorted(counts.items()))}
