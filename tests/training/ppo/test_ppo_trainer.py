"""The PPO loop on tiny models."""

import math

import pytest
import torch

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models.policy import Policy
from rlhf_core.records.models import NormPack
from rlhf_core.training.ppo.rollout import roll_out, step_prompts
from rlhf_core.training.ppo.targets import fix_targets
from rlhf_core.training.ppo.trainer import PpoStep, train_ppo
from tests.training.conftest import PROMPTS, Rule, pack_for
from tests.training.published_ppo import plain_ppo

LOW, HIGH = Rule("low", "P"), Rule("high", "d")
SMALL = plain_ppo(steps=3, prompts_per_step=8, minibatch_size=4, epochs=2, learning_rate=3e-3, kl_coef=0.03)
MAX_TOKENS = 8


def run(policy: Policy, config: PpoConfig = SMALL, rules=(LOW, HIGH), weights=None, seed=0, **options) -> list[PpoStep]:
    weights = weights or {rule.objective: 1.0 for rule in rules}
    pack = options.pop("pack", None) or pack_for(policy, rules)
    units = train_ppo(policy, rules, pack, PROMPTS, weights, config, MAX_TOKENS, seed, **options)
    return [unit for unit in units if unit is not None]


def first_rollout(policy: Policy, config: PpoConfig = SMALL, rules=(LOW, HIGH)):
    policy.backbone.stop_ids = tuple(range(40))  # an untrained model would hardly ever end a response
    return roll_out(policy, rules, pack_for(policy, rules), PROMPTS[:8], config, MAX_TOKENS, seed=5)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_policies_that_are_equal_have_ratio_1_and_kl_0(new_policy, kind, temperature):  # checks 3, 4, 5
    policy = new_policy(kind=kind)
    config = plain_ppo(steps=1, prompts_per_step=8, minibatch_size=8, epochs=1, temperature=temperature)
    (step,) = run(policy, config)
    values = step.metrics.values
    assert values["kl"] == pytest.approx(0, abs=1e-5) and values["approx_kl"] == pytest.approx(0, abs=1e-6)
    assert values["clip_fraction"] == 0 and values["entropy"] > 0 and values["explained_variance"] <= 1
    batch, samples = first_rollout(policy, config).batch, first_rollout(policy, config).samples
    recomputed = (policy.evaluate(batch, temperature).logprobs * batch.mask).sum(1)
    assert recomputed.tolist() == pytest.approx([sample.logprob for sample in samples], abs=1e-3)


def test_the_end_token_is_trained(new_policy):
    policy = new_policy()
    rollout = first_rollout(policy)
    targets = fix_targets(policy, rollout, torch.ones(3), 0.1, SMALL)
    ends = torch.isin(rollout.batch.targets, torch.tensor(policy.backbone.stop_ids)) & (rollout.batch.mask == 1)
    assert ends.any() and (targets.advantages[ends] != 0).all()
    assert not targets.advantages[rollout.batch.mask == 0].any()


def test_each_stream_pays_its_own_and_the_missing_end_is_paid_for_once(new_policy):  # checks 7, 9
    policy = new_policy()
    rollout = first_rollout(policy)
    assert 0 < rollout.unfinished.sum() < 8
    config = plain_ppo(gamma=1.0, lam=1.0, missing_eos_penalty=3.0, minibatch_size=8)
    policy.reference = None
    targets = fix_targets(policy, rollout, torch.ones(3), 0.5, config)
    # With zero values and lam 1 the first token's return is all that the response is paid.
    paid = targets.returns[:, 0]
    torch.testing.assert_close(paid[:, :2], rollout.z.T)
    torch.testing.assert_close(paid[:, 2], -0.5 * targets.kl - 3.0 * rollout.unfinished)


def test_what_stands_after_the_end_does_not_matter(new_policy):
    policy = new_policy()
    rollout = first_rollout(policy)
    clean = fix_targets(policy, rollout, torch.ones(3), 0.1, SMALL)
    ids = rollout.batch.ids.masked_fill(rollout.batch.present == 0, 99)
    dirty = fix_targets(policy, rollout._replace(batch=rollout.batch._replace(ids=ids)), torch.ones(3), 0.1, SMALL)
    torch.testing.assert_close(dirty.advantages, clean.advantages, atol=1e-5, rtol=0)
    torch.testing.assert_close(dirty.returns, clean.returns, atol=1e-5, rtol=0)


def test_the_kl_coefficient_follows_its_target(new_policy):
    fixed = [step.metrics.values["kl_coef"] for step in run(new_policy(), SMALL)]
    assert fixed == [SMALL.kl_coef] * 3
    config = SMALL.model_copy(update={"kl_target": 50.0})
    falling = [step.metrics.values["kl_coef"] for step in run(new_policy(), config)]
    assert falling == pytest.approx([0.03 * (1 - 0.2 * 8 / 512) ** n for n in range(3)])


