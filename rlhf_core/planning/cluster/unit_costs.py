"""Seconds, bytes and memory of a worker: measured, or from a GPU's data sheet (roofline, Williams et al. 2009)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from rlhf_core.errors import InvalidInput
from rlhf_core.planning.cluster.description import Cluster

USABLE = 0.9
"""Of a GPU's memory; the rest is its driver's, and lost between blocks."""
TOKEN_BYTES = 8
"""Of a token on its way to the store: its id and its log-probability."""
SCORE_BYTES = 8
STATE = 16
"""Bytes of each number that is trained: itself, its gradient, two moments of Adam."""


def draw_lengths(cluster: Cluster, count: int, random: Generator) -> NDArray[np.float64]:
    """Draw the lengths (count,) of responses in tokens."""
    step = cluster.step
    spread = math.log(1 + step.response_spread**2)
    drawn = random.lognormal(math.log(step.response_tokens) - spread / 2, math.sqrt(spread), count)
    return np.clip(np.rint(drawn), 1, step.longest)


def write_seconds(cluster: Cluster, lengths: NDArray[np.float64]) -> float:
    """Return the time in which a sampler writes responses of these lengths together; rows that have ended leave.

    A token costs a pass over the weights and over all keys and values, or the products, whichever takes longer.
    """
    if (measured := cluster.measured.write) is not None:
        # What was measured is of responses of the mean length.
        share = float(lengths.mean()) / cluster.step.response_tokens
        return measured.call_seconds + measured.item_seconds * len(lengths) * share
    shape, machine, step = cluster.policy, cluster.machine, cluster.step
    ended = np.bincount(lengths.astype(np.int64))[:-1].cumsum()
    positions, rows = np.arange(1, len(ended) + 1), len(lengths) - ended
    moved = shape.weight_bytes + rows * (step.prompt_tokens + positions) * shape.position_bytes
    by_memory = moved / (machine.bandwidth * cluster.efficiency.decode)
    by_products = 2 * shape.parameters * rows / (machine.peak_flops * cluster.efficiency.read)
    prompts = math.ceil(len(lengths) / step.samples_per_prompt)
    read = 2 * shape.parameters * prompts * step.prompt_tokens / (machine.peak_flops * cluster.efficiency.read)
    return float(np.maximum(by_memory, by_products).sum() + read)


def score_seconds(cluster: Cluster, lengths: NDArray[np.float64]) -> float:
    """Return the time in which a scorer reads these conversations, once for each pass."""
    if (measured := cluster.measured.score) is not None:
        return measured.call_seconds + measured.item_seconds * len(lengths)
    tokens = float(lengths.sum()) + len(lengths) * cluster.step.prompt_tokens
    flops = 2 * cluster.reward_shape.parameters * tokens * cluster.passes
    return flops / (cluster.machine.peak_flops * cluster.efficiency.read)


def learn_seconds(cluster: Cluster, lengths: NDArray[np.float64]) -> float:
    """Return the time of all learners for a step's targets and updates, with the exchange of gradients.

    By token and parameter: 2 FLOPs for each pass, of the policy and of its reference before the updates; in an update 2
    forward, 2 again for what activation checkpoints forgot, 2 back to the states, and 2 to the weights if they learn.
    """
    step, learners = cluster.step, cluster.workers.learners
    if (measured := cluster.measured.learn) is not None:
        return measured.call_seconds + measured.item_seconds * len(lengths) / learners
    tokens = float(lengths.sum()) + len(lengths) * step.prompt_tokens
    back = 6 if cluster.policy.adapter_parameters else 8
    flops = cluster.policy.parameters * tokens * (4 + step.epochs * back)
    updates = step.epochs * math.ceil(len(lengths) / step.minibatch)
    return flops / (learners * cluster.machine.peak_flops * cluster.efficiency.learn) + updates * exchange(cluster)


def exchange(cluster: Cluster) -> float:
    """Return the seconds in which learners add up one update's gradients (ring), and gather weights that they share."""
    machines = math.ceil(cluster.workers.learners / cluster.machine.gpus)
    if machines == 1:
        return 0.0
    gradients = 4 * cluster.policy.adapter_parameters or 2 * cluster.policy.weight_bytes
    gathered = 3 * cluster.policy.weight_bytes if cluster.sharded else 0.0
    moved = (2 * gradients + gathered) * (machines - 1) / machines
    return moved / (cluster.machine.network * cluster.efficiency.network)


def publish_seconds(cluster: Cluster) -> float:
    """Return the time in which all samplers' machines fetch a policy from the store, which one machine serves."""
    machines = math.ceil(cluster.workers.samplers / cluster.machine.gpus)
    return machines * cluster.policy.published_bytes / (cluster.machine.network * cluster.efficiency.network)


class Traffic(NamedTuple):
    """Bytes of one step between machines."""

    policies: float
    samples: float
    scores: float
    gradients: float


def traffic(cluster: Cluster) -> Traffic:
    """Return what a step moves, with responses of the mean length."""
    step, workers, machine = cluster.step, cluster.workers, cluster.machine
    updates = step.epochs * math.ceil(step.samples / step.minibatch)
    tokens = step.samples * (step.prompt_tokens + step.response_tokens)
    return Traffic(
        policies=math.ceil(workers.samplers / machine.gpus) * cluster.policy.published_bytes,
        # To the store, to the scorers and to the learners.
        samples=3 * TOKEN_BYTES * tokens,
        scores=2 * SCORE_BYTES * step.samples * cluster.objectives,
        gradients=updates * exchange(cluster) * machine.network * cluster.efficiency.network,
    )


class Memory(NamedTuple):
    """Bytes that one GPU of each role holds at most."""

    sampler: float
    scorer: float
    learner: float


def memory(cluster: Cluster) -> Memory:
    """Return what each role holds: the longest rows, as many as stand in a call, and one row at a time in updates.

    Raises: InvalidInput where a GPU has less.
    """
    policy, reward, step = cluster.policy, cluster.reward_shape, cluster.step
    width = step.prompt_tokens + step.longest
    trained = policy.adapter_parameters or policy.parameters
    shards = cluster.workers.learners if cluster.sharded else 1
    base = policy.weight_bytes / shards if policy.adapter_parameters else 0.0
    # A state of each layer at each position, those of one layer in full, and logits of a thousand positions.
    row = width * policy.hidden * 2 * (policy.layers + 34) + 4 * 1024 * 150_000
    found = Memory(
        sampler=policy.weight_bytes + 2 * policy.published_bytes + step.rows_per_call * width * policy.position_bytes,
        scorer=reward.weight_bytes
        + cluster.passes * 4 * reward.adapter_parameters
        + 64 * width * reward.hidden * 2 * 8,
        learner=base + STATE * trained / (1 if policy.adapter_parameters else shards) + row,
    )
    room = USABLE * cluster.machine.memory
    for role, needed in found._asdict().items():
        if needed > room:
            raise InvalidInput(
                f"a {role} needs {needed / 1e9:.1f} GB, and a GPU of {cluster.machine.memory / 1e9:.0f} GB has "
                f"{room / 1e9:.1f} for it; allowed: more memory, a smaller model, fewer step.rows_per_call, shorter "
                "texts, or sharded learners",
                "machine.memory",
            )
    return found
