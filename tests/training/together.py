"""Training by processes that learn together, beside the same by one: run by torchrun, for the tests.

torchrun --nproc-per-node 2 -m tests.training.together MODEL [CASE ...]

Prints, as JSON, how far the two are apart in each case: relative differences, of gradients the largest of all updates.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from rlhf_core.config.run import LoraConfig, ModelConfig, PassesConfig, RewardConfig, SftConfig
from rlhf_core.data.reward_examples import Label, LabelledPair, Ranking, Rating
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.divided import whole
from rlhf_core.models.policy import Policy
from rlhf_core.models.sharding import shard
from rlhf_core.records.runs import StepMetrics
from rlhf_core.records.samples import Demonstration, Prompt
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.training.parallel import ALONE, Ranks, joined
from rlhf_core.training.ppo.ptx import Replay
from rlhf_core.training.ppo.trainer import train_ppo
from rlhf_core.training.reward.trainer import train_reward_models
from rlhf_core.training.sft import train_sft
from tests.records import norm_pack
from tests.training.conftest import PROMPTS, Rule, shake
from tests.training.published_ppo import plain_ppo

SHOWN = [Demonstration(prompt=prompt, response="dust it" * (1 + i % 3)) for i, prompt in enumerate(PROMPTS[:5])]
PACK = norm_pack(
    objectives=("low", "high"),
    reward_models=("low", "high"),
    mean=(4.0, 4.0),
    sd=(1.5, 1.5),
    correlation=((1.0, 0.2), (0.2, 1.0)),
)
RECORDED = 3
"""Updates whose gradients are compared; to make divided ones whole takes a message for each parameter."""
BASE = {"steps": 3, "prompts_per_step": 6, "minibatch_size": 5, "epochs": 2, "learning_rate": 3e-3}
GROUP = {"advantage": "rloo", "samples_per_prompt": 4, "minibatch_size": 10}
PPO: dict[str, dict[str, Any]] = {
    "gae": {"kl_target": 0.5},
    "whole": {**GROUP, "minibatch_size": 24, "epochs": 3},
    "passes": {**GROUP, "micro_batch_size": 2, "ptx_coef": 0.3, "ptx_batch_size": 3, "entropy_coef": 0.01},
    "grpo": {**GROUP, "advantage": "grpo", "kl_in": "loss", "kl_estimator": "k3", "whiten_rewards": True},
    "early": {"max_update_kl": 1e-4, "dial": {"combine": "constrained", "floors": {"low": 0.5}}},
    "full": {**GROUP, "tune": "full"},
}


PASSES = " with other passes"
"""Cases of such a name have all of `model.passes` on."""


class Result(NamedTuple):
    """What a training left: texts that were written, numbers of its steps, gradients of its updates, what it moved."""

    texts: list[str]
    numbers: list[dict[str, float]]
    gradients: list[torch.Tensor]
    weights: torch.Tensor


def new_backbone(model: str, name: str) -> Backbone:
    on = name.endswith(PASSES)
    passes = PassesConfig(packing=on, recompute=on, fixed_cache=on, mixed_adapters=on)
    return Backbone.load(model, ModelConfig(base_model=model, lora=LoraConfig(rank=4, alpha=8), passes=passes))


def new_policy(model: str, tune: str, name: str) -> Policy:
    backbone = new_backbone(model, name)
    backbone.adapters.add("reference", 0)
    if tune == "full":
        backbone.adapters.add_dense("policy", "reference")
    else:
        backbone.adapters.copy("reference", "policy")
    policy = Policy(backbone, "policy", PACK.objectives, "reference")
    shake(policy, 0.02)
    return policy


def ppo(model: str, name: str, ranks: Ranks) -> Result:
    config = plain_ppo(**(BASE | PPO[name.removeprefix("divided ").removesuffix(PASSES)]))
    policy = new_policy(model, config.tune, name)
    judge = RewardModel.create(policy.backbone, "judge", "high", members=2, seed=1)
    divide(policy.backbone, "policy", name, ranks)
    replay = Replay.begin(policy.backbone, SHOWN, config, 0)
    scorers: Any = (Rule("low", "P"), judge)
    weights = {"low": 1.0, "high": 0.5}
    texts: list[str] = []
    steps: list[StepMetrics] = []
    with recorded() as gradients:
        for step in train_ppo(policy, scorers, PACK, PROMPTS, weights, config, 8, 0, None, replay, (), ranks):
            if step is not None:
                texts += [sample.response for sample in step.samples]
                steps.append(step.metrics)
    return Result(texts, numbers_of(steps), gradients, moved(policy.parameters()))


def sft(model: str, name: str, ranks: Ranks) -> Result:
    backbone = new_backbone(model, name)
    backbone.adapters.add("sft", 0)
    divide(backbone, "sft", name, ranks)
    config = SftConfig(epochs=2, batch_size=4, learning_rate=3e-3, rehearsal_coef=0.5, rehearsal_batch_size=3)
    texts = [[5 + i, 9, 7 + i, 11][: 2 + i % 3] for i in range(5)]
    with recorded() as gradients:
        steps = list(train_sft(backbone, "sft", SHOWN, config, 0, ranks=ranks, texts=texts))
    return Result([], numbers_of(steps), gradients, moved(backbone.adapters.parameters("sft")))


def reward(model: str, name: str, ranks: Ranks) -> Result:
    """Two models of one trunk, which learn from labels of several kinds; the last update has a single example."""
    backbone = new_backbone(model, name)
    backbone.adapters.add("reward", 0)
    models = [RewardModel(backbone, "reward", objective, members=2, seed=i) for i, objective in enumerate("ab")]
    divide(backbone, "reward", name, ranks)
    config = RewardConfig(epochs=2, batch_size=3, learning_rate=3e-3, ties="davidson" if name == "ties" else "half")
    pairs = [LabelledPair(p, "*" * (2 + i), "-" * (5 - i), 0.9 if i % 2 else 0.2) for i, p in enumerate(PROMPTS[:4])]
    others: list[Label] = [
        Ranking(PROMPTS[5], ("x", "yy", "zzz"), (1.0, 2.0, 2.0)),
        Rating(PROMPTS[6], "rated", 3.0),
        Rating(PROMPTS[7], "rated too", 5.0),
        LabelledPair(Prompt.of("tie"), "one", "other", 0.5, tied=True),
    ]
    stop = [LabelledPair(p, "**", "--", 0.8) for p in PROMPTS[8:11]]
    with recorded() as gradients:
        found = train_reward_models(models, [pairs, pairs + others], config, 0, [stop, stop], ranks=ranks)
        steps = list(found)
    heads = [parameter for model in models for parameter in model.heads.parameters()]
    return Result([], numbers_of(steps), gradients, moved([*backbone.adapters.parameters("reward"), *heads]))


@contextmanager
def recorded() -> Iterator[list[torch.Tensor]]:
    """While the block lasts, the gradients that the first updates move along, clipped, one vector for each."""
    found: list[torch.Tensor] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        if len(found) == RECORDED:
            return
        every = [p for group in optimizer.param_groups for p in group["params"]]
        found.append(torch.cat([whole(p.grad.detach()).flatten() for p in every if p.grad is not None]))

    hook = register_optimizer_step_pre_hook(note)
    try:
        yield found
    finally:
        hook.remove()


def numbers_of(steps: list[StepMetrics]) -> list[dict[str, float]]:
    return [{name: value for name, value in step.values.items() if name != "seconds"} for step in steps]


CASES: dict[str, Callable[[str, str, Ranks], Result]] = {
    **dict.fromkeys(PPO, ppo),
    "sft": sft,
    "reward": reward,
    "ties": reward,
}
DIVIDED = {f"divided {name}": CASES[name] for name in ("gae", "whole", "passes", "sft", "reward")}
DIVIDED |= {f"divided {name}{PASSES}": CASES[name] for name in ("whole", "sft", "reward")}
"""The same with weights that the processes divide among them."""


def divide(backbone: Backbone, adapter: str, name: str, ranks: Ranks) -> None:
    if name in DIVIDED and ranks.size > 1:
        shard(backbone, adapter)


def moved(parameters: Iterable[torch.nn.Parameter]) -> torch.Tensor:
    """All parameters as one vector."""
    return torch.cat([whole(parameter.detach()).flatten() for parameter in parameters])


def apart(one: Result, other: Result) -> dict[str, object]:
    """How far two results are apart."""
    numbers = [(a[name], b[name]) for a, b in zip(one.numbers, other.numbers, strict=True) for name in b]
    return {
        "texts": one.texts == other.texts,
        "updates": len(one.gradients),
        "numbers": max(abs(a - b) / max(1.0, abs(b)) for a, b in numbers),
        "gradients": max(difference(a, b) for a, b in zip(one.gradients, other.gradients, strict=True)),
        "weights": difference(one.weights, other.weights),
    }


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The length of the difference of two vectors by the length of the second."""
    return float((one - other).norm() / other.norm())


def main(model: str, cases: list[str]) -> None:
    torch.set_num_threads(1)
    with joined() as ranks:
        found = {}
        for name in cases:
            print(f"rank {ranks.rank}: {name}", file=sys.stderr, flush=True)
            together = (CASES | DIVIDED)[name](model, name, ranks)
            if ranks.is_first:
                found[name] = apart(together, (CASES | DIVIDED)[name](model, name, ALONE))
        if ranks.is_first:
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or [*CASES, *DIVIDED])
