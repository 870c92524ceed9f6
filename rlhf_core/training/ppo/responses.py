"""The responses of a rollout: written by this process, or by another sampler that is handed the policy for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from rlhf_core.errors import TrainingFailed
from rlhf_core.inference.generate import Generated, generate
from rlhf_core.models.batching import Batch
from rlhf_core.models.policy import Policy
from rlhf_core.training.parallel import Ranks

if TYPE_CHECKING:
    from rlhf_core.inference.remote_sampler import RemoteSampler


class Draw(NamedTuple):
    """How `n` responses to each prompt are drawn; this process writes its `share` of all of them."""

    n: int
    temperature: float
    max_tokens: int
    seed: int
    share: slice


class Asked(NamedTuple):
    """What a step asks for: its prompts as tokens, and how responses to them are drawn."""

    ids: list[list[int]]
    draw: Draw


class Written(NamedTuple):
    """Responses in the order of their prompts, the version that wrote them, and the step that it is the policy of.

    Where another sampler wrote them: seconds and bytes of handing the policy over, seconds of writing, and seconds in
    which this process had nothing to do but to wait for them.
    """

    rows: list[Generated]
    version: str
    step: int
    handover_seconds: float = 0.0
    handover_bytes: int = 0
    seconds: float = 0.0
    waited_seconds: float = 0.0


class Behaviour(NamedTuple):
    """What another sampler tells of the rows that it wrote.

    logprobs (B, T) as it drew the tokens; the seconds and bytes of handing the policy over; tokens written in a second;
    seconds of waiting for them, and the steps by which its policy is behind the one that learns.
    """

    logprobs: Tensor
    handover_seconds: float
    handover_bytes: int
    tokens_per_second: float
    waited_seconds: float = 0.0
    staleness: int = 0


def write_responses(policy: Policy, step: int, asked: Asked, ranks: Ranks, sampler: RemoteSampler | None) -> Written:
    """Write what is asked for by the policy as it is after `step` steps: here, or by the sampler."""
    if sampler is None:
        return _write_here(policy, step, *asked, ranks)
    written = _write_there(sampler, policy, step, *asked, ranks)
    refuse_stale(written, step, most=0)
    return written


def _write_here(policy: Policy, step: int, ids: list[list[int]], draw: Draw, ranks: Ranks) -> Written:
    backbone = policy.backbone
    with backbone.gathered(), backbone.adapters.using(policy.adapter):
        replies = generate(
            backbone,
            ids,
            n=draw.n,
            temperature=draw.temperature,
            max_tokens=draw.max_tokens,
            seed=draw.seed,
            share=draw.share,
        )
        parts = ranks.gather(replies)
    return Written([Generated(*row) for part in parts for row in part], policy.adapter, step)


def _write_there(
    sampler: RemoteSampler, policy: Policy, step: int, ids: list[list[int]], draw: Draw, ranks: Ranks
) -> Written:
    given = sampler.hand_over_adapter(policy.adapter, step, ranks.is_first)
    ranks.told()  # nobody asks before the first process has handed it over
    started = time.perf_counter()
    parts = ranks.gather(
        sampler.write(given.version, ids, draw.n, draw.temperature, draw.max_tokens, draw.seed, draw.share)
    )
    rows = [Generated(*row) for part in parts for row in part]
    seconds = time.perf_counter() - started
    return Written(rows, given.version.name, given.version.step, given.seconds, given.bytes, seconds, seconds)


def refuse_stale(written: Written, step: int, most: int) -> None:
    """Refuse rows that an older policy wrote than the bound allows. Raises TrainingFailed."""
    if not 0 <= step - written.step <= most:
        raise TrainingFailed(
            f"step {step + 1} of PPO was given {len(written.rows)} responses by '{written.version}', which is the "
            f"policy of step {written.step}; allowed: at most {most} steps behind {step}"
        )


def behaviour_of(written: Written, batch: Batch, step: int) -> Behaviour:
    """Lay out what another sampler told, as the batch of its rows is laid out, which `step` learns from."""
    logprobs = torch.zeros(batch.mask.shape)
    for line, row in zip(logprobs, written.rows, strict=True):
        line[: len(row.logprobs)] = torch.tensor(row.logprobs)
    speed = int(batch.mask.sum()) / max(written.seconds, 1e-9)
    logprobs, stale = logprobs.to(batch.ids.device), step - written.step
    return Behaviour(logprobs, written.handover_seconds, written.handover_bytes, speed, written.waited_seconds, stale)
