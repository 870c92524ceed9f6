"""What a step of PPO computes on tiny models: rewards, advantages and updates against numbers worked by hand."""

import math

import pytest
import torch

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.inference.generate import generate
from rlhf_core.models.batching import Batch
from rlhf_core.training.ppo.advantages import gae, group_advantages
from rlhf_core.training.ppo.credit import no_credit
from rlhf_core.training.ppo.losses import (
    adapted_kl_coef,
    clipped_policy_loss,
    clipped_value_loss,
    kl_estimate,
    masked_mean,
    masked_variance,
    whiten,
    whiten_streams,
)
from rlhf_core.training.ppo.state import PpoState
from rlhf_core.training.ppo.targets import fix_targets, token_streams
from rlhf_core.training.ppo.update import optimise, update
from tests.training.conftest import PROMPT_IDS, handmade, shake, weights_of
from tests.training.published_ppo import plain_ppo

KINDS = ("llama", "gpt2", "qwen3")
Z = [[1.0, -0.5, 0.25, 2.0], [0.5, 1.0, -1.0, 0.0]]
WEIGHTS = torch.tensor([0.6, 0.8, 1.0])
CONFIG = plain_ppo(steps=1, prompts_per_step=4, minibatch_size=4, epochs=1, learning_rate=1e-3, missing_eos_penalty=3)
MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])


@pytest.mark.parametrize("kind", KINDS)
def test_the_score_is_paid_once_on_the_last_real_token(new_policy, kind):
    policy = new_policy(kind=kind)
    rollout = handmade(policy, Z)  # ended at 3 and 2 tokens, cut at 5, nothing but the end token
    kl = torch.rand(4, 5) * rollout.batch.mask
    streams = token_streams(rollout, kl, 0.5, CONFIG)
    for k, z in enumerate(Z):
        ends = [(row, last, z[row]) for row, last in enumerate((2, 1, 4, 0))]
        expected = torch.zeros(4, 5)
        for row, last, paid in ends:
            expected[row, last] = paid
        assert torch.equal(streams[..., k], expected)
    total = (streams @ WEIGHTS).sum(1)
    for row, penalty in enumerate((0, 0, 3, 0)):
        paid = 0.6 * Z[0][row] + 0.8 * Z[1][row] - 0.5 * kl[row].sum().item() - penalty
        assert total[row].item() == pytest.approx(paid, abs=1e-6)


