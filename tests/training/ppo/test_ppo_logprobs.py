"""The log-probs that a step compares, against plain passes over one unpadded response at a time."""

import math

import pytest
import torch

from rlhf_core.models.policy import Policy
from rlhf_core.training.ppo.state import PpoState
from rlhf_core.training.ppo.targets import evaluate_once, fix_targets
from rlhf_core.training.ppo.update import update
from tests.training.conftest import PROMPT_IDS, RESPONSE_IDS, handmade, shake
from tests.training.published_ppo import plain_ppo

KINDS = ("llama", "gpt2", "qwen3")
Z = [[1.0, -0.5, 0.25, 2.0], [0.5, 1.0, -1.0, 0.0]]
WEIGHTS = torch.tensor([0.6, 0.8, 1.0])
T = 0.7
# Two minibatches, so that no pass of the first update can serve as the old policy.
CONFIG = plain_ppo(steps=1, prompts_per_step=4, minibatch_size=2, epochs=1, temperature=T)


def plain_logprobs(policy: Policy, adapter: str) -> torch.Tensor:
    """Of the responses under an adapter, with its logits divided by the temperature; 0 where a response is over."""
    result = torch.zeros(len(RESPONSE_IDS), max(map(len, RESPONSE_IDS)))
    for row, prompt, response in zip(result, PROMPT_IDS, RESPONSE_IDS, strict=True):
        with torch.no_grad(), policy.backbone.adapters.using(adapter):
            logits = policy.backbone.model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        chosen = (logits / T).log_softmax(-1)[torch.arange(len(response)), response]
        row[: len(response)] = chosen
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_old_logprobs_are_at_the_rollouts_temperature_where_a_step_has_several_minibatches(new_policy, kind):
    policy = new_policy(kind=kind)
    shake(policy)
    rollout = handmade(policy, Z)
    assert evaluate_once(policy, rollout.batch, CONFIG) is None
    old = fix_targets(policy, rollout, WEIGHTS, 0.1, CONFIG).old.logprobs
    torch.testing.assert_close(old, plain_logprobs(policy, "policy"), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_kl_of_a_response_is_from_the_reference_at_the_rollouts_temperature(new_policy, kind):
    policy = new_policy(kind=kind)
    shake(policy)
    targets = fix_targets(policy, handmade(policy, Z), WEIGHTS, 0.1, CONFIG)
    own, reference = (plain_logprobs(policy, name) for name in ("policy", "reference"))
    torch.testing.assert_close(targets.ref_logprobs, reference, atol=1e-4, rtol=0)
    torch.testing.assert_close(targets.kl, (own - reference).sum(1), atol=1e-3, rtol=0)
    assert targets.kl.abs().min() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_compares_new_logprobs_at_the_rollouts_temperature(new_policy, kind):
    """Old log-probs that are lower by ln 1.5 on every token make every ratio 1.5, and 1.5 - 1 - ln 1.5 its KL."""
    policy = new_policy(kind=kind)
    shake(policy)
    rollout, state = handmade(policy, Z), PpoState.begin(policy, CONFIG, None)
    targets = fix_targets(policy, rollout, WEIGHTS, 0.1, CONFIG)
    old = targets.old._replace(logprobs=plain_logprobs(policy, "policy") - math.log(1.5))
    done = update(state, rollout.batch, targets._replace(old=old), torch.tensor([2, 0]), WEIGHTS, CONFIG)
    assert done.ratio == pytest.approx(1.5, abs=1e-3) and done.clip_fraction == 1
    assert done.approx_kl == pytest.approx(0.094535, abs=1e-3)
