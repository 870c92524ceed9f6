"""Iterated rounds: pairs of the trained policy's own samples are labelled, and the reward models learn from all rounds.

A reward model is right about the kind of replies that it has seen, and PPO moves the policy away from these. Every
round starts PPO from the fine-tuned policy again, which is the robust choice (arXiv 2505.18126).
"""

from __future__ import annotations

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.stages.ancestry import results_of
from rlhf_core.stages.context import Context


def labelled_policy(ctx: Context) -> str:
    """Return the policy version whose samples are compared: the fine-tuned one, or that of the round before.

    Raises: InvalidInput when `label.on_policy` asks for a policy that no PPO has made.
    """
    if not ctx.config.label.on_policy:
        return ctx.need("sft").policy_version
    source = ctx.config.from_run
    trained = results_of(ctx.store, source).get("ppo") if source else None
    if trained is None:
        raise InvalidInput(
            f"label.on_policy: run '{source or ''}' has trained no policy by PPO; allowed: a from_run that has",
            "label.on_policy",
        )
    return trained.policy_version


def label_runs(ctx: Context, run_id: str) -> list[str]:
    """Return the runs whose labels train together: this one, and for a later round those of the rounds before."""
    rounds = [run_id]
    while True:
        config = RunConfig.stored(ctx.store.runs.get(rounds[-1]).config)
        before = results_of(ctx.store, config.from_run) if config.label.on_policy and config.from_run else {}
        if "label" not in before:
            return rounds
        rounds.append(before["label"].run_id)
