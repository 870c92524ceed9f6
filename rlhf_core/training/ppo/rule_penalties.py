"""What a constitution's rules take from the reward of a reply: penalties, and the veto of critical principles."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rlhf_core.constitution.principle import Principle
from rlhf_core.constitution.validation.patterns import broken_rules
from rlhf_core.records.samples import Sample


def after_rules(
    z: Tensor, samples: Sequence[Sample], principles: Sequence[Principle], objectives: Sequence[str], clip: float
) -> Tensor:
    """Subtract from z (K, B), clipped to +-clip, the penalties of the rules that each reply breaks.

    A broken rule costs every objective its penalty times the principle's share there, in standard deviations; nothing
    falls below -clip. A critical principle's broken rule puts the reply at -clip in every objective, whatever it
    serves: under any weights no reply is paid less. Only patterns count.
    """
    if not _patterned(principles):
        return z
    z = z.clone()
    for place, sample in enumerate(samples):
        for principle, rule in broken_rules(principles, sample.prompt.tags, sample.response):
            for row, objective in enumerate(objectives):
                z[row, place] -= rule.penalty * principle.serves.get(objective, 0.0)
            if principle.severity == "critical":
                z[:, place] = -clip
    return z.clamp_min(-clip)


def rule_shares(principles: Sequence[Principle], samples: Sequence[Sample]) -> dict[str, float]:
    """Return the shares of replies that break a rule, and that are vetoed for it; empty where no rule has a pattern."""
    if not samples or not _patterned(principles):
        return {}
    broken = [broken_rules(principles, sample.prompt.tags, sample.response) for sample in samples]
    vetoed = [any(principle.severity == "critical" for principle, _ in rules) for rules in broken]
    return {"rules/broken": sum(map(bool, broken)) / len(samples), "rules/vetoed": sum(vetoed) / len(samples)}


def _patterned(principles: Sequence[Principle]) -> bool:
    return any(rule.pattern is not None for principle in principles for rule in principle.rules)
