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
KEPT = 34 / 2
"""Numbers that a layer keeps for the way back, by position and width of the state, without attention's scores
(Korthikanti et al. 2022, which counts 34 bytes of 16-bit numbers)."""


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
    forward, 2 back to the states, and 2 to the weights if all of them learn.
    """
    step, learners = cluster.step, cluster.workers.learners
    if (measured := cluster.measured.learn) is not None:
        return measured.call_seconds + measured.item_seconds * len(lengths) / learners
    tokens = float(lengths.sum()) + len(lengths) * step.prompt_tokens
    update = 4 if cluster.policy.adapter_parameters else 6
    flops = cluster.policy.parameters * tokens * (4 + step.epochs * update)
    rate = learners * cluster.machine.peak_flops * cluster.efficiency.learn
    return flops / rate + exchanged_bytes(cluster) / (cluster.machine.network * cluster.efficiency.network)


def exchanged_bytes(cluster: Cluster) -> float:
    """Return what a machine of learners gets from the others in a step: gradients, and the weights that they divide.

    Copies add gradients up in a ring, which moves them twice. Parts get their sums once; each pass gathers the weights
    forward and, in updates, again on the way back.
    """
    step, policy, learners = cluster.step, cluster.policy, cluster.workers.learners
    elsewhere = max(0.0, 1 - cluster.machine.gpus / learners)
    updates = step.epochs * math.ceil(step.samples / step.minibatch)
    moved = updates * 4.0 * (policy.adapter_parameters or policy.parameters)
    if cluster.sharded:
        targets, update = (
            math.ceil(samples / (learners * step.rows_per_pass))
            for samples in (step.samples, min(step.minibatch, step.samples))
        )
        moved += 2 * (targets + updates * update) * policy.weight_bytes
    else:
        moved *= 2
    return moved * elsewhere


def publish_seconds(cluster: Cluster) -> float:
    """Return the time in which all samplers' machines fetch a policy from the store, which one machine serves."""
    machines = math.ceil(cluster.workers.samplers / cluster.machine.gpus)
    return machines * cluster.policy.published_bytes / (cluster.machine.network * cluster.efficiency.network)


class Traffic(NamedTuple):
    """Bytes of one step between machines."""

    policies: float
    samples: float
    scores: float
    learners: float
    """Gradients and divided weights, by machine."""


def traffic(cluster: Cluster) -> Traffic:
    """Return what a step moves, with responses of the mean length."""
    step, workers, machine = cluster.step, cluster.workers, cluster.machine
    tokens = step.samples * (step.prompt_tokens + step.response_tokens)
    return Traffic(
        policies=math.ceil(workers.samplers / machine.gpus) * cluster.policy.published_bytes,
        # To the store, to the scorers and to the learners.
        samples=3 * TOKEN_BYTES * tokens,
        scores=2 * SCORE_BYTES * step.samples * cluster.objectives,
        learners=exchanged_bytes(cluster),
    )


class Memory(NamedTuple):
    """Bytes that one GPU of each role holds at most."""

    sampler: float
    scorer: float
    learner: float


def memory(cluster: Cluster) -> Memory:
    """Return what each role holds with the longest rows: as many as stand in a call, or in a pass with gradients.

    Raises: InvalidInput where a GPU has less.
    """
    policy, reward, step = cluster.policy, cluster.reward_shape, cluster.step
    width = step.prompt_tokens + step.longest
    trained = policy.adapter_parameters or policy.parameters
    shards = cluster.workers.learners if cluster.sharded else 1
    graph = step.rows_per_pass * width * policy.hidden * policy.layers * KEPT * policy.bytes_per_weight
    # The base is there beside weights that are all trained too: it is what they are held near.
    held = (policy.weight_bytes + STATE * trained) / shards
    found = Memory(
        sampler=policy.weight_bytes + 2 * policy.published_bytes + step.rows_per_call * width * policy.position_bytes,
        scorer=reward.weight_bytes
        + cluster.passes * 4 * reward.adapter_parameters
        + 64 * width * reward.hidden * 2 * 8,
        # And logits of a thousand positions.
        learner=held + graph + 4 * 1024 * 150_000,
    )
    room = USABLE * cluster.machine.memory
    for role, needed in found._asdict().items():
        if needed > room:
            raise InvalidInput(
                f"a {role} needs {needed / 1e9:.1f} GB, and a GPU of {cluster.machine.memory / 1e9:.0f} GB has "
                f"{room / 1e9:.1f} for it; allowed: more memory, a smaller model, fewer step.rows_per_call or "
                "step.rows_per_pass, shorter texts, or sharded learners",
                "machine.memory",
            )
    return found
