"""Critique and revision (Bai et al. 2022, section 3): one principle a round, every step kept with its reason."""

from __future__ import annotations

import math
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from rlhf_core.config.run import CritiqueConfig
from rlhf_core.constitution.constitution import Constitution, Principle
from rlhf_core.feedback.revision_guards import Attempt, fault, strip_prefix
from rlhf_core.feedback.vote_aggregation import sigmoid
from rlhf_core.interfaces import Feedback
from rlhf_core.records.base import content_id
from rlhf_core.records.feedback import Critique, Revision
from rlhf_core.records.samples import Comparison, Prompt, Sample


def critique_settings(constitution: Constitution, config: CritiqueConfig) -> CritiqueConfig:
    """Return the run's settings, with what the constitution's `defaults.critique` says in their place.

    The constitution goes first: how its principles are to be drawn belongs to what it means, and to its hash.
    """
    return config.model_copy(update=constitution.defaults.critique.model_dump(exclude_none=True))


def revision_rounds(
    samples: Sequence[Sample],
    constitution: Constitution,
    feedback: Feedback,
    config: CritiqueConfig,
    seed: int,
    at_once: int | None = None,
) -> Iterator[list[Revision]]:
    """Yield the steps of all samples: at a time one round under one principle, of at most `at_once` samples.

    Each sample draws the principles of its rounds; an accepted revision is the answer of the next round. Steps that
    changed nothing have `accepted` False and say why in `reason` (`complies` among them). With `stop_on: complies`
    a sample's first verdict of that name is its last step, but for a share of samples that is checked on.
    `config` holds as it is, whatever the constitution says: `critique_settings` asks that.
    """
    current = {sample.id: sample for sample in samples}
    drawn = {sample.id: draw_principles(constitution, sample.prompt, config, seed) for sample in samples}
    for number in range(config.rounds):
        groups: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            if number < len(drawn[sample.id]):
                groups[drawn[sample.id][number].id].append(current[sample.id])
        units = [
            (constitution.principle(name), members[start : start + (at_once or len(members))])
            for name, members in sorted(groups.items())
            for start in range(0, len(members), at_once or len(members))
        ]
        for principle, members in units:
            done = revise_once(members, principle, feedback, config, number)
            for sample, step in zip(members, done, strict=True):
                if step.accepted:
                    current[sample.id] = sample.model_copy(update={"response": step.after})
                elif step.reason == config.stop_on and not _rechecked(sample.prompt, config, seed):
                    drawn[sample.id] = []
            yield done


def draw_principles(constitution: Constitution, prompt: Prompt, config: CritiqueConfig, seed: int) -> list[Principle]:
    """Draw the principles of a prompt's rounds, the same for the same seed and prompt.

    Only those that criticise, weigh something and are for such a prompt. Without replacement there may be fewer than
    rounds; a weighted draw without replacement is that of Efraimidis and Spirakis (2006).
    """
    rng = random.Random(f"{seed}:{prompt.id}")
    candidates = [p for p in constitution.critiquing() if p.weight > 0 and p.applies_to(prompt.tags)]
    weights = [p.weight if config.sampling.startswith("weighted") else 1.0 for p in candidates]
    if not candidates:
        return []
    if "without" not in config.sampling:
        return rng.choices(candidates, weights, k=config.rounds)
    # Logarithms, as powers of one over a small weight would all be 0.
    ranks = [math.log(rng.random() or sys.float_info.min) / weight for weight in weights]
    order = sorted(range(len(candidates)), key=ranks.__getitem__, reverse=True)
    return [candidates[place] for place in order[: config.rounds]]


def _rechecked(prompt: Prompt, config: CritiqueConfig, seed: int) -> bool:
    return random.Random(f"{seed}:{prompt.id}:recheck").random() < config.recheck_share


def revise_once(
    samples: Sequence[Sample], principle: Principle, feedback: Feedback, config: CritiqueConfig, number: int
) -> list[Revision]:
    """Carry out one round under one principle: criticise all, revise those at fault, verify, account for every one."""
    critiques = feedback.critique([(sample, principle) for sample in samples])
    faulty = [i for i, c in enumerate(critiques) if c.verdict == "violates" or _revisable(c, config)]
    written = feedback.revise([(samples[i], critiques[i], principle) for i in faulty]) if faulty else []
    texts = dict(zip(faulty, written, strict=True))
    after = {i: strip_prefix(text, samples[i].response) for i, text in texts.items()}
    reasons: dict[int, str] = {i: fault(Attempt.of(samples[i], critiques[i].text, after[i]), config) for i in faulty}
    sound = [i for i in faulty if not reasons[i]]
    if config.verify and sound:
        revised = [samples[i].model_copy(update={"response": after[i]}) for i in sound]
        better = _verified([samples[i] for i in sound], revised, principle, feedback, config)
        reasons |= {i: "" if good else "not_better" for i, good in zip(sound, better, strict=True)}
    steps = []
    for i, (sample, critique) in enumerate(zip(samples, critiques, strict=True)):
        if i in texts:
            steps.append(_step(sample, critique, number, after[i], reasons[i], texts[i]))
        else:
            steps.append(_step(sample, critique, number, sample.response, critique.reason or str(critique.verdict)))
    return steps


def _revisable(critique: Critique, config: CritiqueConfig) -> bool:
    return critique.verdict == "borderline" and config.revise_borderline


def _verified(
    answers: Sequence[Sample],
    revised: Sequence[Sample],
    principle: Principle,
    feedback: Feedback,
    config: CritiqueConfig,
) -> list[bool]:
    """Whether the judge finds each revision better: on the whole, and whichever of the two it is shown first."""
    pairs = [Comparison.of(new, old, old.run_id) for new, old in zip(revised, answers, strict=True)]
    odds: dict[str, list[float]] = defaultdict(list)
    for vote in feedback.compare([(pair, principle) for pair in pairs]):
        odds[vote.comparison_id].append(vote.logprob_a - vote.logprob_b)
    return [sum(odds[pair.id]) > 0 and min(map(sigmoid, odds[pair.id])) >= config.verify_threshold for pair in pairs]


def _step(
    sample: Sample, critique: Critique, number: int, after: str, reason: str, written: str | None = None
) -> Revision:
    """`written` is what the reviser wrote; it is kept where something was taken off it."""
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
        written=written if written is not None and written.strip() != after else "",
    )


def count_steps(steps: Sequence[Revision]) -> dict[str, int]:
    """Count the steps by outcome: `in` equals `accepted` plus `complies` plus every `rejected.<reason>`.

    `stripped` counts those of them that lost a label at their start.
    """
    counts = Counter("accepted" if s.accepted else f"rejected.{s.reason}" for s in steps)
    counts["complies"] = counts.pop("rejected.complies", 0)
    stripped = sum(bool(step.written) for step in steps)
    return {"in": len(steps), **dict(sorted(counts.items())), **({"stripped": stripped} if stripped else {})}
