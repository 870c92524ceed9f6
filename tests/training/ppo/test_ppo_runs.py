"""What must hold of whole runs of the PPO loop."""

import math
from pathlib import Path

import pytest
import torch

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.errors import TrainingFailed
from rlhf_core.models.batching import Batch
from rlhf_core.models.policy import Policy
from rlhf_core.records.samples import Demonstration
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.training.ppo.credit import no_credit
from rlhf_core.training.ppo.metrics import step_metrics
from rlhf_core.training.ppo.ptx import Replay
from rlhf_core.training.ppo.scalarization import standardise
from rlhf_core.training.ppo.state import PpoState
from rlhf_core.training.ppo.targets import fix_targets
from rlhf_core.training.ppo.trainer import PpoStep, train_ppo
from rlhf_core.training.ppo.update import optimise
from tests.training.conftest import PROMPTS, Rule, files_of, handmade, pack_for, shake, weights_of
from tests.training.published_ppo import plain_ppo

KINDS = ("llama", "gpt2", "qwen3")
LOW, HIGH = Rule("low", "P"), Rule("high", "d")
SMALL = plain_ppo(steps=3, prompts_per_step=8, minibatch_size=4, epochs=2, learning_rate=3e-3, kl_coef=0.03)
SHOWN = [Demonstration(prompt=prompt, response="dust it", source="revision") for prompt in PROMPTS[:5]]
Z = [[1.0, -0.5, 0.25, 2.0], [0.5, 1.0, -1.0, 0.0]]
WEIGHTS = torch.tensor([0.6, 0.8, 1.0])


def with_options(**options: object) -> PpoConfig:
    return PpoConfig.model_validate(SMALL.model_dump() | options)


def steps_of(policy: Policy, config: PpoConfig = SMALL, rules=(LOW, HIGH), weights=None, **options) -> list[PpoStep]:
    weights = weights or {rule.objective: 1.0 for rule in rules}
    pack = options.pop("pack", None) or pack_for(policy, rules)
    replay = Replay.begin(policy.backbone, SHOWN, config, 0)
    units = train_ppo(policy, rules, pack, PROMPTS, weights, config, 8, 0, replay=replay, **options)
    return [unit for unit in units if unit is not None]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_frozen_stays_frozen_and_the_base_is_the_base_bit_for_bit(new_policy, kind):
    policy = new_policy(kind=kind)
    backbone, ids = policy.backbone, torch.tensor([[5, 17, 80, 33]])
    judge = RewardModel.create(backbone, "reward", "low", members=2, seed=1)
    with torch.no_grad(), backbone.adapters.using(None):
        logits = backbone.model(ids).logits
    own = {id(parameter) for parameter in backbone.adapters.parameters("policy")}
    frozen = [*backbone.model.named_parameters(), *judge.heads.named_parameters()]
    before = {name: p.detach().clone() for name, p in frozen if id(p) not in own}
    start = weights_of(policy)
    config = with_options(steps=1)
    steps_of(policy, config, (judge, HIGH), pack=pack_for(policy, (LOW, HIGH)))
    for name, parameter in frozen:
        assert id(parameter) in own or torch.equal(parameter, before[name]), name
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    with torch.no_grad(), backbone.adapters.using(None):
        assert torch.equal(backbone.model(ids).logits, logits)
    with backbone.adapters.using("policy", train=True):
        trained = {id(p) for p in backbone.model.parameters() if p.requires_grad}
    assert trained == own
    assert all(not torch.equal(tensor, start[key]) for key, tensor in weights_of(policy).items())


def test_objectives_have_mean_0_and_sd_1_under_the_reference_whatever_their_scale(new_policy):
    ends = []
    for scale in (1.0, 1024.0):
        policy, rule = new_policy(("low",)), Rule("low", "P", scale)
        pack = pack_for(policy, (rule,))
        scores = torch.linspace(-3, 5, 9)[None] * pack.sd[0] + pack.mean[0]
        z = standardise(scores, torch.tensor(pack.mean), torch.tensor(pack.sd), 10.0)
        torch.testing.assert_close(z[0], torch.linspace(-3, 5, 9), atol=1e-4, rtol=0)
        steps_of(policy, with_options(steps=2), (rule,))
        ends.append((pack, weights_of(policy)))
    (small, one), (large, other) = ends
    assert (large.mean[0], large.sd[0]) == pytest.approx((small.mean[0] * 1024, small.sd[0] * 1024))
    for key, tensor in one.items():
        torch.testing.assert_close(other[key], tensor, atol=1e-5, rtol=0)


