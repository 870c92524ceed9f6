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

MOST_STALE = 0
"""Steps by which the policy that wrote a row may be behind the one that learns from it."""


class Draw(NamedTuple):
    """How `n` responses to each prompt are drawn; this process writes its `share` of all of them."""

    n: int
    temperature: float
    max_tokens: int
    seed: int
    share: slice


class Written(NamedTuple):
    """Responses in the order of their prompts, the version that wrote them, and the step that it is the policy of.

    Where another sampler wrote them: seconds and bytes of handing the policy over, and seconds of writing.
    """

    rows: list[Generated]
    version: str
    step: int
    handover_seconds: float = 0.0
    handover_bytes: int = 0
    seconds: float = 0.0


class Behaviour(NamedTuple):
    """What another sampler tells of the rows that it wrote.

    logprobs (B, T) as it drew the tokens; the seconds and bytes of handing the policy over; tokens written in a second.
    """

    logprobs: Tensor
    handover_seconds: float
    handover_bytes: int
    tokens_per_second: float


def write_responses(
    policy: Policy, step: int, ids: list[list[int]], draw: Draw, ranks: Ranks, sampler: RemoteSampler | None
) -> Written:
    """Write responses to prompts of these ids by the policy as it is after `step` steps: here, or by the sampler."""
    if sampler is None:
        return _write_here(policy, step, ids, draw, ranks)
    written = _write_there(sampler, policy, step, ids, draw, ranks)
    refuse_stale(written, step)
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
    return Written(rows, given.version.name, given.version.step, given.seconds, given.bytes, seconds)


def refuse_stale(written: Written, step: int, most: int = MOST_STALE) -> None:
    """Refuse rows that an older policy wrote than the bound allows. Raises TrainingFailed."""
    if not 0 <= step - written.step <= most:
        raise TrainingFailed(
            f"step {step + 1} of PPO was given {len(written.rows)} responses by '{written.version}', which is the "
            f"policy of step {written.step}; allowed: at most {most} steps behind {step}"
        )


def behaviour_of(written: Written, batch: Batch) -> Behaviour:
    """Lay out what another sampler told, as the batch of its rows is laid out."""
    logprobs = torch.zeros(batch.mask.shape)
    for line, row in zip(logprobs, written.rows, strict=True):
        line[: len(row.logprobs)] = torch.tensor(row.logprobs)
    speed = int(batch.mask.sum()) / max(written.seconds, 1e-9)
    return Behaviour(logprobs.to(batch.ids.device), written.handover_seconds, written.handover_bytes, speed)
