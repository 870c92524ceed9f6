"""How often replies break the rules of a constitution that a pattern can check, policy by policy."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.constitution.principle import Principle, Rule, Severity
from rlhf_core.constitution.validation.patterns import broken_rules
from rlhf_core.evaluation.policy_rows import PolicyRows
from rlhf_core.evaluation.report.html import number, table, text
from rlhf_core.evaluation.statistics import Estimate, wilson
from rlhf_core.records.base import Record

NOTE = (
    "Share of the replies to prompts that the rule is for. In PPO a broken rule costs its penalty; one of a "
    "critical principle vetoes the reply."
)


class RuleBreaks(Record):
    """One rule, over the replies to prompts that its principle is for."""

    principle_id: str
    rule_id: str
    severity: Severity
    penalty: float
    shares: dict[str, Estimate]
    """Policy -> share of replies that break it; n counts prompts, which makes the interval a cautious one."""


def rule_breaks(principles: Sequence[Principle], policies: Sequence[PolicyRows]) -> tuple[RuleBreaks, ...]:
    """Return the rules with a pattern that are for at least one prompt, in the order of the principles."""
    found = []
    for principle in principles:
        for rule in principle.rules:
            shares = {policy.name: share for policy in policies if (share := _share(principle, rule, policy))}
            if rule.pattern is not None and shares:
                found.append(
                    RuleBreaks(
                        principle_id=principle.id,
                        rule_id=rule.id,
                        severity=principle.severity,
                        penalty=rule.penalty,
                        shares=shares,
                    )
                )
    return tuple(found)


def _share(principle: Principle, rule: Rule, policy: PolicyRows) -> Estimate | None:
    """Of the replies that one of the principle's rules is for, those that break it."""
    tags = [(sample, sample.prompt.tags) for sample in policy.samples]
    meant = [sample for sample, said in tags if principle.applies_to(said) and rule.applies_to(said)]
    if not meant:
        return None
    alone = [principle.model_copy(update={"rules": (rule,)})]
    broken = sum(bool(broken_rules(alone, sample.prompt.tags, sample.response)) for sample in meant)
    prompts = len({sample.prompt.id for sample in meant})
    return wilson(broken / len(meant) * prompts, prompts)


def rule_table(rules: Sequence[RuleBreaks]) -> str:
    """Return one row a rule, one column a policy; empty without rules."""
    policies = list(dict.fromkeys(name for rule in rules for name in rule.shares))
    rows = [
        [
            f"{text(rule.principle_id)}<br><small>{text(rule.rule_id)}</small>",
            rule.severity,
            f"{rule.penalty:g}",
            *(number(rule.shares.get(name), 1, percent=True) for name in policies),
        ]
        for rule in rules
    ]
    return table(["rule broken", "severity", "penalty", *map(text, policies)], rows, NOTE) if rows else ""