def plain_advantages(rewards: list[float], values: list[float], lam: float) -> list[float]:
    """GAE of one critic, as the recursion over one response."""
    result, following = [], 0.0
    for t in reversed(range(len(rewards))):
        after = values[t + 1] if t + 1 < len(values) else 0.0
        following = rewards[t] + after - values[t] + lam * following
        result.insert(0, following)
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_streams_add_up_to_the_advantages_of_plain_ppo(new_policy, kind):
    policy = new_policy(kind=kind)
    shake(policy)
    rollout = handmade(policy, Z)
    config = with_options(whiten_advantages=False, missing_eos_penalty=0.5)
    targets = fix_targets(policy, rollout, WEIGHTS, 0.1, config)
    values = targets.old.values @ WEIGHTS
    kl = policy.evaluate(rollout.batch).logprobs - policy.reference_logprobs(rollout.batch)
    for row in range(4):
        length = int(rollout.batch.mask[row].sum())
        rewards = (-0.1 * kl[row, :length]).tolist()
        rewards[-1] += 0.6 * Z[0][row] + 0.8 * Z[1][row] - 0.5 * rollout.unfinished[row].item()
        expected = plain_advantages(rewards, values[row, :length].tolist(), 0.95)
        assert targets.advantages[row, :length].tolist() == pytest.approx(expected, abs=1e-5)


def test_an_objective_of_weight_0_is_as_if_absent_bit_for_bit(new_policy):
    alone, beside = new_policy(("low",)), new_policy(("low", "high"))
    steps_of(alone, rules=(LOW,), weights={"low": 1.0})
    steps_of(beside, weights={"low": 2.5, "high": 0.0})
    for one, other in zip(
        alone.backbone.adapters.parameters("policy"), beside.backbone.adapters.parameters("policy"), strict=True
    ):
        assert torch.equal(one, other)


class Broken(Rule):
    def score(self, conversations):
        return torch.where(torch.arange(len(conversations))[:, None] == 3, math.nan, super().score(conversations))


def test_one_score_that_is_not_a_number_stops_the_run_and_is_never_0(new_policy):
    policy = new_policy()
    pack = pack_for(policy, (LOW, HIGH))
    with pytest.raises(TrainingFailed, match="reward model of 'high' gave a score that is not finite"):
        steps_of(policy, rules=(LOW, Broken("high", "d")), pack=pack)


RESUMED = {
    "plain": {},
    "whole": {"minibatch_size": 16, "kl_target": 0.5, "lr_schedule": "cosine", "warmup_share": 0.2},
    "grpo": {"advantage": "grpo", "samples_per_prompt": 2, "kl_in": "loss", "kl_estimator": "k3", "ptx_coef": 0.3},
    "early": {"max_update_kl": 1e-4, "micro_batch_size": 3, "entropy_coef": 0.01, "whiten_rewards": True},
}
MORE = {
    "rloo": {"advantage": "rloo", "samples_per_prompt": 2, "ptx_coef": 1.0, "kl_target": 0.5},
    "gdpo": {"advantage": "rloo", "samples_per_prompt": 2, "kl_in": "loss", "kl_estimator": "k2"}
    | {"kl_target": 0.5, "dial": {"normalise": True}},
    "schedule": {"dial": {"between": "linear", "weights_at": {4: {"low": 0, "high": 3}}, "combine": "log_sigmoid"}},
    "floors": {"dial": {"combine": "constrained", "floors": {"low": 0.5, "high": -0.5}, "multiplier": 2.0}},
    "worst": {"dial": {"combine": "worst_case", "weights_at": {3: {"low": 1, "high": 0}}}},
    "constant": {"lr_schedule": "constant", "warmup_share": 0.5, "epochs": 3, "max_ratio": 1.02},
}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in MORE]


