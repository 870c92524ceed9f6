"""How much of each kind of work a stage of a run does: counted from its configuration, without a model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from rlhf_core.config.run import CritiqueConfig, RunConfig, stages_of
from rlhf_core.planning.records import Yields
from rlhf_core.records.base import Stage
from rlhf_core.stages.demonstrations import REPLAYED
from rlhf_core.training.rehearsal import TEXTS, WRITTEN_AT_ONCE

Kind = Literal["write", "criticise", "compare", "tune", "reward", "score", "step", "skill"]
ANSWERED, SCORED, JUDGED = 64, 256, 64
"""Prompts of a call for replies, replies of one for scores, and pairs of one for votes."""


class Work(NamedTuple):
    """So many items of a kind, at most `per_call` of them at once."""

    kind: Kind
    items: float
    per_call: int = 1


class Known(NamedTuple):
    """What is known of a run before it begins, beside its configuration."""

    train: int
    heldout: int
    piece: int
    """Prompts that critique and labelling take at a time."""
    critique: CritiqueConfig
    """With what the constitution says of it."""
    objectives: tuple[str, ...]
    yields: Yields
    own: int = 0
    """Rows of the user's demonstrations."""
    own_labels: Mapping[str, int] = MappingProxyType({})
    """Objective -> labels in the user's files."""
    imported: int = 0
    """Pairs of the user's on which the judge is measured."""
    world: bool = True
    """Whether there is a world, whose skills are tested."""


def workload(config: RunConfig, known: Known) -> dict[Stage, list[Work]]:
    """Return what each stage that the run goes through asks of models, in their order."""
    counted = {
        "critique": _critique,
        "sft": _sft,
        "label": _label,
        "reward": _reward,
        "norm_pack": _norm_pack,
        "ppo": _ppo,
        "control": lambda config, known: [Work("step", config.ppo.control_steps)],
        "evaluate": _evaluate,
        "report": lambda config, known: [],
    }
    return {stage: counted[stage](config, known) for stage in stages_of(config)}


def _critique(config: RunConfig, known: Known) -> list[Work]:
    answers = min(known.critique.prompts, known.train)
    return [Work("write", answers, known.piece), Work("criticise", answers, known.piece)]


def _sft(config: RunConfig, known: Known) -> list[Work]:
    answers = min(known.critique.prompts, known.train)
    shown = answers * known.yields.demonstrations + known.own
    if config.kind == "sft" and known.own:
        shown, mixed = known.own, 0.0
    else:
        share = config.sft.helpful_share
        mixed = min(shown * share / (1 - share), known.train - answers)
    updates = config.sft.epochs * -(-(shown + mixed) // config.sft.batch_size)
    texts = [Work("write", TEXTS, WRITTEN_AT_ONCE)] if config.sft.rehearsal_coef else []
    return [Work("write", mixed, min(known.piece, ANSWERED)), *texts, Work("tune", updates)]


def _label(config: RunConfig, known: Known) -> list[Work]:
    label = config.label
    steered = int(label.pairs * label.steered_share)
    plain = label.pairs - steered
    replies = 2 * steered + plain * (1 + label.candidates)
    pieces = known.piece * (1 + label.candidates) // 2
    # The judge is measured on the user's pairs under the principles of one objective alone.
    compared = label.pairs + known.imported / len(known.objectives)
    return [Work("write", replies, pieces), Work("compare", compared, min(known.piece, JUDGED))]


def _reward(config: RunConfig, known: Known) -> list[Work]:
    reward = config.reward
    kept = (1 - reward.heldout_share) * (1 - reward.stop_share)
    each = {
        name: kept * (config.label.pairs * known.yields.examples.get(name, 0.0) + known.own_labels.get(name, 0))
        for name in known.objectives
    }
    trained = [max(each.values())] if reward.layout == "trunk" else list(each.values())
    roles = [1 - reward.auditor_share, reward.auditor_share] if reward.auditor_share else [1.0]
    updates = sum(-(-(examples * share) // reward.batch_size) for examples in trained for share in roles)
    # Held-out pairs measure the models, and all pairs are scored for the order in which people are asked about them.
    scored = len(roles) * reward.heldout_share + (reward.members > 1)
    work = [Work("reward", reward.epochs * updates), Work("score", 2 * config.label.pairs * scored, SCORED)]
    if reward.reference:
        work.insert(0, Work("write", min(config.label.pairs, known.train), SCORED))
    return work


def _norm_pack(config: RunConfig, known: Known) -> list[Work]:
    prompts = min(config.norm.prompts, known.train)
    replies = prompts * config.norm.samples
    best = min(config.norm.best_of_prompts, known.heldout) * config.norm.best_of
    together = min(known.piece, ANSWERED) * config.norm.samples
    return [Work("write", replies + best, together), Work("score", _judges(config) * (replies + best), SCORED)]


def _ppo(config: RunConfig, known: Known) -> list[Work]:
    ppo = config.ppo
    looks = 1 + sum(step % ppo.eval_every == 0 or step in (1, ppo.steps) for step in range(1, ppo.steps + 1))
    watched = looks * min(ppo.eval_prompts, known.heldout)
    replayed = Work("write", min(REPLAYED, known.train), min(known.piece, ANSWERED))
    return [
        *([replayed] if ppo.ptx_coef and config.data.replay is None else []),
        Work("step", ppo.steps),
        Work("write", watched, min(ppo.eval_prompts, known.heldout)),
        Work("score", _judges(config) * watched, ppo.eval_prompts),
    ]


def _evaluate(config: RunConfig, known: Known) -> list[Work]:
    settings = config.evaluation
    asked = min(settings.prompts, known.heldout) + min(settings.training_prompts, known.train)
    policies = 3 + bool(config.ppo.control_steps)
    replies = policies * asked * settings.samples
    work = [Work("write", replies, min(known.piece, ANSWERED)), Work("score", _judges(config) * replies, SCORED)]
    if config.reward.reference:
        work.insert(1, Work("write", asked, SCORED))
    return [*work, Work("skill", settings.skills, ANSWERED)] if settings.skills and known.world else work


def _judges(config: RunConfig) -> int:
    """Twice as many where each reward model has an auditor."""
    return 2 if config.reward.auditor_share else 1
