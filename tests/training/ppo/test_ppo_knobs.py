"""PPO's knobs: each does what it says, in the loop."""

import pytest
import torch
from pydantic import ValidationError

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models.batching import make_batch
from rlhf_core.models.policy import Policy
from rlhf_core.records.samples import Demonstration
from rlhf_core.training.ppo.ptx import Replay
from rlhf_core.training.ppo.rollout import shuffled
from rlhf_core.training.ppo.state import PpoState
from rlhf_core.training.ppo.targets import evaluate_once, fix_targets
from rlhf_core.training.ppo.trainer import PpoStep, train_ppo
from rlhf_core.training.ppo.update import optimise, too_far, update
from tests.training.conftest import PROMPTS, Rule, files_of, handmade, pack_for, shake, weights_of
from tests.training.published_ppo import plain_ppo

LOW, HIGH = Rule("low", "P"), Rule("high", "d")
Z = [[1.0, -0.5, 0.25, 2.0], [0.5, 1.0, -1.0, 0.0]]
WEIGHTS = torch.tensor([0.6, 0.8, 1.0])
SMALL = plain_ppo(steps=2, prompts_per_step=8, minibatch_size=4, epochs=2, learning_rate=3e-3, kl_coef=0.03)
SHOWN = [Demonstration(prompt=prompt, response="dust it", source="revision") for prompt in PROMPTS[:6]]


def with_options(**options: object) -> PpoConfig:
    return PpoConfig.model_validate(SMALL.model_dump() | options)


def steps_of(policy: Policy, config: PpoConfig, demonstrations=(), checkpoint=None) -> list[PpoStep]:
    pack, weights = pack_for(policy, (LOW, HIGH)), {"low": 1.0, "high": 1.0}
    replay = Replay.begin(policy.backbone, demonstrations, config, 0)
    units = train_ppo(policy, (LOW, HIGH), pack, PROMPTS, weights, config, 8, 0, checkpoint, replay)
    return [unit for unit in units if unit is not None]


