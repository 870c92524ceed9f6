"""A cluster of round numbers, so that what is simulated can be worked out by hand."""

from __future__ import annotations

from typing import Any

from rlhf_core.planning.cluster.description import Cluster

ROUND: dict[str, Any] = {
    "policy": {
        **{"parameters": 1e9, "layers": 1, "hidden": 10, "kv_heads": 1, "head_size": 1, "bytes_per_weight": 2},
        "adapter_parameters": 1e6,
    },
    "objectives": 2,
    "step": {
        **{"prompts": 4, "samples_per_prompt": 2, "prompt_tokens": 10, "response_tokens": 20, "response_spread": 0},
        **{"longest": 20, "epochs": 1, "minibatch": 8, "rows_per_call": 2},
    },
    "machine": {
        **{"gpus": 8, "peak_flops": 1e15, "memory": "100GB", "bandwidth": 1e12, "network": 1e12, "price": 3.6},
    },
    "workers": {"samplers": 2, "scorers": 1, "learners": 1},
    "efficiency": {"decode": 0.5, "read": 0.5, "learn": 0.5, "network": 1.0},
    "simulated_steps": 4,
}
"""Four calls of two responses each a step."""
TIMED = {
    "write": {"call_seconds": 2, "item_seconds": 4},
    "score": {"item_seconds": 0.5},
    "learn": {"item_seconds": 0.625},
}
"""A call is written in 10 s and scored in 1 s; a step is learned in 5 s."""


def cluster(**changes: Any) -> Cluster:
    """The round cluster with sections changed: what is given for a section is laid over it."""
    tree = dict(ROUND)
    for name, value in changes.items():
        tree[name] = {**tree[name], **value} if isinstance(tree.get(name), dict) else value
    return Cluster.model_validate(tree)
