"""How a run keeps within its budget of memory: its micro-batches, chosen before its first stage from the longest texts.

They depend on the configuration, the model and the texts alone, so a run that is resumed chooses the same ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.config.run import RunConfig
from rlhf_core.data.reward_examples import StepLabels
from rlhf_core.errors import InvalidInput
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.encoder import Encoder
from rlhf_core.models.memory_budget import FIELD, program_bytes, rows_that_fit, told
from rlhf_core.models.reward_inputs import Row, beside
from rlhf_core.records.base import Stage
from rlhf_core.stages.context import Context
from rlhf_core.stages.imported.own_rows import DEMONSTRATIONS, LABELS, PPO, PREFERENCES, rows_of
from rlhf_core.stages.prompts import all_prompts

SCRATCH = "memory-probe"
"""Name of the adapter whose graph is measured."""
ADAPTERS = 8
"""Adapters that may be loaded beside the one that is trained: references, policies and reward models in use."""


class Longest(NamedTuple):
    """Tokens of the longest rows that a run trains on, and the most replies that one label is about."""

    rollout: int
    demonstration: int
    conversation: int
    replies: int = 2


def fit_to_memory(ctx: Context, stages: Collection[Stage]) -> Context:
    """Return the context with micro-batches that keep within `model.memory_budget`, noted; without one as it is.

    Raises: InvalidInput where a stage cannot pass a single row.
    """
    if ctx.config.model.memory_budget is None or not {"sft", "reward", *PPO} & {*stages}:
        return ctx
    longest = longest_rows(ctx, stages)
    reward_base = ctx.tools.base_of(ctx.config.reward.base_model)

    def fit() -> RunConfig:
        objectives = len(ctx.constitution.objective_names)
        return fitted(ctx.config, stages, longest, ctx.tools.backbone, reward_base, objectives)

    config = ctx.tools.on_device(fit)
    sizes = {
        "sft": config.sft.micro_batch_size,
        "reward": config.reward.micro_batch_size,
        "ppo": config.ppo.micro_batch_size,
    }
    shown = ", ".join(f"{name} {size}" for name, size in sizes.items() if size)
    ctx.note(f"{FIELD} {told(ctx.config.model.memory_budget)}: rows of a pass are {shown}")
    return ctx._replace(config=config)


def longest_rows(ctx: Context, stages: Collection[Stage]) -> Longest:
    """Measure the run's prompts and its own files, beside the longest responses that it may write."""
    backbone, config, found = ctx.tools.backbone, ctx.config, all_prompts(ctx)
    prompts = [*found.train, *found.heldout]
    prompt = max((len(backbone.render(one.messages)) for one in prompts), default=0)
    written = max(config.model.max_tokens, config.model.feedback_tokens)
    reference = 0
    if config.reward.reference and prompts:
        turns = len(backbone.render(beside(prompts[0], "").messages)) - len(backbone.render(prompts[0].messages))
        reference = turns + config.model.max_tokens
    demonstrations, conversations, replies = [prompt + written], [prompt + reference + written], [2]
    if config.sft.rehearsal_coef:
        demonstrations.append(config.sft.rehearsal_tokens + 1)
    data = config.data
    if "sft" in stages and data.demonstrations:
        for shown in rows_of(ctx, data.demonstrations, DEMONSTRATIONS):
            own = len(backbone.render(shown.prompt.messages)) + len(backbone.encode_response(shown.response))
            demonstrations.append(own)
    if "reward" in stages:
        base = ctx.tools.base_of(config.reward.base_model)
        own = rows_of(ctx, data.preferences, PREFERENCES) if data.preferences else []
        labels = [
            *own,
            *(label for path in data.labels.values() for rows in rows_of(ctx, path, LABELS) for label in rows),
        ]
        for label in labels:
            asked = [label.lines] if isinstance(label, StepLabels) else label.replies
            conversations += [reference + len(base.row(label.prompt, reply).ids) for reply in asked]
            replies.append(len(asked))
    if config.reward.max_tokens is not None:
        conversations = [min(length, config.reward.max_tokens) for length in conversations]
    return Longest(prompt + config.model.max_tokens, max(demonstrations), max(conversations), max(replies))