def one_step(policy: Policy, config: PpoConfig):
    rollout, state = handmade(policy, Z), PpoState.begin(policy, config, None)
    targets = fix_targets(policy, rollout, WEIGHTS, state.kl_coef, config)
    return list(optimise(state, rollout.batch, targets, WEIGHTS, config, seed=0)), targets, state


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kl_in": "loss"}, "needs kl_estimator k2 or k3"),
        ({"advantage": "rloo"}, "samples_per_prompt is 1; allowed: 2 or more"),
        ({"max_ratio": 1.0}, "greater than 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        with_options(**options)


@pytest.mark.parametrize("advantage", ["rloo", "grpo"])
def test_without_a_critic_the_critic_does_not_move_and_nothing_is_said_of_it(new_policy, advantage):
    policy = new_policy()
    config = with_options(advantage=advantage, samples_per_prompt=4, prompts_per_step=3, minibatch_size=6)
    steps = steps_of(policy, config)
    assert len(steps[0].samples) == 12 and steps[0].scores.shape == (2, 12)
    assert [s.prompt.id for s in steps[0].samples[:4]] == [steps[0].samples[0].prompt.id] * 4
    assert not policy.value_heads.weight.any() and "explained_variance" not in steps[0].metrics.values
    assert steps[-1].state.optimizer.update == 2 * 2 * 2


def test_kl_in_the_loss_pulls_towards_the_reference_and_leaves_the_rewards_alone(new_policy):
    policy = new_policy()
    shake(policy)
    config = with_options(kl_in="loss", kl_estimator="k3", kl_coef=0.5)
    _, targets, _ = one_step(policy, config)
    free = fix_targets(policy, handmade(policy, Z), WEIGHTS, 0.0, config)
    torch.testing.assert_close(free.returns, fix_targets(policy, handmade(policy, Z), WEIGHTS, 9.0, config).returns)
    ends = []
    for kl_coef in (0.0, 100.0):
        policy = new_policy()
        shake(policy)
        one_step(policy, with_options(kl_in="loss", kl_estimator="k3", kl_coef=kl_coef, epochs=20))
        batch = handmade(policy, Z).batch
        gap = policy.evaluate(batch).logprobs - policy.reference_logprobs(batch)
        ends.append(gap.square().sum().item())
    assert ends[1] < ends[0] / 2 and targets.kl.min() >= 0


def test_a_policy_that_goes_too_far_ends_the_steps_updates_unmoved_by_the_last(new_policy):
    policy = new_policy()
    done, _, state = one_step(policy, with_options(learning_rate=0.05, epochs=8, max_update_kl=0.02))
    assert not done[-1].applied and done[-1].approx_kl > 0.02 and len(done) < 8
    assert all(row.applied and row.approx_kl <= 0.02 for row in done[:-1])
    assert state.optimizer.update == len(done) - 1
    state.advance(torch.zeros(4), (), SMALL)
    assert state.optimizer.update == SMALL.updates_per_step
    limits = with_options(max_update_kl=0.1, max_ratio=1.5)
    assert [too_far(*case, limits) for case in ((0.1, 1.5), (0.11, 1.0), (0.0, 1.6))] == [False, True, True]
    assert not too_far(9.0, 9.0, SMALL)


def test_an_update_that_was_not_applied_moves_nothing(new_policy):
    policy = new_policy()
    shake(policy)
    config = with_options(max_ratio=1.0001, micro_batch_size=1)
    rollout, state = handmade(policy, Z), PpoState.begin(policy, config, None)
    targets = fix_targets(policy, rollout, WEIGHTS, 0.1, config)
    targets = targets._replace(old=targets.old._replace(logprobs=targets.old.logprobs - 0.5))
    before = weights_of(policy)
    done = update(state, rollout.batch, targets, torch.arange(4), WEIGHTS, config)
    assert not done.applied and done.ratio == pytest.approx(1.6487, abs=1e-3)  # e^0.5
    assert all(torch.equal(tensor, before[key]) for key, tensor in weights_of(policy).items())
    assert all(parameter.grad is None for parameter in policy.parameters())


def test_whitening_of_advantages_is_a_choice_and_that_of_critic_free_ones_is_off_unless_asked_for(new_policy):
    policy = new_policy()
    shake(policy)
    rollout = handmade(policy, Z)
    plain = fix_targets(policy, rollout, WEIGHTS, 0.1, with_options(whiten_advantages=False))
    torch.testing.assert_close(plain.advantages, plain.streams @ WEIGHTS)
    group = {"advantage": "rloo", "samples_per_prompt": 2}
    assert not with_options(**group).whitens and with_options(**group, whiten_advantages=True).whitens
    assert SMALL.whitens
    white = fix_targets(policy, rollout, WEIGHTS, 0.1, with_options(whiten_rewards=True, whiten_advantages=False))
    keep = rollout.batch.mask.bool()
    assert (white.returns - plain.returns)[keep].abs().max() > 1e-3


def test_the_entropy_bonus_keeps_entropy_up(new_policy):
    ends = []
    for entropy_coef in (0.0, 1.0):
        policy = new_policy()
        one_step(policy, with_options(entropy_coef=entropy_coef, epochs=10))
        batch = handmade(policy, Z).batch
        ends.append((policy.evaluate(batch).entropy * batch.mask).sum().item() / batch.mask.sum().item())
    assert ends[1] > ends[0] + 0.02


def test_the_first_pass_of_a_step_serves_as_the_old_policy_where_it_holds_the_whole_batch(new_policy):
    ends = []
    for micro in (None, 4):  # in the second case the same rows pass in one micro-batch of their own
        policy = new_policy()
        shake(policy)
        config = with_options(micro_batch_size=micro, epochs=2)
        rollout, state = handmade(policy, Z), PpoState.begin(policy, config, None)
        own = evaluate_once(policy, rollout.batch, config) if micro is None else None
        assert (own is None) == (micro is not None)
        targets = fix_targets(policy, rollout, WEIGHTS, 0.1, config, own)
        assert not any(part.requires_grad for part in (*targets.old, targets.advantages))
        list(optimise(state, rollout.batch, targets, WEIGHTS, config, 0, own=own))
        ends.append(weights_of(policy))
    for key, tensor in ends[0].items():
        torch.testing.assert_close(ends[1][key], tensor, atol=1e-5, rtol=0)
    assert evaluate_once(policy, rollout.batch, with_options(minibatch_size=3)) is None


def skill(policy: Policy) -> float:
    """Mean negative log-probability of the demonstrations."""
    backbone = policy.backbone
    prompts = [backbone.render(row.prompt.messages) for row in SHOWN]
    batch = make_batch(backbone, prompts, [backbone.encode_response(row.response) for row in SHOWN])
    return -(policy.evaluate(batch).logprobs.sum() / batch.mask.sum()).item()


def test_replayed_demonstrations_keep_the_skill_that_ppo_would_lose(new_policy):
    ends = []
    for ptx_coef in (0.0, 1.0):
        policy = new_policy()
        before = skill(policy)
        steps = steps_of(policy, with_options(ptx_coef=ptx_coef, ptx_batch_size=3, steps=4), SHOWN)
        ends.append(skill(policy) - before)
        assert (steps[-1].metrics.values["ptx_loss"] > 0) == (ptx_coef > 0)
    assert ends[1] < 0 and ends[1] < ends[0] - 0.2
    with pytest.raises(InvalidInput, match="nothing to replay; allowed: 0"):
        steps_of(new_policy(), with_options(ptx_coef=1.0))


def test_a_ppo_that_pays_nothing_leaves_the_policy_as_it_was(new_policy):
    """The control: where neither KL nor a missing end costs anything, every response is worth the same."""
    policy, options = (
        new_policy(),
        {"advantage": "rloo", "samples_per_prompt": 2, "steps": 2, "missing_eos_penalty": 0.0},
    )
    config = with_options(pays="nothing", kl_coef=0.0, **options)
    before = weights_of(policy)
    steps = steps_of(policy, config)
    assert steps[-1].scores.std() > 0
    assert all(torch.equal(tensor, before[key]) for key, tensor in weights_of(policy).items())
    assert steps[-1].metrics.values["reward"] == 0


def test_shuffled_scores_stay_with_their_prompt_and_come_to_any_response_as_often(new_policy):
    """Two prompts of two responses: the first is paid its own as often as the other's."""
    rollout = handmade(new_policy(), Z)
    own = [1.0, -0.5]
    drawn = [shuffled(rollout, 2, seed).paid for seed in range(400)]
    assert all(paid[0, :2].sort().values.tolist() == sorted(own) for paid in drawn)
    assert all(paid[0, 2:].sort().values.tolist() == [0.25, 2.0] for paid in drawn)
    # Both objectives of a response are drawn together: (1, .5) and (-.5, 1).
    assert {tuple(paid[:, 0].tolist()) for paid in drawn} == {(1.0, 0.5), (-0.5, 1.0)}
    assert sum(paid[0, 0].item() for paid in drawn) / 400 == pytest.approx(0.25, abs=0.15)  # 4 standard errors
    assert torch.equal(shuffled(rollout, 2, 7).paid, shuffled(rollout, 2, 7).paid)
    alone = {shuffled(rollout, 1, seed).paid[0, 0].item() for seed in range(100)}
    assert alone == {1.0, -0.5, 0.25, 2.0}


def test_a_ppo_that_is_paid_shuffled_scores_moves_as_far_and_does_not_learn_what_they_ask_for(new_policy):
    options = {"advantage": "rloo", "samples_per_prompt": 4, "prompts_per_step": 6, "minibatch_size": 24, "epochs": 1}
    free = {"kl_coef": 0.0, "missing_eos_penalty": 0.0, "learning_rate": 3e-2, "lr_schedule": "constant", "steps": 20}
    moved, rise = {}, {}
    for pays in ("scores", "shuffled"):
        policy = new_policy()
        before = weights_of(policy)
        found = [
            step.scores.sum(0).mean().item() for step in steps_of(policy, with_options(pays=pays, **options, **free))
        ]
        moved[pays] = max((tensor - before[key]).abs().max().item() for key, tensor in weights_of(policy).items())
        rise[pays] = sum(found[-4:]) / 4 - sum(found[:4]) / 4
    assert moved["shuffled"] > 0.3 * moved["scores"]
    assert rise["scores"] > 3 and rise["shuffled"] < 2


def test_a_run_that_said_yes_or_no_to_paying_says_the_same_today():
    assert [with_options(pays=given).pays for given in (True, False)] == ["scores", "nothing"]
    with pytest.raises(ValidationError, match="'scores', 'shuffled' or 'nothing'"):
        with_options(pays="some")


def whole_policy(new_policy, kind: str) -> Policy:
    policy = new_policy(kind=kind)
    policy.backbone.adapters.delete("policy")
    policy.backbone.adapters.add_dense("policy", "reference")
    return policy


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
def test_full_fine_tuning_moves_every_weight_and_resumes_bit_for_bit(new_policy, tmp_path, kind):
    policy = whole_policy(new_policy, kind)
    base = {key: tensor.clone() for key, tensor in policy.backbone.model.state_dict().items()}
    start = weights_of(policy)
    first, last = steps_of(policy, SMALL)
    assert first.metrics.values["kl"] == pytest.approx(0, abs=1e-4)
    assert all(not torch.equal(tensor, start[key]) for key, tensor in weights_of(policy).items())
    assert all(torch.equal(tensor, base[key]) for key, tensor in policy.backbone.model.state_dict().items())
    last.state.save(tmp_path / "straight")
    cut, saved = whole_policy(new_policy, kind), tmp_path / "saved"
    units = train_ppo(cut, (LOW, HIGH), pack_for(cut, (LOW, HIGH)), PROMPTS, {"low": 1.0, "high": 1.0}, SMALL, 8, 0)
    next(unit for unit in units if unit is not None).state.save(saved)
    resumed = whole_policy(new_policy, kind)
    shake(resumed)
    steps_of(resumed, SMALL, checkpoint=saved)[-1].state.save(tmp_path / "resumed")
    assert files_of(tmp_path / "resumed") == files_of(tmp_path / "straight")