def test_prompts_are_taken_in_shuffled_passes():
    taken = [prompt.id for step in range(3) for prompt in step_prompts(PROMPTS, 8, 0, step)]
    assert sorted(taken[:12]) == sorted(taken[12:]) == sorted(prompt.id for prompt in PROMPTS)
    assert taken[:12] != taken[12:]
    assert len(step_prompts(PROMPTS[:3], 8, 0, 5)) == 8


def test_prompts_of_every_set_of_tags_take_turns_where_they_are_to_be_even():
    common, rare = PROMPTS[:9], [prompt.model_copy(update={"tags": ("rare",)}) for prompt in PROMPTS[9:11]]
    steps = [step_prompts([*common, *rare], 4, 0, step, even_tags=True) for step in range(5)]
    assert [[bool(prompt.tags) for prompt in taken] for taken in steps] == [[False, True] * 2] * 5
    assert sorted(prompt.id for prompt in rare) == sorted(prompt.id for prompt in steps[0] if prompt.tags)
    assert len({prompt.id for taken in steps for prompt in taken if not prompt.tags}) == 9
    assert [step_prompts(PROMPTS, 5, 3, step, even_tags=True) for step in range(4)] == [
        step_prompts(PROMPTS, 5, 3, step) for step in range(4)
    ]


def test_each_sample_keeps_its_kl_of_which_the_step_s_is_the_mean(new_policy):
    for step in run(new_policy(), SMALL):
        found = [sample.kl or 0.0 for sample in step.samples]
        assert sum(found) / len(found) == pytest.approx(step.metrics.values["kl"], rel=1e-5, abs=1e-7)
    assert len(set(found)) > 1, "the last step's policy is no more the reference"


def test_metrics_say_what_happened(new_policy):
    step = run(new_policy(), rules=(LOW, HIGH))[0]
    values = step.metrics.values
    assert step.scores.shape == (2, 8) and len(step.samples) == 8
    assert values["score/low"] == pytest.approx(step.scores[0].mean().item())
    lengths = [sample.tokens for sample in step.samples]
    assert values["response_length"] == pytest.approx(sum(lengths) / 8)
    assert values["unfinished"] == pytest.approx(sum(not sample.finished for sample in step.samples) / 8)
    assert all(math.isfinite(value) for value in values.values()) and values["seconds"] > 0
    assert (step.metrics.stage, step.metrics.step, step.metrics.steps) == ("ppo", 1, 3)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"low": 1.0}, "weights are given for low; the objectives: low, high"),
        ({"low": 1.0, "high": 1.0, "kind": 1.0}, "weights are given for low, high, kind"),
        ({"low": 0.0, "high": 0.0}, "not all 0"),
        ({"low": -1.0, "high": 1.0}, "at least 0"),
    ],
)
def test_weights_that_do_not_fit_are_the_users_mistake(new_policy, weights, message):
    with pytest.raises(InvalidInput, match=message):
        run(new_policy(), weights=weights)


def test_reward_models_and_norm_pack_must_be_in_the_policys_order(new_policy):
    policy = new_policy()
    with pytest.raises(InvalidInput, match="the reward models are for high, low"):
        run(policy, rules=(HIGH, LOW), pack=pack_for(policy, (LOW, HIGH)))
    pack: NormPack = pack_for(policy, (HIGH, LOW))
    with pytest.raises(InvalidInput, match="the NormPack are for high, low"):
        run(policy, pack=pack)


def test_weights_steer_what_is_learned(new_policy):
    opposite = Rule("other", "P", scale=-1.0)
    config = plain_ppo(steps=15, prompts_per_step=32, minibatch_size=16, epochs=2, learning_rate=1e-2, kl_coef=0.0)
    ends = []
    for low, other in ((3.0, 1.0), (1.0, 3.0)):
        policy = new_policy(("low", "other"))
        steps = run(policy, config, rules=(LOW, opposite), weights={"low": low, "other": other})
        ends.append(sum(step.metrics.values["z/low"] for step in steps[-3:]) / 3)
    assert ends[0] > ends[1] + 0.6


def test_a_kl_penalty_holds_the_policy_near_the_reference(new_policy):
    ends = []
    for kl_coef in (0.0, 1.0):
        config = plain_ppo(
            steps=10, prompts_per_step=32, minibatch_size=16, epochs=2, learning_rate=1e-2, kl_coef=kl_coef
        )
        ends.append(run(new_policy(("low",)), config, rules=(LOW,))[-1].metrics.values["kl"])
    assert ends[1] < ends[0] / 2
