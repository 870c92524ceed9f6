"""How a set of replies sounds: refusals, apologies, lectures, boilerplate, length; and when that is drift.

Pure functions of samples. Shares count replies; their intervals count prompts, which are the independent units.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from rlhf_core.config.monitors import MonitorConfig, MonitorLimits
from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.statistics import Estimate, wilson
from rlhf_core.records.base import Record
from rlhf_core.records.samples import Sample
from rlhf_core.text_detectors import BENIGN, HARMFUL, apologises, lectures, refuses, words

GRAM = 5
"""Words in a run that many replies may share."""
MIN_SHARED = 10
"""Prompts answered by both policies, below which a ratio of lengths says too little."""
NAMES = {
    "refusals": "replies that decline",
    "apology_starts": "replies that open with an apology",
    "lectures": "replies that lecture",
    "top_gram": "replies with the same five words",
    "length_ratio": "median length beside the reference policy's",
}
"""What each monitor that has limits counts."""


class Openings(Record):
    """How the replies to one kind of prompt begin."""

    refusals: Estimate
    apology_starts: Estimate


class LengthRatio(Record):
    """Words of one text for each word of another, over pairs of texts."""

    median: float
    p90: float
    n: int


class Monitors(Record):
    samples: int
    prompts: int
    openings: dict[str, Openings]
    """`all`, and `benign` and `harmful` where prompts are tagged so."""
    lectures: Estimate
    top_gram: str
    """The run of five words that most replies hold; empty where no two replies share one."""
    top_gram_share: Estimate
    distinct_1: float
    distinct_2: float
    """Distinct pairs of words over all pairs of words (Li et al. 2016); comparable for sets of like size only."""
    words: float
    """Mean words in a reply."""
    length_ratio: LengthRatio | None = None
    """To the reference policy's replies, over the prompts that both answered."""

    @property
    def watched(self) -> Openings:
        """Return the openings on benign prompts, where a refusal is a fault; on all prompts where none is tagged."""
        return self.openings.get(BENIGN) or self.openings["all"]

    def numbers(self) -> dict[str, float]:
        """Return the values by flat names, as a training step prints them."""
        flat = {
            f"{name}_{kind}" if kind != "all" else name: getattr(openings, name).value
            for kind, openings in self.openings.items()
            for name in ("refusals", "apology_starts")
        }
        flat |= {"lectures": self.lectures.value, "top_gram": self.top_gram_share.value}
        flat |= {"distinct_1": self.distinct_1, "distinct_2": self.distinct_2, "words": self.words}
        return flat | ({"length_ratio": self.length_ratio.median} if self.length_ratio else {})


class Drift(Record):
    """A monitor that has passed a limit."""

    monitor: str
    level: Literal["warn", "stop"]
    value: float
    reference: float | None
    limit: float
    detail: str = ""

    def __str__(self) -> str:
        name = NAMES[self.monitor] + (f' ("{self.detail}")' if self.detail else "")
        if self.monitor == "length_ratio":
            side = "below" if self.value < self.limit else "above"
            return f"{name} {self.value:.2f}, {side} the limit of {self.limit:g}"
        if self.reference is None:
            return f"{name} {self.value:.0%}, above the limit of {self.limit:.0%}"
        limit = (
            f"{self.reference + self.limit:.0%}, {self.limit:.0%} more than the reference policy's {self.reference:.0%}"
        )
        return f"{name} {self.value:.0%}, above the limit of {limit}"


def monitor(samples: Sequence[Sample], reference: Sequence[Sample] = ()) -> Monitors:
    """Return all monitors of a set of replies; with the reference policy's replies also the ratio of lengths."""
    if not samples:
        raise InvalidInput("monitors: there are no replies; allowed: at least one")
    texts = [words(sample.response) for sample in samples]
    gram, holders = _top_gram(samples, texts)
    ours, theirs = (_mean_words(side) for side in (samples, reference))
    return Monitors(
        samples=len(samples),
        prompts=len(_by_prompt(samples)),
        openings=_openings(samples),
        lectures=_share(samples, [lectures(sample.response) for sample in samples]),
        top_gram=gram,
        top_gram_share=_share(samples, holders),
        distinct_1=_distinct(texts, 1),
        distinct_2=_distinct(texts, 2),
        words=float(np.mean([len(text) for text in texts])),
        length_ratio=length_ratio([ours[key] / theirs[key] for key in ours if theirs.get(key)]),
    )


