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
from rlhf_core.inference.generate import Generated
from rlhf_core.models.batching import Batch, make_batch
from rlhf_core.models.policy import Policy
from rlhf_core.records.base import content_id
from rlhf_core.records.models import NormPack
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.reward_models.reward_model import Members, Scorer, score_each
from rlhf_core.seeding import derived_seed
from rlhf_core.training.parallel import ALONE, Ranks
from rlhf_core.training.ppo.credit import Credit, line_credit, no_credit
from rlhf_core.training.ppo.responses import Asked, Behaviour, Draw, Written, behaviour_of, write_responses
from rlhf_core.training.ppo.rule_penalties import after_rules
from rlhf_core.training.ppo.scalarization import standardise

if TYPE_CHECKING:
    from rlhf_core.inference.remote_sampler import RemoteSampler
    from rlhf_core.training.ppo.ahead import Ahead

T = TypeVar("T")


class Rollout(NamedTuple):
    """Samples of the policy as it is or was; scores and z (K, B), `unfinished` (B,) is 1 where the end is missing.

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


def asked_of(
    policy: Policy, prompts: Sequence[Prompt], config: PpoConfig, max_tokens: int, seed: int, ranks: Ranks = ALONE
) -> Asked:
    """Return what is asked for responses to these prompts, of which this process writes those to its share."""
    n, own = config.samples_per_prompt, ranks.share(len(prompts))
    draw = Draw(n, config.temperature, max_tokens, seed, slice(n * own.start, n * own.stop))
    return Asked([policy.backbone.render(prompt.messages) for prompt in prompts], draw)


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
    ahead: Ahead | None = None,
) -> Rollout:
    """Sample `samples_per_prompt` responses to each prompt, score them by every reward model and standardise.

    A score is the ensemble's mean; z is the standardised score less what the principles' rules take. Each process
    writes and scores the responses to its share of the prompts, and all of them have all. A `sampler` writes them
    instead, by the policy as it is after `step` steps, or has written some of them already, `ahead`.
    """
    backbone = policy.backbone
    asked = asked_of(policy, prompts, config, max_tokens, seed, ranks)
    repeated = [prompt for prompt in prompts for _ in range(asked.draw.n)]
    written, scored = _written_and_scored(policy, reward_models, asked, repeated, ranks, sampler, step, ahead)
    samples = _samples(policy, written, repeated, seed, step)
    scores = torch.stack([members.replies.mean(1) for members, _ in scored])
    _refuse_infinite(scores, reward_models)
    z = standardise(scores, torch.tensor(norm_pack.mean), torch.tensor(norm_pack.sd), config.score_clip)
    z = after_rules(z, samples, principles, norm_pack.objectives, config.score_clip)
    batch = make_batch(
        backbone, [row for row in asked.ids for _ in range(asked.draw.n)], [row.tokens for row in written.rows]
    )
    unfinished = torch.tensor([not row.finished for row in written.rows]).float().to(batch.ids.device)
    z = z.to(batch.ids.device)
    texts = [(sample.response, row.tokens) for sample, row in zip(samples, written.rows, strict=True)]
    credit = line_credit(backbone, texts, scored, norm_pack.sd, batch.mask)
    behaviour = behaviour_of(written, batch, step) if sampler is not None else None
    return Rollout(samples, batch, scores, z, unfinished, z, credit, behaviour)


def _written_and_scored(
    policy: Policy,
    reward_models: Sequence[Scorer],
    asked: Asked,
    prompts: Sequence[Prompt],
    ranks: Ranks,
    sampler: RemoteSampler | None,
    step: int,
    ahead: Ahead | None,
) -> tuple[Written, list[tuple[Members, StepPool]]]:
    """All rows, and every model's scores of them: at once, or a piece at a time where they are written ahead."""
    own = prompts[asked.draw.share]

    def score(rows: Sequence[Generated], piece: slice) -> list[tuple[Members, StepPool]]:
        texts = [policy.backbone.decode(row.tokens) for row in rows]
        return score_each(reward_models, list(zip(own[piece], texts, strict=True)))

    if ahead is None:
        written = write_responses(policy, step, asked, ranks, sampler)
        with policy.backbone.gathered():
            pieces = [score(written.rows[asked.draw.share], slice(None))]
    else:
        # Once around all pieces, of which another process may have more.
        with policy.backbone.gathered():
            written, pieces = ahead.take(step, score)
    return written, _joined(pieces, ranks)


def _refuse_infinite(scores: Tensor, reward_models: Sequence[Scorer]) -> None:
    for model, row in zip(reward_models, scores, strict=True):
        if not torch.isfinite(row).all():
            raise TrainingFailed(f"the reward model of '{model.objective}' gave a score that is not finite")


def _joined(pieces: Sequence[Sequence[tuple[Members, StepPool]]], ranks: Ranks) -> list[tuple[Members, StepPool]]:
    """Every model's scores of all samples, of which this process has scored these pieces."""
    told = [[(members.replies.tolist(), members.steps) for members, _ in piece] for piece in pieces]
    parts = [part for found in ranks.gather(told) for part in found]
    return [
        (
            Members(
                torch.tensor([row for part in parts for row in part[k][0]]),
                [tuple(steps) for part in parts for steps in part[k][1]],
            ),
            pool,
        )
        for k, (_, pool) in enumerate(pieces[0])
    ]


def _samples(policy: Policy, written: Written, prompts: Sequence[Prompt], seed: int, step: int) -> list[Sample]:
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
            staleness=step - written.step,
        )
        for index, (prompt, result) in enumerate(zip(prompts, written.rows, strict=True))
    ]
