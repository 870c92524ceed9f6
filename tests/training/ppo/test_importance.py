"""Rollouts that another sampler wrote: what a token counts, what is told of it, and PPO through a real HTTP server."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rlhf_core.config.sampler import SamplerConfig
from rlhf_core.errors import TrainingFailed
from rlhf_core.inference.generate import Generated
from rlhf_core.inference.remote_sampler import connect
from rlhf_core.models.policy import Policy
from rlhf_core.training.ppo.losses import importance_ratio
from rlhf_core.training.ppo.metrics import sampler_metrics
from rlhf_core.training.ppo.responses import Behaviour, Written, refuse_stale
from rlhf_core.training.ppo.targets import fix_targets
from rlhf_core.training.ppo.trainer import PpoStep, train_ppo
from tests.training.conftest import PROMPTS, Rule, handmade, pack_for, shake, weights_of
from tests.training.published_ppo import plain_ppo
from tests.vllm_server import TinyVllm, running

Z = [[1.0, -0.5, 0.25, 2.0], [0.5, 1.0, -1.0, 0.0]]
RULES: Any = (Rule("low", "P"), Rule("high", "d"))
SMALL = plain_ppo(steps=2, prompts_per_step=6, minibatch_size=4, epochs=2, learning_rate=3e-3, kl_coef=0.03)
MAX_TOKENS = 6


def test_weighed_by_the_ratio_the_samplers_mean_is_the_learners():
    learner, sampler = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5])
    values, mask = torch.tensor([1.0, -2.0, 4.0]), torch.ones(3)
    ratio = importance_ratio(learner.log(), sampler.log(), mask)
    assert ratio.tolist() == pytest.approx([2.5, 1.0, 0.4])
    assert float((sampler * ratio * values).sum()) == pytest.approx(float((learner * values).sum()))


def test_a_token_counts_as_often_as_the_learner_finds_it_likelier_up_to_the_cap(new_policy):
    policy = new_policy()
    shake(policy)
    rollout = handmade(policy, Z)
    config = plain_ppo(steps=1, prompts_per_step=4, minibatch_size=4, epochs=1, importance_cap=1.5)
    plain = fix_targets(policy, rollout, torch.ones(3), 0.1, config)
    likelier = torch.full_like(plain.old.logprobs, math.log(1.25))
    likelier[0], likelier[1] = math.log(4.0), math.log(0.5)
    told = Behaviour(plain.old.logprobs - likelier, 0.0, 0, 0.0)
    weighed = fix_targets(policy, rollout._replace(behaviour=told), torch.ones(3), 0.1, config)
    counts = torch.tensor([1.5, 0.5, 1.25, 1.25])[:, None]
    torch.testing.assert_close(weighed.advantages, plain.advantages * counts)
    assert torch.equal(weighed.kl, plain.kl) and weighed.counts is None
    # An older policy's tokens count so in the mean of KL, too: each response's has one factor here.
    behind = fix_targets(policy, rollout._replace(behaviour=told._replace(staleness=1)), torch.ones(3), 0.1, config)
    assert torch.equal(behind.advantages, weighed.advantages) and plain.kl.abs().min() > 1e-4
    torch.testing.assert_close(behind.kl, plain.kl * counts[:, 0])
    assert torch.equal(weighed.old.logprobs, plain.old.logprobs) and torch.equal(weighed.returns, plain.returns)


def test_what_is_told_of_a_sampler_by_hand():
    mask = torch.tensor([[1, 1], [1, 0]])
    learner, sampler = torch.tensor([[0.5, 0.2], [0.9, 7.0]]).log(), torch.tensor([[0.25, 0.4], [0.3, 0.1]]).log()
    values = sampler_metrics(Behaviour(sampler, 0.5, 1000, 20.0, 1.5, 1), learner, mask, 2.0)
    ratios = [2.0, 0.5, 3.0]
    assert float(values["sampler/ratio"]) == pytest.approx(sum(ratios) / 3)
    assert float(values["sampler/truncated"]) == pytest.approx(1 / 3)
    assert float(values["sampler/kl"]) == pytest.approx(sum(r - 1 - math.log(r) for r in ratios) / 3)
    assert float(values["sampler/gap"]) == pytest.approx(sum(abs(math.log(r)) for r in ratios) / 3)
    assert float(values["sampler/gap_max"]) == pytest.approx(math.log(3))
    assert (values["sampler/handover_seconds"], values["sampler/handover_bytes"]) == (0.5, 1000)
    assert values["sampler/tokens_per_second"] == 20
    assert (values["sampler/waited_seconds"], values["sampler/staleness"]) == (1.5, 1)


def test_rows_of_an_older_policy_than_the_bound_allows_are_refused():
    written = Written([Generated([256], [-1.0], True)], "policy-3-abc", 3)
    refuse_stale(written, 3, most=0)
    refuse_stale(written, 4, most=1)
    with pytest.raises(
        TrainingFailed, match=r"step 5 .* by 'policy-3-abc', .* step 3; allowed: at most 0 steps behind 4"
    ):
        refuse_stale(written, 4, most=0)
    with pytest.raises(TrainingFailed, match="'policy-3-abc'"):
        refuse_stale(written, 2, most=1)  # of a step that is yet to come


def train(policy: Policy, server: TinyVllm | None = None, folder: Path = Path(), **settings) -> list[PpoStep]:
    config = SamplerConfig(address=server.address) if server else None
    sampler = connect(config, policy.backbone, folder) if config else None
    ppo = SMALL.model_copy(update=settings)
    pack = pack_for(policy, RULES, MAX_TOKENS)
    weights = {rule.objective: 1.0 for rule in RULES}
    units = train_ppo(policy, RULES, pack, PROMPTS, weights, ppo, MAX_TOKENS, 0, sampler=sampler)
    return [unit for unit in units if unit is not None]


def test_ppo_on_responses_from_a_server_is_ppo_on_those_of_its_own(new_policy, tiny_model, tmp_path):
    here, there = new_policy(), new_policy()
    own = train(here)
    with running(TinyVllm(tiny_model())) as server:
        served = train(there, server, tmp_path)
        assert len(server.of("completions")) == 12 and len(server.of("load_lora_adapter")) == 2
    for step, (a, b) in enumerate(zip(own, served, strict=True)):
        assert [s.response for s in a.samples] == [s.response for s in b.samples]
        assert {s.policy_version.rsplit("-", 1)[0] for s in b.samples} == {f"policy-{step}"}
        assert {s.staleness for s in a.samples + b.samples} == {0} and b.metrics.values["sampler/staleness"] == 0
        values = dict(b.metrics.values)
        told = {name: values.pop(name) for name in list(values) if name.startswith("sampler/")}
        assert told["sampler/ratio"] == pytest.approx(1, abs=1e-5) and told["sampler/truncated"] == 0
        assert told["sampler/kl"] == pytest.approx(0, abs=1e-6) and told["sampler/gap_max"] < 1e-4
        assert told["sampler/handover_bytes"] > 0 and told["sampler/tokens_per_second"] > 0
        expected = dict(a.metrics.values)
        del values["seconds"], expected["seconds"]
        assert values == pytest.approx(expected, rel=1e-3, abs=1e-4)
    ours, theirs = weights_of(here), weights_of(there)
    for name, weight in ours.items():
        torch.testing.assert_close(theirs[name], weight, rtol=1e-3, atol=1e-5)


def test_a_server_of_other_precision_is_measured_and_weighed_against(new_policy, tiny_model, tmp_path):
    backbone = tiny_model()
    with torch.no_grad():
        for i, weight in enumerate(backbone.model.parameters()):
            weight.add_(0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(i)))
    # Its base is not that of the adapter by its hash either, and a server does not look at that.
    backbone.adapters._base_hash = new_policy().backbone.adapters.base_hash
    with running(TinyVllm(backbone)) as server:
        (step,) = train(new_policy(), server, tmp_path, steps=1, importance_cap=1.05)
    values = step.metrics.values
    assert 0 < values["sampler/kl"] < 0.5 and 0 < values["sampler/truncated"] < 1
    assert values["sampler/gap_max"] > values["sampler/gap"] > 0.001
    assert values["sampler/ratio"] == pytest.approx(1, abs=0.3)


def test_without_another_sampler_nothing_is_told_of_one(new_policy):
    (step,) = train(new_policy(), steps=1)
    assert not [name for name in step.metrics.values if name.startswith("sampler")]
    assert {sample.policy_version for sample in step.samples} == {"policy"}