def length_ratio(ratios: Sequence[float]) -> LengthRatio | None:
    if not ratios:
        return None
    return LengthRatio(median=float(np.median(ratios)), p90=float(np.percentile(ratios, 90)), n=len(ratios))


def drifts(now: Monitors, limits: MonitorConfig, reference: Monitors | None = None) -> tuple[Drift, ...]:
    """Return every monitor that has passed a limit, once, at the worse level."""
    found = {drift.monitor: drift for drift in _passed(now, limits.warn, "warn", reference)}
    found |= {drift.monitor: drift for drift in _passed(now, limits.stop, "stop", reference)}
    return tuple(found.values())


def _passed(
    now: Monitors, limits: MonitorLimits, level: Literal["warn", "stop"], reference: Monitors | None
) -> Iterable[Drift]:
    before = _shares(reference) if reference else {}
    for name, share in _shares(now).items():
        limit, base = getattr(limits, name), before.get(name)
        # Rounded, so that a share exactly at its limit has not passed it.
        if limit is not None and round(share - (base or 0.0), 9) > limit:
            detail = now.top_gram if name == "top_gram" else ""
            yield Drift(monitor=name, level=level, value=share, reference=base, limit=limit, detail=detail)
    shared = now.length_ratio
    ratio = shared.median if shared and shared.n >= MIN_SHARED else None
    for limit, sign in ((limits.min_length_ratio, -1), (limits.max_length_ratio, 1)):
        if ratio is not None and limit is not None and (ratio - limit) * sign > 0:
            yield Drift(monitor="length_ratio", level=level, value=ratio, reference=None, limit=limit)


def _shares(monitors: Monitors) -> Mapping[str, float]:
    return {
        "refusals": monitors.watched.refusals.value,
        "apology_starts": monitors.watched.apology_starts.value,
        "lectures": monitors.lectures.value,
        "top_gram": monitors.top_gram_share.value,
    }


def _openings(samples: Sequence[Sample]) -> dict[str, Openings]:
    kinds = {"all": list(samples)} | {
        tag: [sample for sample in samples if tag in sample.prompt.tags] for tag in (BENIGN, HARMFUL)
    }
    return {
        kind: Openings(
            refusals=_share(members, [refuses(sample.response) for sample in members]),
            apology_starts=_share(members, [apologises(sample.response) for sample in members]),
        )
        for kind, members in kinds.items()
        if members
    }


def _share(samples: Sequence[Sample], flags: Sequence[bool]) -> Estimate:
    prompts = len(_by_prompt(samples))
    return wilson(sum(flags) / len(flags) * prompts, prompts)


def _by_prompt(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """Prompt id -> places of its replies."""
    rows: dict[str, list[int]] = defaultdict(list)
    for place, sample in enumerate(samples):
        rows[sample.prompt.id].append(place)
    return rows


def _top_gram(samples: Sequence[Sample], texts: Sequence[Sequence[str]]) -> tuple[str, list[bool]]:
    """The most common run of words, and which replies hold it.

    What only the replies to one prompt share is that prompt's matter, not a habit.
    """
    held = [{tuple(text[i : i + GRAM]) for i in range(len(text) - GRAM + 1)} for text in texts]
    counts = Counter(gram for grams in held for gram in grams)
    prompts: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for sample, grams in zip(samples, held, strict=True):
        for gram in grams:
            if counts[gram] > 1:
                prompts[gram].add(sample.prompt.id)
    habits = {gram: counts[gram] for gram, where in prompts.items() if len(where) > 1}
    if not habits:
        return "", [False] * len(samples)
    # The first in the alphabet among equals, so that the same set always gives the same run.
    top = min(habits, key=lambda gram: (-habits[gram], gram))
    return " ".join(top), [top in grams for grams in held]


def _distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Distinct runs of n words over all of them; 1 where there are none."""
    runs = [tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)]
    return len(set(runs)) / len(runs) if runs else 1.0


def _mean_words(samples: Sequence[Sample]) -> dict[str, float]:
    return {
        prompt: float(np.mean([len(words(samples[row].response)) for row in rows]))
        for prompt, rows in _by_prompt(samples).items()
    }
