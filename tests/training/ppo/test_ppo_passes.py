"""What must hold of the model's passes in PPO, on three kinds of models."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.inference.generate import generate
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import make_batch
from rlhf_core.models.policy import Policy
from rlhf_core.records.samples import Prompt
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.training.ppo.state import PpoState
from rlhf_core.training.ppo.targets import fix_targets
from rlhf_core.training.ppo.update import update
from tests.conftest import save_model, save_tokenizer
from tests.training.conftest import PROMPT_IDS, RESPONSE_IDS, handmade, shake, weights_of
from tests.training.published_ppo import plain_ppo

KINDS = ("llama", "gpt2", "qwen3")
Z = [[1.0, -0.5, 0.25, 2.0], [0.5, 1.0, -1.0, 0.0]]
CONFIG = plain_ppo(steps=1, prompts_per_step=4, minibatch_size=4, epochs=1, learning_rate=1e-3, kl_coef=0.1)
WEIGHTS = torch.tensor([0.6, 0.8, 1.0])


def changed(folder: Path, to: Path, file: str, **values: object) -> Backbone:
    """The model of a folder with other settings in one of its files."""
    shutil.copytree(folder, to)
    settings = json.loads((to / file).read_text()) if (to / file).exists() else {}
    (to / file).write_text(json.dumps(settings | values))
    return Backbone.load(str(to), ModelConfig(base_model=str(to), lora=LoraConfig(rank=4, alpha=8)))


@pytest.mark.parametrize("kind", KINDS)
def test_padding_on_the_left_changes_no_logit(tiny_model, kind):
    backbone = tiny_model(kind)
    row = torch.tensor([[5, 17, 80, 33, 2, 140, 9, 61]])
    wide = torch.cat([torch.full((1, 6), 77), row], 1)
    mask = torch.cat([torch.zeros(1, 6), torch.ones(1, 8)], 1).long()
    with torch.no_grad():
        alone = backbone.model(row).logits
        padded = backbone.forward(wide, mask, 8).logits
        naive = backbone.model(wide, attention_mask=mask, position_ids=torch.arange(14)[None]).logits[:, 6:]
    torch.testing.assert_close(padded, alone, atol=1e-4, rtol=0)
    if kind == "gpt2":  # positions that count the padding show only where they are learned
        assert (naive - alone).abs().max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_logprobs_are_hugging_faces_loss_and_values_those_of_the_state_before(new_policy, kind):
    policy = new_policy(kind=kind)
    shake(policy)
    evaluation = policy.evaluate(make_batch(policy.backbone, PROMPT_IDS, RESPONSE_IDS))
    for i, (prompt, response) in enumerate(zip(PROMPT_IDS, RESPONSE_IDS, strict=True)):
        labels = torch.tensor([[-100] * len(prompt) + response])
        with torch.no_grad(), policy.backbone.adapters.using("policy"):
            plain = policy.backbone.model(torch.tensor([prompt + response]), labels=labels, output_hidden_states=True)
        assert evaluation.logprobs[i].sum().item() == pytest.approx(-plain.loss.item() * len(response), abs=1e-4)
        states = plain.hidden_states[-1][0, len(prompt) - 1 : -1]
        values = states @ policy.value_heads.weight.T + policy.value_heads.bias
        torch.testing.assert_close(evaluation.values[i, : len(response)], values.detach(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_temperature_is_that_of_sampler_policy_and_reference(new_policy, kind):
    policy = new_policy(kind=kind)
    with policy.backbone.adapters.using("policy"):
        written = generate(policy.backbone, PROMPT_IDS, n=1, temperature=0.7, max_tokens=6, seed=3)
    batch = make_batch(policy.backbone, PROMPT_IDS, [row.tokens for row in written])
    sampled = torch.tensor([[*row.logprobs, *[0.0] * (batch.mask.shape[1] - len(row.tokens))] for row in written])
    torch.testing.assert_close(policy.evaluate(batch, 0.7).logprobs, sampled, atol=1e-4, rtol=0)
    torch.testing.assert_close(policy.reference_logprobs(batch, 0.7), sampled, atol=1e-4, rtol=0)
    assert (policy.evaluate(batch, 1.0).logprobs - sampled).abs().mean() > 0.1  # what forgetting it would do


DROPOUT = {
    "llama": {"attention_dropout": 0.1},
    "qwen3": {"attention_dropout": 0.1},
    "gpt2": {"resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("own", [True, False])
def test_the_first_update_has_ratio_1_though_the_model_knows_dropout(tiny_folder, tmp_path, kind, own):
    backbone = changed(tiny_folder(kind), tmp_path / kind, "config.json", **DROPOUT[kind])
    backbone.adapters.add("policy", 0)
    policy = Policy(backbone, "policy", ("low", "high"))
    shake(policy)
    rollout, state = handmade(policy, Z), PpoState.begin(policy, CONFIG, None)
    graph = policy.evaluate(rollout.batch, train=True) if own else None
    targets = fix_targets(policy, rollout, WEIGHTS, 0.1, CONFIG, graph)
    done = update(state, rollout.batch, targets, torch.tensor([2, 0, 3, 1]), WEIGHTS, CONFIG, own=graph)
    assert done.ratio == pytest.approx(1, abs=1e-5) and done.approx_kl == pytest.approx(0, abs=1e-6)
    assert done.clip_fraction == 0 and done.grad_norm > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_sampler_is_unfiltered_whatever_the_models_own_settings_say(tiny_folder, tmp_path, kind):
    filters = {"do_sample": True, "top_k": 3, "top_p": 0.5, "repetition_penalty": 1.5, "min_new_tokens": 4}
    backbone = changed(tiny_folder(kind), tmp_path / kind, "generation_config.json", **filters)
    prompt, draws = [5, 17, 80], 4000
    with torch.no_grad():
        exact = backbone.model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
    written = generate(backbone, [prompt], n=draws, temperature=1.0, max_tokens=1, seed=11)
    result = torch.bincount(torch.tensor([row.tokens[0] for row in written]), minlength=264) / draws
    assert (exact > 0.002).sum() > 20  # or there would be nothing to filter
    assert ((result - exact).abs() < 4.5 * (exact * (1 - exact) / draws).sqrt() + 1 / draws).all()


def test_the_end_token_is_trained_even_where_it_is_the_padding_too(tmp_path):
    save_model(tmp_path, "llama")
    save_tokenizer(tmp_path, pad="<|end|>")
    backbone = Backbone.load(str(tmp_path), ModelConfig(base_model=str(tmp_path)))
    assert backbone.tokenizer.pad_token_id == backbone.eos_id == 256
    backbone.adapters.add("policy", 0)
    policy = Policy(backbone, "policy", ("low", "high"))
    rollout = handmade(policy, Z)
    targets = fix_targets(policy, rollout, WEIGHTS, 0.1, CONFIG)
    ends = (rollout.batch.targets == 256) & (rollout.batch.mask == 1)
    assert ends.sum() == 3 and (targets.advantages[ends] != 0).all()
    graph = policy.evaluate(rollout.batch, train=True)
    assert (torch.autograd.grad(graph.logprobs.sum(), graph.logprobs)[0][ends] == 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_after_the_end_changes_no_loss_and_no_gradient(new_policy, kind):
    ends = []
    for garbage in (False, True):
        policy = new_policy(kind=kind)
        shake(policy)
        rollout, state = handmade(policy, Z), PpoState.begin(policy, CONFIG, None)
        gone = rollout.batch.mask == 0
        if garbage:
            ids = rollout.batch.ids.masked_fill(rollout.batch.present == 0, 99)
            rollout = rollout._replace(batch=rollout.batch._replace(ids=ids))
        targets = fix_targets(policy, rollout, WEIGHTS, 0.1, CONFIG)
        if garbage:
            old = targets.old
            old = old._replace(
                logprobs=old.logprobs.masked_fill(gone, -1e4), values=old.values.masked_fill(gone[..., None], 1e6)
            )
            returns = targets.returns.masked_fill(gone[..., None], torch.nan)
            targets = targets._replace(old=old, returns=returns, advantages=targets.advantages.masked_fill(gone, 1e6))
        done = update(state, rollout.batch, targets, torch.arange(4), WEIGHTS, CONFIG)
        ends.append((done, weights_of(policy)))
    (clean, expected), (dirty, result) = ends
    assert dirty == pytest.approx(clean, abs=1e-5)
    for key, tensor in expected.items():
        torch.testing.assert_close(result[key], tensor, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_is_the_same_alone_in_a_batch_and_padded_on_either_side(tiny_model, kind):
    backbone = tiny_model(kind)
    model = RewardModel.create(backbone, "reward", "low", members=2, seed=4)
    texts = ["yes", "no, never", "a", "a much longer answer than the others"]
    conversations = [(Prompt.of(f"ask {i}"), text) for i, text in enumerate(texts)]
    together = model.score(conversations)
    for i, conversation in enumerate(conversations):
        torch.testing.assert_close(model.score([conversation])[0], together[i], atol=1e-5, rtol=0)
        ids = list(model.encode(*conversation).ids)
        for before, after in ((0, 0), (0, 7), (7, 0)):  # alone, padded on the right, on the left
            row = torch.tensor([[3] * before + ids + [3] * after])
            mask = torch.tensor([[0] * before + [1] * len(ids) + [0] * after])
            positions = (mask.cumsum(1) - 1).clamp_min(0)
            with torch.no_grad(), backbone.adapters.using("reward"):
                passed = backbone.model(row, attention_mask=mask, position_ids=positions, output_hidden_states=True)
            state = passed.hidden_states[-1][0, before + len(ids) - 1]
            expected = state @ model.heads.weight.T + model.heads.bias
            torch.testing.assert_close(together[i], expected.detach(), atol=1e-5, rtol=0)
