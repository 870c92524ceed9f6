"""What the runs of a comparison are set side by side by: each measure by prompt, and each setting as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlhf_core.comparison.sources import Source
from rlhf_core.evaluation.policy_rows import HARM
from rlhf_core.records.samples import Sample
from rlhf_core.text_detectors import refuses, words

Column = Mapping[str, float]
"""Prompt id -> its mean."""


def columns_of(source: Source) -> dict[str, Column]:
    """Return each measure of a run's last policy, by prompt: gold and scores of each objective, words, refusals."""
    samples = source.policy.samples
    columns: dict[str, Column] = {}
    for kind in dict.fromkeys(row.kind for row in source.policy.gold if not row.kind.startswith(HARM)):
        graded = {row.sample_id: row.score for row in source.policy.gold if row.kind == kind}
        columns[f"gold {kind}"] = _by_prompt(samples, graded)
    for index, objective in enumerate(source.pack.objectives if source.pack else ()):
        columns[f"score {objective}"] = _by_prompt(samples, _standardised(source, index))
    columns["words"] = _by_prompt(samples, {s.id: float(len(words(s.response))) for s in samples})
    columns["refusals"] = _by_prompt(samples, {s.id: float(refuses(s.response)) for s in samples})
    return {name: column for name, column in columns.items() if column}


def _standardised(source: Source, index: int) -> dict[str, float]:
    """An objective's scores by sample, in standard deviations of the run's reference policy."""
    pack = source.pack
    if pack is None:
        return {}
    model, mean, sd = pack.reward_models[index], pack.mean[index], pack.sd[index]
    return {row.sample_id: (row.score - mean) / sd for row in source.policy.scores if row.reward_model == model}


def _by_prompt(samples: Sequence[Sample], values: Mapping[str, float]) -> Column:
    found: dict[str, list[float]] = {}
    for sample in samples:
        if sample.id in values:
            found.setdefault(sample.prompt.id, []).append(values[sample.id])
    return {prompt: sum(numbers) / len(numbers) for prompt, numbers in found.items()}


def one_scale(objective: str, first: Source, second: Source) -> bool:
    """Tell whether one reward model on one scale scored both."""
    scales = []
    for pack in (first.pack, second.pack):
        if pack is None or objective not in pack.objectives:
            return False
        index = pack.objectives.index(objective)
        scales.append((pack.reward_models[index], pack.mean[index], pack.sd[index]))
    return scales[0] == scales[1]


def flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """Iterate over a configuration's settings, as dotted key and text."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from flat(f"{prefix}.{name}" if prefix else name, inner)
    else:
        yield prefix, f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)