def test_a_response_ends_at_its_stop_token_and_is_charged_for_a_missing_one_exactly_once(new_policy):
    policy = new_policy()
    backbone = policy.backbone
    with backbone.adapters.using("policy"):
        free = generate(backbone, PROMPT_IDS[:1], n=1, temperature=1.0, max_tokens=8, seed=1)[0].tokens
        backbone.stop_ids = (free[3],)  # a stop token that is not the tokenizer's end token
        cut = generate(backbone, PROMPT_IDS[:1], n=1, temperature=1.0, max_tokens=8, seed=1)[0]
        short = generate(backbone, PROMPT_IDS[:1], n=1, temperature=1.0, max_tokens=2, seed=1)[0]
    assert cut.tokens == free[: free.index(free[3]) + 1] and cut.finished
    assert not short.finished
    rollout = handmade(policy, [[0.0, 0.0], [0.0, 0.0]], [cut.tokens, short.tokens])
    paid = token_streams(rollout, torch.zeros_like(rollout.batch.mask).float(), 0.5, CONFIG)[..., 2]
    assert paid[0].tolist() == [0.0] * len(cut.tokens)
    assert paid[1, :2].tolist() == [0.0, -3.0] and paid.sum().item() == -3.0


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.99, 0.0)])
def test_gae_is_the_double_sum_of_the_definition(gamma, lam):
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 3, 6, 2, generator=generator, dtype=torch.float64)
    lengths = (6, 1, 4)
    mask = torch.tensor([[1] * n + [0] * (6 - n) for n in lengths])
    advantages, returns = gae(rewards, values, mask, gamma, lam)
    for row, length in enumerate(lengths):
        # As matrices: delta = r + (gamma S - I) V, A = U delta, where U_ij = (gamma lam)^(j - i) for j >= i.
        shift = torch.diag(torch.ones(length - 1, dtype=torch.float64), 1)
        powers = torch.tensor(
            [[(gamma * lam) ** (j - i) if j >= i else 0.0 for j in range(length)] for i in range(length)]
        )
        delta = rewards[row, :length] + (gamma * shift - torch.eye(length, dtype=torch.float64)) @ values[row, :length]
        expected = powers.double() @ delta
        torch.testing.assert_close(advantages[row, :length], expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(returns[row, :length], expected + values[row, :length], atol=1e-6, rtol=0)
    order = torch.tensor([2, 0, 1])
    shuffled = gae(rewards[order], values[order], mask[order], gamma, lam).advantages
    assert torch.equal(shuffled, advantages[order])


def test_lam_1_is_return_minus_value_and_lam_0_the_td_error():
    rewards, values = torch.tensor([[[1.0], [2.0], [4.0]]]), torch.tensor([[[0.5], [1.5], [3.0]]])
    mask = torch.ones(1, 3).long()
    assert gae(rewards, values, mask, 1.0, 1.0).advantages.flatten().tolist() == [6.5, 4.5, 1.0]
    assert gae(rewards, values, mask, 1.0, 0.0).advantages.flatten().tolist() == [2.0, 3.5, 1.0]


def test_without_a_critic_a_response_is_compared_with_its_group():
    rewards = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 4.0], [0.0, 2.0]])[..., None]  # rewards 3, 3, 4, 2
    mask = torch.tensor([[1, 1], [1, 0], [1, 1], [1, 1]])
    one = torch.ones(1)
    rloo = group_advantages(rewards, mask, one, 2, "rloo").advantages[..., 0]
    assert rloo.tolist() == [[0, 0], [0, 0], [2, 2], [-2, -2]]
    grpo = group_advantages(rewards, mask, one, 2, "grpo").advantages[..., 0]
    assert grpo[2:, 0].tolist() == pytest.approx([1 / (math.sqrt(2) + 1e-4), -1 / (math.sqrt(2) + 1e-4)])
    assert not grpo[1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_advantages_are_whitened_over_the_batch_whatever_the_size_of_a_pass(new_policy, kind):
    policy = new_policy(kind=kind)
    shake(policy)
    rollout = handmade(policy, Z)
    keep = rollout.batch.mask.bool()
    result = []
    for rows in (1, 2, 4):
        config = CONFIG.model_copy(update={"micro_batch_size": rows})
        result.append(fix_targets(policy, rollout, WEIGHTS, 0.1, config).advantages)
    for advantages in result:
        kept = advantages[keep]
        assert kept.mean().item() == pytest.approx(0, abs=1e-6) and kept.var().item() == pytest.approx(1, abs=1e-4)
        torch.testing.assert_close(advantages, result[0], atol=1e-4, rtol=0)
    wide = Batch(*(torch.nn.functional.pad(part, (0, 4)) for part in rollout.batch))
    wider = rollout._replace(batch=wide, credit=no_credit(len(rollout.z), wide.mask))
    padded = fix_targets(policy, wider, WEIGHTS, 0.1, CONFIG).advantages
    torch.testing.assert_close(padded[:, :5], result[-1], atol=1e-4, rtol=0)
    assert not padded[:, 5:].any()


def test_the_variance_is_the_unbiased_one():
    white = whiten(torch.tensor([[0.0, 2.0], [4.0, 99.0]]), torch.tensor([[1, 1], [1, 0]]))
    assert white.flatten().tolist() == pytest.approx([-1, 0, 1, 0], abs=1e-6)  # sd 2, not sqrt(8 / 3)


def test_whitened_rewards_keep_their_mean_and_streams_still_add_up():
    rewards = torch.tensor([[[1.0, 0.5], [2.0, -1.0], [6.0, 0.0]], [[4.0, 2.0], [7.0, 1.0], [99.0, 99.0]]])
    weights = torch.tensor([0.5, 2.0])
    white = whiten_streams(rewards, weights, MASK)
    joined, before = white @ weights, rewards @ weights
    assert masked_mean(joined, MASK).item() == pytest.approx(masked_mean(before, MASK).item(), abs=1e-5)
    assert masked_variance(joined, MASK).item() == pytest.approx(1, abs=1e-5)
    for stream in range(2):
        one, other = masked_mean(white[..., stream], MASK), masked_mean(rewards[..., stream], MASK)
        assert one.item() == pytest.approx(other.item(), abs=1e-5)
    torch.testing.assert_close(joined, whiten(before, MASK, shift_mean=False), atol=1e-5, rtol=0)


def test_values_are_clipped_around_the_old_ones_and_the_larger_error_counts():
    one = torch.ones(1, 1)
    assert clipped_value_loss(one, 0 * one, 2 * one, one, 0.2).item() == pytest.approx(1.62)  # .5 max(1, (.2 - 2)^2)
    assert clipped_value_loss(one, 0 * one, 2 * one, one, None).item() == pytest.approx(0.5)
    assert clipped_value_loss(3 * one, 0 * one, 1 * one, one, 0.2).item() == pytest.approx(2.0)  # .5 max(4, .64)


@pytest.mark.parametrize(("advantage", "ratio", "loss", "gradient"), [(1, 1.5, -1.2, 0), (-1, 1.5, 1.5, 1.5)])
@pytest.mark.parametrize("clip", [0.2])
def test_the_policys_clip_is_pessimistic(advantage, ratio, loss, gradient, clip):
    new = torch.tensor([[float(ratio)]]).log().requires_grad_()
    one = torch.ones(1, 1)
    result = clipped_policy_loss(new, 0 * one, advantage * one, one, clip)
    result.loss.backward()
    assert result.loss.item() == pytest.approx(loss) and new.grad is not None
    assert new.grad.item() == pytest.approx(gradient) and result.ratio.item() == pytest.approx(1.5)


@pytest.mark.parametrize("kind", KINDS)
def test_kl_estimates_average_to_the_kl_over_the_whole_vocabulary(new_policy, kind):
    policy = new_policy(kind=kind)
    shake(policy, 0.03)
    logprobs = []
    for name in ("policy", "reference"):
        with torch.no_grad(), policy.backbone.adapters.using(name):
            logprobs.append(policy.backbone.model(torch.tensor([[5, 17, 80]])).logits[0, -1].double().log_softmax(-1))
    own, reference = logprobs
    exact = (own.exp() * (own - reference)).sum()
    drawn = torch.multinomial(own.exp(), 100_000, replacement=True, generator=torch.Generator().manual_seed(1))
    for estimator in ("k1", "k3"):
        estimates = kl_estimate(own[drawn], reference[drawn], estimator)
        assert (estimates.mean() - exact).abs() < 3 * estimates.std() / math.sqrt(len(drawn))
    assert exact > 1e-3 and kl_estimate(own, reference, "k3").min() >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_accumulated_passes_move_as_one_big_pass_does(new_policy, kind):
    ends = []
    for rows in (1, 2, 4, None):
        policy = new_policy(kind=kind)
        shake(policy)
        options = {"micro_batch_size": rows, "entropy_coef": 0.1, "kl_in": "loss", "kl_estimator": "k3"}
        config = PpoConfig.model_validate(CONFIG.model_dump() | options | {"learning_rate": 1e-4})
        rollout, state = handmade(policy, Z), PpoState.begin(policy, config, None)
        targets = fix_targets(policy, rollout, WEIGHTS, 0.1, CONFIG)
        # The step is not the first one, so that ratios and clips are at work.
        shake(policy, 0.02, seed=1)
        done = update(state, rollout.batch, targets, torch.tensor([3, 1, 0, 2]), WEIGHTS, config)
        ends.append((done, weights_of(policy)))
    assert ends[0][0].clip_fraction > 0 and ends[0][0].approx_kl > 1e-3
    for done, weights in ends[1:]:
        assert done == pytest.approx(ends[0][0], abs=1e-4)
        for key, tensor in ends[0][1].items():
            torch.testing.assert_close(weights[key], tensor, atol=1e-6, rtol=0)


@pytest.mark.parametrize("micro", [None, 1, 2, 4])
@pytest.mark.parametrize(("size", "epochs", "steps"), [(4, 2, 2), (2, 3, 6), (3, 1, 2)])
def test_there_are_as_many_steps_as_epochs_times_minibatches(new_policy, micro, size, epochs, steps):
    policy = new_policy()
    config = CONFIG.model_copy(update={"minibatch_size": size, "epochs": epochs, "micro_batch_size": micro})
    rollout, state = handmade(policy, Z), PpoState.begin(policy, config, None)
    targets = fix_targets(policy, rollout, WEIGHTS, 0.1, config)
    done = list(optimise(state, rollout.batch, targets, WEIGHTS, config, seed=0))
    assert len(done) == steps == config.updates_per_step == state.optimizer.update == state.optimizer.updates


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_clipped(new_policy, kind):
    policy = new_policy(kind=kind)
    shake(policy)
    config = CONFIG.model_copy(update={"max_grad_norm": 1e-3})
    rollout, state = handmade(policy, Z), PpoState.begin(policy, config, None)
    state.optimizer._adam = torch.optim.SGD(policy.parameters(), lr=1.0)  # a plain step shows the gradient itself
    targets = fix_targets(policy, rollout, WEIGHTS, 0.1, config)
    before = weights_of(policy)
    done = update(state, rollout.batch, targets, torch.arange(4), WEIGHTS, config)
    moved = math.sqrt(sum(float((tensor - before[key]).square().sum()) for key, tensor in weights_of(policy).items()))
    assert done.grad_norm > 10 * config.max_grad_norm
    assert moved == pytest.approx(config.max_grad_norm * config.learning_rate, rel=1e-2)


def test_the_kl_coefficient_moves_by_a_fifth_per_horizon_at_most():
    assert adapted_kl_coef(0.5, kl=12.0, target=6.0, samples=100, horizon=1000) == pytest.approx(0.5 * 1.02)
    assert adapted_kl_coef(0.5, kl=6.6, target=6.0, samples=100, horizon=1000) == pytest.approx(0.5 * 1.01)
    assert adapted_kl_coef(0.5, kl=0.0, target=6.0, samples=100, horizon=1000) == pytest.approx(0.5 * 0.98)
    assert adapted_kl_coef(0.5, kl=6.0, target=6.0, samples=100, horizon=1000) == 0.5


def test_a_step_of_many_horizons_never_turns_the_price_of_kl_into_a_reward():
    assert adapted_kl_coef(0.5, kl=0.0, target=6.0, samples=1000, horizon=1000) == pytest.approx(0.5 * 0.8)
    assert adapted_kl_coef(0.5, kl=0.0, target=6.0, samples=3000, horizon=1000) == pytest.approx(0.5 * 0.8**3)
    assert adapted_kl_coef(0.5, kl=60.0, target=6.0, samples=3000, horizon=1000) == pytest.approx(0.5 * 1.2**3)
    assert 0 < adapted_kl_coef(0.5, kl=0.0, target=6.0, samples=4096, horizon=512) < 0.5 * 0.2


def test_the_rate_falls_to_0_and_adams_eps_is_that_of_openai(new_policy):
    policy = new_policy()
    config = CONFIG.model_copy(update={"epochs": 4})
    state = PpoState.begin(policy, config, None)
    rollout, rates = handmade(policy, Z), []
    targets = fix_targets(policy, rollout, WEIGHTS, 0.1, config)
    for _ in optimise(state, rollout.batch, targets, WEIGHTS, config, seed=0):
        rates.append(state.optimizer.rate / config.learning_rate)
    assert rates == pytest.approx([0.75, 0.5, 0.25, 0]) and state.optimizer._adam.defaults["eps"] == 1e-5
