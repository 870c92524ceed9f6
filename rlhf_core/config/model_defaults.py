"""Defaults that depend on the model: what suits each built-in one, where a configuration leaves it open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SANDBOX = "sandbox"
"""The name of the built-in model, tasks and constitution."""
SMOLLM2 = "smollm2"
"""The built-in name of a small instruct model (SmolLM2-135M-Instruct), which a package carries as one file."""
OWN_ANSWERS = {"reference": True}
BY_STEP = {"process": ["*"], "step_pool": "sum"}
"""How reward models of the sandbox's tasks read: step by step, and beside the model's own answer."""
REAL: Mapping[str, Any] = {
    "model": {
        "dtype": "auto",
        "max_tokens": 40,
        "feedback_tokens": 48,
        "memory_budget": "3.8GB",
        "lora": {"rank": 8, "alpha": 16},
    },
    "data": {"prompts": "builtin:everyday-train", "heldout_prompts": "builtin:everyday-heldout"},
    "feedback": {"critic": {"method": "contrast"}, "judge": {"protocol": "contrast"}},
    "critique": {
        "prompts": 204,
        "rounds": 1,
        "temperature": 0.8,
        # The base rambles to its limit, and a reply in steps or a refusal is short.
        "min_length_ratio": 0.1,
        "max_length_ratio": 5.0,
    },
    # Until the kinds of prompt are told apart: 2 epochs at 3e-4 did so half as well. Without rehearsal
    # plain text is 1.17 times as perplexing after 3 epochs, and 1.47 after 6.
    "sft": {"epochs": 4, "batch_size": 8, "learning_rate": 1e-3, "helpful_share": 0.0, "rehearsal_coef": 1.0},
    # Its own replies to a kind of prompt are mostly of one kind, so half of the pairs are written to differ. The other
    # half show its rambling, which no principle would write.
    "label": {
        "pairs": 200,
        "steered_share": 0.5,
        "even_tags": True,
        "temperature": 0.8,
        "candidates": 2,
        # A contrast is as sure as a reply is long: at 1 what a principle serves a little counts as what it serves most.
        "odds_temperature": 20,
    },
    "reward": {"epochs": 4, "batch_size": 4, "learning_rate": 1e-3, "layout": "trunk", "layers": 20},
    "norm": {"prompts": 70, "samples": 1},
    "ppo": {
        "steps": 14,
        "prompts_per_step": 8,
        "even_tags": True,
        # Both steps and a no must be drawn to one prompt: of those that fine-tuning learned, one in fourteen has both.
        "unseen_prompts": True,
        "samples_per_prompt": 6,
        "minibatch_size": 48,
        "epochs": 1,
        # Many samples a step: the fewer, the more it is by lot which way a step goes.
        "learning_rate": 1e-4,
        # Holds what is paid by lot: after less fine-tuning it came to refuse nearly everybody at .1 and .2, not at .5.
        "kl_coef": 0.5,
        "temperature": 0.8,
        # Steps are cut at the limit and refusals are not: a price of that turned a policy that was paid nothing else
        # into one that refuses everything.
        "missing_eos_penalty": 0.0,
        # Lots push as hard as scores do and know nothing.
        "control_steps": 14,
        "control_pays": "shuffled",
        "checkpoint_every": 2,
        "eval_prompts": 24,
    },
    "evaluation": {"prompts": 66, "training_prompts": 16, "skills": 0},
}
"""What suits 135 million parameters on two cores: the story of a real model in less than an hour."""


def with_model_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration in which the built-in model's own defaults fill what is left open."""
    model = given.get("model", {})
    base = model.get("base_model", SANDBOX) if isinstance(model, Mapping) else model.base_model
    if base == SMOLLM2:
        data = given.get("data", {})
        own = isinstance(data, Mapping) and data.get("prompts")
        return _filled({name: part for name, part in REAL.items() if name != "data" or not own}, given)
    if base != SANDBOX:
        return dict(given)
    reward = given.get("reward", {})
    # An encoder of one's own writes no answers to read.
    encoder = isinstance(reward, Mapping) and reward.get("base_model")
    return _filled({"reward": BY_STEP | ({} if encoder else OWN_ANSWERS)}, given)


def constitution_for(base_model: str) -> str:
    """Return the name of the built-in constitution that goes with a base model."""
    return {SANDBOX: "household", SMOLLM2: "everyday"}.get(base_model, "assistant")


def _filled(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`given`, and at each level what it leaves open; a section that is a record already stays as it is."""
    filled = dict(given)
    for name, value in defaults.items():
        if name not in given:
            filled[name] = value
        elif isinstance(value, Mapping) and isinstance(given[name], Mapping):
            filled[name] = _filled(value, given[name])
    return filled
