"""Rollouts: which prompts a step takes, the policy's responses to them, and what the reward models say of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch import Tensor

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.config.reward import StepPool
from rlhf_core.constitution.principle import Principle
from rlhf_core.errors import TrainingFailed
from rlhf_core.models.batching import Batch, make_batch
from rlhf_core.models.policy import Policy
from rlhf_core.records.base import content_id
from rlhf_core.records.models import NormPack
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.reward_models.reward_model import Members, Scorer, score_each
from rlhf_core.seeding import derived_seed
from rlhf_core.training.parallel import ALONE, Ranks
from rlhf_core.training.ppo.credit import Credit, line_credit, no_credit
from rlhf_core.training.ppo.responses import Behaviour, Draw, Written, behaviour_of, write_responses
from rlhf_core.training.ppo.rule_penalties import after_rules
from rlhf_core.training.ppo.scalarization import standardise

if TYPE_CHECKING:
    from rlhf_core.inference.remote_sampler import RemoteSampler

T = TypeVar("T")


class Rollout(NamedTuple):
    """Samples of the current policy; scores and z (K, B), `unfinished` (B,) is 1 where the end token is missing.

    `paid` (K, B) is what each objective's stream pays: z itself, unless the objectives are combined otherwise.
    `credit` says where in a response it is paid. `behaviour` is there where another sampler wrote the responses.
    """

    samples: list[Sample]
    batch: Batch
    scores: Tensor
    z: Tensor
    unfinished: Tensor
    paid: Tensor
    credit: Credit
    behaviour: Behaviour | None = None


def step_prompts(prompts: Sequence[Prompt], count: int, seed: int, step: int, even_tags: bool = False) -> list[Prompt]:
    """Return the prompts of a step: one shuffled pass over all prompts after another.

    With `even_tags` the prompts of each set of tags have passes of their own, which take turns.
    """
    kinds = sorted({prompt.tags for prompt in prompts}) if even_tags else []
    groups = [[prompt for prompt in prompts if prompt.tags == kind] for kind in kinds] or [prompts]
    turns = range(step * count, (step + 1) * count)
    return [in_passes(groups[turn % len(groups)], 1, seed, turn // len(groups), "prompts")[0] for turn in turns]


def in_passes(items: Sequence[T], count: int, seed: int, turn: int, name: str) -> list[T]:
    """Return the `count` items of a turn; turns continue one another through shuffled passes over all items.

    `name` says what they are; passes under different names are shuffled differently.
    """
    if not items:
        raise TrainingFailed(f"there are no {name} to train on")
    orders: dict[int, list[int]] = {}
    chosen = []
    for position in range(turn * count, (turn + 1) * count):
        epoch, index = divmod(position, len(items))
        if epoch not in orders:
            generator = torch.Generator().manual_seed(derived_seed(seed, name, epoch))
            orders[epoch] = torch.randperm(len(items), generator=generator).tolist()
        chosen.append(items[orders[epoch][index]])
    return chosen


def shuffled(rollout: Rollout, samples_per_prompt: int, seed: int) -> Rollout:
    """Return the rollout with each response paid, at its end, what was due to one drawn among those to its prompt.

    With one response to a prompt it is drawn among all. What a response is paid then says nothing about it.
    """
    each = samples_per_prompt if samples_per_prompt > 1 else rollout.paid.shape[1]
    paid = rollout.paid.unflatten(1, (-1, each))
    lots = torch.rand(paid.shape[1:], generator=torch.Generator().manual_seed(seed)).argsort(1).to(paid.device)
    paid = paid.gather(2, lots.expand_as(paid)).flatten(1)
    return rollout._replace(paid=paid, credit=no_credit(len(paid), rollout.batch.mask))


def unpaid(rollout: Rollout) -> Rollout:
    """Return the rollout with no score paid for it."""
    return rollout._replace(
        paid=torch.zeros_like(rollout.paid), credit=no_credit(len(rollout.paid), rollout.batch.mask)
    )


def roll_out(
    policy: Policy,
    reward_models: Sequence[Scorer],
    norm_pack: NormPack,
    prompts: Sequence[Prompt],
    config: PpoConfig,
    max_tokens: int,
    seed: int,
    principles: Sequence[Principle] = (),
    ranks: Ranks = ALONE,
    sampler: RemoteSampler | None = None,
    step: int = 0,
) -> Rollout:
    """Sample `samples_per_prompt` responses to each prompt, score them by every reward model and standardise.

    A score is the ensemble's mean; z is the standardised score less what the principles' rules take. Each process
    writes and scores the responses to its share of the prompts, and all of them have all. A `sampler` writes them
    instead, by the policy as it is after `step` steps.
    """
    backbone, n = policy.backbone, config.samples_per_prompt
    ids = [backbone.render(prompt.messages) for prompt in prompts]
    asked = ranks.share(len(prompts))
    own = slice(n * asked.start, n * asked.stop)
    draw = Draw(n, config.temperature, max_tokens, seed, own)
    written = write_responses(policy, step, ids, draw, ranks, sampler)
    ids = [row for row in ids for _ in range(n)]
    samples = _samples(policy, written, [prompt for prompt in prompts for _ in range(n)], seed)
    with backbone.gathered():
        scored = _scored(reward_models, samples, own, ranks)
    scores = torch.stack([members.replies.mean(1) for members, _ in scored])
    for model, row in zip(reward_models, scores, strict=True):
        if not torch.isfinite(row).all():
            raise TrainingFailed(f"the reward model of '{model.objective}' gave a score that is not finite")
    z = standardise(scores, torch.tensor(norm_pack.mean), torch.tensor(norm_pack.sd), config.score_clip)
    z = after_rules(z, samples, principles, norm_pack.objectives, config.score_clip)
    unfinished = torch.tensor([not result.finished for result in written.rows]).float()
    batch = make_batch(backbone, ids, [result.tokens for result in written.rows])
    z = z.to(batch.ids.device)
    texts = [(sample.response, result.tokens) for sample, result in zip(samples, written.rows, strict=True)]
    credit = line_credit(backbone, texts, scored, norm_pack.sd, batch.mask)
    behaviour = None if sampler is None else behaviour_of(written, batch)
    return Rollout(samples, batch, scores, z, unfinished.to(batch.ids.device), z, credit, behaviour)


def _scored(
    reward_models: Sequence[Scorer], samples: Sequence[Sample], own: slice, ranks: Ranks
) -> list[tuple[Members, StepPool]]:
    """Every model's scores of all samples, of which this process reads its `own`."""
    found = score_each(reward_models, [(sample.prompt, sample.response) for sample in samples[own]])
    parts = ranks.gather([(members.replies.tolist(), members.steps) for members, _ in found])
    return [
        (
            Members(
                torch.tensor([row for part in parts for row in part[k][0]]),
                [tuple(steps) for part in parts for steps in part[k][1]],
            ),
            pool,
        )
        for k, (_, pool) in enumerate(found)
    ]


def _samples(policy: Policy, written: Written, prompts: Sequence[Prompt], seed: int) -> list[Sample]:
    return [
        Sample(
            id=content_id("sample", policy.adapter, prompt.id, seed, index),
            prompt=prompt,
            response=policy.backbone.decode(result.tokens),
            policy_version=written.version,
            finished=result.finished,
            tokens=len(result.tokens),
            logprob=sum(result.logprobs),
            seed=seed,
            stage="ppo",
        )
        for index, (prompt, result) in enumerate(zip(prompts, written.rows, strict=True))
    ]
