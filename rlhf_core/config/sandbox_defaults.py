"""Defaults that depend on the model: what suits the built-in one, where a configuration leaves it open."""

from __future__ import annotations

from typing import Any

SANDBOX = "sandbox"
"""The name of the built-in model, tasks and constitution."""
REWARD = {"reference": True, "process": ["*"], "step_pool": "sum"}
"""How reward models of the built-in tasks read: beside the model's own answer, step by step."""


def for_sandbox(given: dict[str, Any]) -> dict[str, Any]:
    """The sections of a configuration in which the built-in model's own defaults fill what is left open."""
    sections: dict[str, Any] = {}
    if isinstance(reward := given.get("reward", {}), dict):
        # An encoder of one's own writes no answers to read.
        own = {"reference": False} if reward.get("base_model") else {}
        sections["reward"] = REWARD | own | reward
    return sections