def fitted(
    config: RunConfig,
    stages: Collection[Stage],
    longest: Longest,
    backbone: Backbone,
    reward_base: Backbone | Encoder,
    objectives: int,
) -> RunConfig:
    """Return the configuration with micro-batches that keep within its budget. To be called where the model is used.

    Raises: InvalidInput where a stage cannot pass a single row, or replays more rows than fit.
    """
    budget, changes = config.model.memory_budget, {}
    if budget is None:
        return config
    programs = programs_of(backbone, reward_base)
    others = programs + (0 if reward_base is backbone else reward_base.weight_bytes)
    if "sft" in stages:
        what, full = "a step of supervised fine-tuning", config.sft.tune == "full"
        rows = _rows(backbone, longest.demonstration, budget, others, what, full=full)
        changes["sft"] = config.sft.model_copy(
            update=_smaller(config.sft.micro_batch_size, rows, config.sft.batch_size)
        )
    if "reward" in stages:
        held = programs + (0 if reward_base is backbone else backbone.weight_bytes)
        what = f"a reward model's step on {longest.replies} replies"
        layers, full = config.reward.layers, config.reward.tune == "full"
        rows = _rows(reward_base, longest.conversation, budget, held, what, longest.replies, layers, full)
        size = _smaller(config.reward.micro_batch_size, rows, config.reward.batch_size)
        changes["reward"] = config.reward.model_copy(update=size)
    if not PPO.isdisjoint(stages):
        others += _whole_copies(config, backbone, reward_base, objectives)
        rows = _rows(backbone, longest.rollout, budget, others, "a step of PPO", full=config.ppo.tune == "full")
        changes["ppo"] = _fitted_ppo(config.ppo, rows, budget)
    return config.model_copy(update=changes)


def programs_of(backbone: Backbone, reward_base: Backbone | Encoder) -> int:
    """Bytes of programs that a run's process comes to hold, whichever of its models they are for."""
    return max(program_bytes(backbone.model), program_bytes(reward_base.model))


def _fitted_ppo(ppo: PpoConfig, rows: int, budget: int) -> PpoConfig:
    """PPO in passes of so many rows at most."""
    if ppo.ptx_coef and ppo.ptx_batch_size > rows:
        raise InvalidInput(
            f"ppo.ptx_batch_size is {ppo.ptx_batch_size}, and {rows} rows fit {FIELD}, "
            f"{told(budget)}; allowed: at most {rows}, or a larger budget",
            "ppo.ptx_batch_size",
        )
    return ppo.model_copy(update=_smaller(ppo.micro_batch_size, rows, ppo.minibatch_size))


def _whole_copies(config: RunConfig, backbone: Backbone, reward_base: Backbone | Encoder, objectives: int) -> int:
    """Bytes of the weights that PPO holds whole beside its policy's: its reference's and its reward models'."""
    whole = [backbone.model] if config.sft.tune == "full" else []
    if config.reward.tune == "full":
        whole += [reward_base.model] * (1 if config.reward.layout == "trunk" else objectives)
    return sum(4 * weight.numel() for model in whole for weight in model.parameters())


def _smaller(given: int | None, rows: int, batch: int) -> dict[str, int | None]:
    """The size of a pass: what is given or the whole batch, if it fits."""
    return {"micro_batch_size": given if rows >= (given or batch) else rows}


def _rows(
    base: Backbone | Encoder,
    length: int,
    budget: int,
    others: int,
    what: str,
    together: int = 1,
    layers: int | None = None,
    full: bool = False,
) -> int:
    """How many examples of `together` rows fit, each of `length` tokens."""
    length = min(length, base.max_length)
    with _scratch(base, full) as trained:
        held = base.weight_bytes + others + 4 * ADAPTERS * (0 if full else sum(tensor.numel() for tensor in trained))

        def one_row() -> Tensor:
            with base.adapters.using(SCRATCH, train=True):
                if isinstance(base, Encoder) or together > 1:
                    row = Row(tuple(i % 8 for i in range(length)), ((0, length), (length - 1, length)), length)
                    return base.pooled([row], layers)
                ids = torch.arange(length, device=base.device)[None] % 8
                return base.hidden(ids, torch.ones_like(ids), length)

        return rows_that_fit(budget, held, trained, base.model, one_row, what, together)


@contextmanager
def _scratch(base: Backbone | Encoder, full: bool) -> Iterator[list[torch.nn.Parameter]]:
    """An adapter to be measured, while the block lasts; gives what it trains."""
    if full:
        base.adapters.add_dense(SCRATCH, None)
    else:
        base.adapters.add(SCRATCH, 0)
    try:
        yield base.adapters.parameters(SCRATCH)
    finally:
        base.adapters.delete(SCRATCH)
