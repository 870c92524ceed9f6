"""Defaults that depend on the model: what suits the built-in one, where a configuration leaves it open."""

from __future__ import annotations

from typing import Any

from rlhf_core.backends import POLICY

SANDBOX = "sandbox"
"""The name of the built-in model, tasks and constitution."""
REWARD = {"reference": True, "process": ["*"], "step_pool": "sum"}
"""How reward models of the built-in tasks read: beside the model's own answer, step by step."""
PROTOCOL = "pointwise"
"""How the built-in model judges harm: of the labels that an edit of a principle should flip it then flips all."""


def for_sandbox(given: dict[str, Any]) -> dict[str, Any]:
    """The sections of a configuration in which the built-in model's own defaults fill what is left open."""
    sections: dict[str, Any] = {}
    if isinstance(reward := given.get("reward", {}), dict):
        # An encoder of one's own writes no answers to read.
        own = {"reference": False} if reward.get("base_model") else {}
        sections["reward"] = REWARD | own | reward
    feedback = given.get("feedback", {})
    judge = feedback.get("judge", {}) if isinstance(feedback, dict) else None
    if isinstance(judge, dict) and judge.get("model", POLICY) == POLICY:
        sections["feedback"] = {**feedback, "judge": {"protocol": PROTOCOL, **judge}}
    return sections
