"""The card that goes with an exported policy: where it comes from, what it was trained on, what was measured."""

from __future__ import annotations

import re

from rlhf_core.config.run import RunConfig
from rlhf_core.evaluation.gains import CONTROL, TRAINED, TUNED
from rlhf_core.evaluation.report.record import Report
from rlhf_core.evaluation.statistics import Estimate
from rlhf_core.records.models import PolicyVersion
from rlhf_core.records.runs import Run

NAMES = {"sft": TUNED, "ppo": TRAINED, "control": CONTROL}
"""What a report calls the policy that a stage made."""
LATER = re.compile(r"weights from PPO step (?!1$)")
"""Of a report's provenance."""


def model_card(version: PolicyVersion, run: Run, report: Report | None) -> str:
    """Return the card as Markdown, with the metadata that the Hugging Face Hub reads at its head."""
    config = RunConfig.stored(run.config)
    weights = ", ".join(f"{name} {weight:g}" for name, weight in config.weights.items()) or "the constitution's own"
    lines = [
        "---",
        f"base_model: {version.base_model}",
        "tags: [charter, rlhf, constitutional-ai]",
        "---",
        "",
        f"# {version.id}",
        "",
        f"A policy trained by Charter from `{version.base_model}`.",
        "",
        f"- Made by stage `{version.stage}` of run `{run.id}`, seed {config.seed}, from policy `{version.parent}`.",
        f"- Constitution {_constitution(run, report)}.",
        f"- Weights of the objectives: {weights}{_turned(report) if version.stage == 'ppo' else ''}.",
    ]
    if version.ungated:
        lines.append("- **Ungated**: a judge that had not passed its gate labelled what it learned from.")
    if report is None:
        return "\n".join([*lines, "", "Its run has made no report: nothing here has been measured.", ""])
    return "\n".join([*lines, "", *_measured(report, NAMES.get(version.stage, version.stage)), ""])


def _turned(report: Report | None) -> str:
    """The weights that PPO took up after its first step, by a schedule or from people."""
    later = [(name, told) for name, told in (report.provenance if report else {}).items() if LATER.match(name)]
    return "".join(f"; {name}: {told}" for name, told in later)


def _constitution(run: Run, report: Report | None) -> str:
    if report is None:
        return f"`{run.constitution_hash}`"
    named = report.constitution
    return f"{named.id} {named.version} (`{named.hash}`)"


def _measured(report: Report, own: str) -> list[str]:
    """What the run's report says of its policies, on held-out prompts; it calls this one `own`."""
    lines = [
        "## Measured by its run, on held-out prompts",
        "",
        f"The policy of this folder is called `{own}` here.",
        "",
    ]
    for gain in report.gains:
        lines.append(f"- {gain.name}: {_told(gain.weighted)} reference standard deviations, by {gain.judge}.")
    for rule in report.rules:
        shares = ", ".join(f"{policy} {_told(share, 100)} %" for policy, share in rule.shares.items())
        lines.append(f"- Replies that break `{rule.rule_id}` of `{rule.principle_id}`: {shares}.")
    return [*lines, *(f"- {caveat}" for caveat in report.caveats)]


def _told(number: Estimate, scale: float = 1.0) -> str:
    return f"{scale * number.value:.3g} [{scale * number.low:.3g}, {scale * number.high:.3g}]"