@pytest.mark.parametrize("name", [*RESUMED, *SLOW])
def test_a_resumed_run_ends_bit_for_bit_where_the_uninterrupted_one_does(new_policy, tmp_path, name):
    config = with_options(steps=4, **(RESUMED | MORE)[name])
    expected = steps_of(new_policy(), config)
    expected[-1].state.save(tmp_path / "straight")
    cut = new_policy()
    pack = pack_for(cut, (LOW, HIGH))
    replay = Replay.begin(cut.backbone, SHOWN, config, 0)
    units = train_ppo(cut, (LOW, HIGH), pack, PROMPTS, {"low": 1, "high": 1}, config, 8, 0, replay=replay)
    done = [unit for unit in units if unit is not None and (unit.state.step < 2 or save(unit, tmp_path / "saved"))]
    assert len(done) == 2
    resumed = new_policy()
    shake(resumed, seed=7)  # other weights, which the snapshot replaces
    rest = steps_of(resumed, config, checkpoint=tmp_path / "saved")
    assert [step.metrics.step for step in rest] == [3, 4]
    for step, other in zip(rest, expected[2:], strict=True):
        assert step.samples == other.samples
        assert {**step.metrics.values, "seconds": 0} == {**other.metrics.values, "seconds": 0}
    rest[-1].state.save(tmp_path / "resumed")
    assert files_of(tmp_path / "resumed") == files_of(tmp_path / "straight")
    if name == "early":
        assert all(step.metrics.values["updates"] < config.updates_per_step for step in expected)


def save(unit: PpoStep, folder: Path) -> bool:
    """Save the state once, after the second step."""
    if not folder.exists():
        unit.state.save(folder)
        return True
    return False


def test_a_new_critic_says_0_and_learns_the_returns(new_policy):
    policy = new_policy()
    rollout = handmade(policy, Z)
    assert not policy.evaluate(rollout.batch).values.any()
    config = plain_ppo(steps=1, epochs=60, minibatch_size=4, prompts_per_step=4, learning_rate=3e-2, value_coef=1.0)
    config = config.model_copy(update={"value_clip_range": None, "missing_eos_penalty": 0.0})
    state = PpoState.begin(policy, config, None)
    targets = fix_targets(policy, rollout, WEIGHTS, 0.0, config)
    losses = [done.value_loss for done in optimise(state, rollout.batch, targets, WEIGHTS, config, seed=0)]
    assert losses[-1] < losses[0] / 4


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_count_real_tokens_only(new_policy, kind):
    policy = new_policy(kind=kind)
    shake(policy)
    narrow = handmade(policy, Z)
    batch = Batch(*(torch.nn.functional.pad(part, (0, 6)) for part in narrow.batch))
    wide = narrow._replace(batch=batch, credit=no_credit(len(narrow.z), batch.mask))
    config = with_options(epochs=1, learning_rate=1e-12, kl_estimator="k3")
    state, result = PpoState.begin(policy, config, None), []
    for rollout in (narrow, wide):
        targets = fix_targets(policy, rollout, WEIGHTS, 0.1, config)
        updates = list(optimise(state, rollout.batch, targets, WEIGHTS, config, seed=0))
        result.append(step_metrics(rollout, targets, updates, WEIGHTS, state, config))
    assert result[1] == pytest.approx(result[0], abs=1e-4) and result[0]["entropy"] > 0
    assert result[0]["response_length"] == pytest.approx((3 + 2 + 5 + 1) / 4) and result[0]["unfinished"] == 0.25
    assert result[0]["kl"] > 1e-3


LEARNING = [("gae", 0), ("gae", 1), ("gae", 2), ("rloo", 0), ("grpo", 0)]


@pytest.mark.parametrize(("advantage", "seed"), LEARNING)
def test_the_policy_learns_what_is_rewarded(new_policy, advantage, seed):
    policy = new_policy(("low",), seed=seed)
    config = plain_ppo(
        steps=20,
        prompts_per_step=16 if advantage != "gae" else 32,
        samples_per_prompt=4 if advantage != "gae" else 1,
        advantage=advantage,
        minibatch_size=32,
        learning_rate=2e-2,
        kl_coef=0.0,
        missing_eos_penalty=0,
    )
    units = train_ppo(policy, (LOW,), pack_for(policy, (LOW,), 4), PROMPTS, {"low": 1.0}, config, 4, seed)
    z = [unit.metrics.values["z/low"] for unit in units if unit is not None]
    assert sum(z[-3:]) / 3 > sum(z[:3]) / 3 + 1.0
