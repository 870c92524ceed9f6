"""The policy: one pass for log-probs, entropy and values."""

import pytest
import torch

from rlhf_core.errors import InvalidInput
from rlhf_core.models.batching import Batch, make_batch
from rlhf_core.models.logprobs import response_logprobs
from rlhf_core.models.policy import REFERENCE, TRAINED, Policy


@pytest.fixture
def policy(tiny_model) -> Policy:
    backbone = tiny_model("gpt2")
    backbone.adapters.add("policy", 1)
    backbone.adapters.copy("policy", "reference")
    return Policy(backbone, "policy", ("helpful", "harmless"), "reference")


@pytest.fixture
def batch(policy) -> Batch:
    return make_batch(policy.backbone, [[1, 2, 3], [9] * 10], [[11, 12, 256], [13]])


def shake(policy: Policy) -> None:
    with torch.no_grad():
        for i, parameter in enumerate(policy.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)) * 0.05)


def test_new_value_heads_say_0_for_every_stream(policy, batch):
    evaluation = policy.evaluate(batch)
    assert evaluation.values.shape == (2, 3, 3) and not evaluation.values.any()


def test_logprobs_and_reference_are_those_of_plain_passes(policy, batch):
    shake(policy)
    with policy.backbone.adapters.using("policy"):
        expected = response_logprobs(policy.backbone, batch)
    evaluation = policy.evaluate(batch)
    torch.testing.assert_close(evaluation.logprobs * batch.mask, expected, atol=1e-5, rtol=0)
    reference = policy.reference_logprobs(batch)
    assert (reference - expected)[batch.mask.bool()].abs().max() > 1e-3
    policy.reference = None
    torch.testing.assert_close(policy.reference_logprobs(batch), reference, atol=1e-5, rtol=0)  # still untrained


def test_a_value_sees_the_tokens_before_its_own_only(policy, batch):  # the slice is [P-1, P+T-1)
    shake(policy)
    values = policy.evaluate(batch).values
    last = policy.evaluate(make_batch(policy.backbone, [[1, 2, 3]], [[11, 12, 99]])).values
    torch.testing.assert_close(last[0], values[0], atol=1e-5, rtol=0)
    other = policy.evaluate(make_batch(policy.backbone, [[1, 2, 3]], [[98, 12, 256]])).values
    torch.testing.assert_close(other[0, 0], values[0, 0], atol=1e-5, rtol=0)
    assert (other[0, 1] - values[0, 1]).abs().max() > 1e-4


def test_entropy_is_positive_and_wider_padding_changes_nothing(policy, batch):
    shake(policy)
    narrow = policy.evaluate(batch)
    wide = policy.evaluate(Batch(*(torch.nn.functional.pad(part, (4, 0)) for part in batch[:2]), batch.mask))
    keep = batch.mask.bool()
    assert (narrow.entropy[keep] > 0).all()
    for one, other in zip(narrow, wide, strict=True):
        torch.testing.assert_close(other[keep], one[keep], atol=1e-4, rtol=0)


def test_training_moves_adapter_and_heads_and_nothing_else(policy, batch):
    with policy.backbone.adapters.using("policy", train=True):
        evaluation = policy.evaluate(batch, train=True)
        (evaluation.logprobs.sum() + evaluation.values.sum()).backward()
    mine = {id(parameter) for parameter in policy.parameters()}
    graded = [p for p in [*policy.backbone.model.parameters(), *policy.parameters()] if p.grad is not None]
    assert graded and all(id(parameter) in mine for parameter in graded)
    assert not policy.evaluate(batch).logprobs.requires_grad


def test_files_bring_adapter_and_heads_back(policy, batch, tmp_path):
    shake(policy)
    before = policy.evaluate(batch)
    policy.save(tmp_path)
    shake(policy)
    policy.restore(tmp_path)
    for one, other in zip(before, policy.evaluate(batch), strict=True):
        assert torch.equal(one, other)


def test_a_policy_of_other_objectives_is_refused(policy, tmp_path):
    policy.save(tmp_path)
    policy.objectives = ("harmless", "helpful")
    with pytest.raises(InvalidInput, match="has the objectives"):
        policy.restore(tmp_path)
    with pytest.raises(InvalidInput, match="no policy in"):
        policy.restore(tmp_path / "missing")


@pytest.fixture
def whole(tiny_model, tmp_path):
    """A tiny real model, and a folder with a policy that was trained in all of its weights."""
    backbone = tiny_model()
    backbone.adapters.begin("sft", 0, "full")
    with torch.no_grad():
        for parameter in backbone.adapters.parameters("sft"):
            parameter.mul_(1.01)
    backbone.adapters.save("sft", tmp_path)
    return backbone, tmp_path


def test_one_of_whole_weights_begins_with_those_of_the_policy_before_it(whole):
    backbone, folder = whole
    Policy.starting_from(backbone, folder, ("helpful",), dense=True)
    for name in (TRAINED, REFERENCE):
        for one, other in zip(backbone.adapters.parameters(name), backbone.adapters.parameters("sft"), strict=True):
            assert torch.equal(one, other) and one is not other


def test_an_adapter_does_not_go_on_with_weights_of_its_own(whole):
    backbone, folder = whole
    with pytest.raises(InvalidInput, match=r"ppo.tune is 'lora' and the policy .* weights of its own; allowed: full"):
        Policy.starting_from(backbone, folder, ("helpful",), dense=False)
