"""Reward models with adapters of their own, scored in one pass: the scores that each gives alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlhf_core.config.run import LoraConfig, ModelConfig, PassesConfig
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Prompt
from rlhf_core.reward_models.ensemble import Scoring
from rlhf_core.reward_models.reward_model import Members, RewardModel, score_all

CONVERSATIONS = [(Prompt.of(f"number {'x' * i}"), "dust it\n" * (i % 3 + 1)) for i in range(5)]


def made(folder: Path, mixed: bool, packing: bool = False, dtype: str = "float32") -> list[RewardModel]:
    """Two models of rank 4, one of rank 2, one of rank 4 that reads by line, and one that shares the first's trunk."""
    passes = PassesConfig(mixed_adapters=mixed, packing=packing)
    config = {"base_model": str(folder), "lora": LoraConfig(rank=4, alpha=8), "passes": passes, "dtype": dtype}
    backbone = Backbone.load(str(folder), ModelConfig.model_validate(config))
    for seed, (name, rank, alpha) in enumerate([("one", 4, 8), ("two", 4, 2), ("small", 2, 8), ("lines", 4, 8)]):
        backbone.adapters.add(name, seed, rank, alpha)
        with torch.no_grad():
            for i, parameter in enumerate(backbone.adapters.parameters(name)):
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(100 * seed + i))
                parameter.add_(noise * 0.05)
    models = [RewardModel(backbone, name, name, 3, seed) for seed, name in enumerate(("one", "two", "small"))]
    models.append(RewardModel(backbone, "lines", "lines", 3, 3, Scoring(process=True, step_pool="sum")))
    return [*models, RewardModel(backbone, "one", "beside", 2, 4)]


def passes_of(models: list[RewardModel]) -> tuple[list[Members], list[tuple[int, ...]]]:
    """All scores, and the shapes of the ids of the passes that they took."""
    backbone = models[0].backbone
    assert isinstance(backbone, Backbone) and backbone._spared_block is not None
    seen: list[tuple[int, ...]] = []
    embedding = backbone.model.get_input_embeddings()
    handle = embedding.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    found = score_all(models, CONVERSATIONS)
    handle.remove()
    return found, seen


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
@pytest.mark.parametrize("packing", [False, True])
def test_the_scores_are_those_of_each_model_alone(tiny_folder, kind: str, packing: bool):
    (mixed, one_pass), (alone, several) = (
        passes_of(made(tiny_folder(kind), mixed, packing and mixed)) for mixed in (True, False)
    )
    for found, expected in zip(mixed, alone, strict=True):
        torch.testing.assert_close(found.replies, expected.replies, atol=1e-5, rtol=1e-4)
        for steps, alike in zip(found.steps, expected.steps, strict=True):
            assert steps == pytest.approx(alike, abs=1e-5)
    assert len(alone[3].steps[1]) == 2
    assert alone[0].replies.std() > 1e-3 and not torch.allclose(alone[0].replies, alone[1].replies, atol=1e-3)
    assert len(several) == 4 and len(one_pass) == 3, "one and two together; small, and lines, by themselves"
    if not packing:
        assert [shape[0] for shape in one_pass] == [10, 5, 5]


def test_in_16_bits_they_differ_by_rounding(tiny_folder):
    (mixed, _), (alone, _) = (passes_of(made(tiny_folder("llama"), on, dtype="bfloat16")) for on in (True, False))
    (exact, _) = passes_of(made(tiny_folder("llama"), False))
    off = [
        max(float((a.replies - b.replies).abs().max()) for a, b in zip(x, exact, strict=True)) for x in (mixed, alone)
    ]
    assert off[0] < 3 * off[1]


def test_after_it_the_base_is_the_base_again(tiny_folder):
    models = made(tiny_folder("llama"), True)
    backbone = models[0].backbone
    assert isinstance(backbone, Backbone)
    ids, mask = backbone.pad_left([[1, 2, 3]])
    with torch.no_grad():
        before = backbone.forward(ids, mask, 1).logits
        score_all(models, CONVERSATIONS)
        assert torch.equal(backbone.forward(ids, mask, 1).logits, before)


def test_what_others_do_before_a_pass_goes_through_their_own_adapters_and_leaves_it_its_own(tiny_folder):
    models = made(tiny_folder("llama"), True)
    backbone = models[0].backbone
    assert isinstance(backbone, Backbone)
    ids, mask = backbone.pad_left([[1, 2, 3], [4, 5]])

    def others() -> tuple[torch.Tensor, torch.Tensor]:
        with backbone.adapters.using("two"):
            written = backbone.forward(ids, mask, 1).logits
        return written, score_all(models[:2], CONVERSATIONS[:1])[0].replies

    with torch.no_grad():
        (written, other_scores), scores = others(), score_all(models[:2], CONVERSATIONS)
        seen = []

        def before_pass() -> None:
            backbone.before_pass = lambda: None
            seen.append(others())

        backbone.before_pass = before_pass
        meanwhile = score_all(models[:2], CONVERSATIONS)
    assert torch.equal(seen[0][0], written) and torch.equal(seen[0][1], other_scores)
    for found, expected in zip(meanwhile, scores, strict=True):
        assert torch.equal(found.replies, expected.replies)


def test_layers_that_are_not_ours_pass_one_adapter_at_a_time(tiny_folder):
    models = made(tiny_folder("gpt2"), True)
    assert models[0].backbone.adapters.shared_rank("one") is None
    _, seen = passes_of(models)
    assert len(seen) == 4
