"""Packed rows and layers that are computed again: the numbers and gradients of plain passes, from less memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from rlhf_core.config.run import LoraConfig, ModelConfig, PassesConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import Batch, make_batch
from rlhf_core.models.encoder import Encoder
from rlhf_core.models.logprobs import response_tokens, states_before
from rlhf_core.models.memory_budget import graph_bytes
from rlhf_core.models.reward_inputs import Row
from tests.conftest import save_tokenizer
from tests.encoders import save_encoder

KINDS = ("llama", "gpt2", "qwen3")
PROMPTS = [[1, 2, 3], [9] * 10, [4, 5], [9] * 10]
RESPONSES = [[11, 12, 256], [13, 256], [14, 15, 16, 17, 256], [18]]
PLAIN, PACKED, AGAIN = PassesConfig(), PassesConfig(packing=True), PassesConfig(recompute=True)
BOTH = PassesConfig(packing=True, recompute=True)


def load(folder: Path, passes: PassesConfig, **changes: Any) -> Backbone:
    settings = {"base_model": str(folder), "lora": LoraConfig(rank=4, alpha=8), "passes": passes} | changes
    backbone = Backbone.load(str(folder), ModelConfig.model_validate(settings))
    backbone.adapters.add("a", 0)
    with torch.no_grad():
        for parameter in backbone.adapters.parameters("a"):
            parameter.add_(0.05)
    return backbone


def embedded(backbone: Backbone) -> list[tuple[int, ...]]:
    """The shapes of the ids that the model is given, pass by pass."""
    assert backbone._spared_block is not None and backbone.head_is_plain, "what is tried once is not counted"
    seen: list[tuple[int, ...]] = []
    embedding = backbone.model.get_input_embeddings()
    embedding.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    return seen


def learned(backbone: Backbone, batch: Batch) -> tuple[Tensor, list[Tensor]]:
    """Log-probs (B, T) of the responses, and the slopes of their weighted sum."""
    with backbone.adapters.using("a", train=True):
        result = response_tokens(backbone, batch).logprobs
        weight = torch.linspace(-1, 2, result.numel()).view_as(result)
        slopes = torch.autograd.grad((result * weight).sum(), backbone.adapters.parameters("a"))
    return result.detach(), list(slopes)


def must_be_alike(found: Sequence[Tensor], expected: Sequence[Tensor], atol: float = 1e-5, rtol: float = 1e-4) -> None:
    assert max(float(one.abs().max()) for one in expected) > 1e-3
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=atol, rtol=rtol)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("passes", [PACKED, AGAIN, BOTH], ids=["packed", "again", "both"])
def test_log_probabilities_and_gradients_are_those_of_plain_passes(tiny_folder, kind: str, passes: PassesConfig):
    (logprobs, slopes), (expected, plain) = (
        learned(backbone, make_batch(backbone, PROMPTS, RESPONSES))
        for backbone in (load(tiny_folder(kind), passes), load(tiny_folder(kind), PLAIN))
    )
    must_be_alike([logprobs], [expected])
    must_be_alike(slopes, plain)


def test_layers_that_are_computed_again_give_the_same_bits(tiny_folder):
    batch = make_batch(load(tiny_folder("qwen3"), PLAIN), PROMPTS[:3], RESPONSES[:3])
    found, expected = (learned(load(tiny_folder("qwen3"), passes), batch) for passes in (AGAIN, PLAIN))
    assert torch.equal(found[0], expected[0])
    assert all(torch.equal(one, other) for one, other in zip(found[1], expected[1], strict=True))


def test_in_16_bits_packed_rows_are_as_near_to_32_bits_as_padded_ones(tiny_folder):
    folder = tiny_folder("llama")
    exact, _ = learned(load(folder, PLAIN), make_batch(load(folder, PLAIN), PROMPTS, RESPONSES))
    far = []
    for passes in (PLAIN, BOTH):
        backbone = load(folder, passes, dtype="bfloat16")
        logprobs, slopes = learned(backbone, make_batch(backbone, PROMPTS, RESPONSES))
        assert all(slope.dtype == torch.float32 for slope in slopes), "adapters and their gradients keep 32 bits"
        far.append(float((logprobs - exact).abs().mean()))
    assert 0 < far[1] < 2 * far[0]


def test_padding_is_not_read(tiny_folder):
    backbone = load(tiny_folder("llama"), PACKED)
    seen = embedded(backbone)
    ids, mask = backbone.pad_left(PROMPTS[:3])
    states = backbone.hidden(ids, mask, 4)
    assert seen == [(1, 15)] and states.shape == (3, 4, 32)
    assert not states[0, 0].any() and not states[2, :2].any() and states[mask[:, -4:].bool()].any(1).all()


def test_a_prompt_is_shared_where_that_reads_less_than_packing(tiny_folder):
    backbone = load(tiny_folder("llama"), PACKED)
    seen = embedded(backbone)
    states_before(backbone, make_batch(backbone, PROMPTS, RESPONSES))
    assert seen == [(1, 25 + 11)], "3 + 10 + 2 + 10 tokens of prompts, 11 of responses; shared: 3 x 10 + 4 x 4"
    states_before(backbone, make_batch(backbone, [[9] * 10] * 4, RESPONSES))
    assert seen[1:] == [(1, 10), (4, 4)]


def test_what_is_to_be_computed_again_is_not_put_into_a_cache(tiny_folder):
    backbone = load(tiny_folder("llama"), AGAIN)
    seen, batch = embedded(backbone), make_batch(backbone, [[9] * 10] * 4, RESPONSES)
    with torch.no_grad():
        states_before(backbone, batch)
    assert seen == [(1, 10), (4, 4)]
    states_before(backbone, batch)
    assert seen[2:] == [(4, 15)]


def test_a_pass_that_fills_a_cache_fills_it_once(tiny_folder):
    backbone = load(tiny_folder("llama"), AGAIN)
    cache = DynamicCache(config=backbone.model.config)
    with backbone.adapters.using("a", train=True):
        backbone.hidden(*backbone.pad_left([[1, 2, 3]]), 3, cache).sum().backward()
    assert [layer.get_seq_length() for layer in cache.layers] == [3, 3]


@pytest.mark.parametrize("layers", [None, 1])
def test_pooled_rows_are_those_of_plain_passes(tiny_folder, layers: int | None):
    rows = [Row((1, 2, 3, 4), ((0, 2), (2, 4)), 4), Row((5, 6), ((0, 2),), 2), Row(tuple(range(9)), ((3, 9),), 6)]
    found = [load(tiny_folder("qwen3"), passes).pooled(rows, layers) for passes in (PACKED, PLAIN)]
    assert found[0].shape == (4, 32)
    must_be_alike(found[:1], found[1:])


def test_a_graph_of_layers_that_are_computed_again_keeps_less(tiny_folder, tmp_path: Path):
    deep = AutoConfig.for_model(
        "llama", vocab_size=264, hidden_size=32, intermediate_size=64, num_hidden_layers=8, num_attention_heads=4
    )
    AutoModelForCausalLM.from_config(deep).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    kept = []
    for passes in (PLAIN, AGAIN):
        backbone = load(tmp_path, passes)
        ids = torch.arange(40)[None]

        def one_pass(backbone: Backbone = backbone, ids: Tensor = ids) -> Tensor:
            with backbone.adapters.using("a", train=True):
                return backbone.hidden(ids, torch.ones_like(ids), 40)

        kept.append(graph_bytes(backbone.model, one_pass))
    # One layer of eight, and what the other seven are given: 40 x 32 numbers of 4 bytes each.
    assert 7 * 40 * 32 * 4 < kept[1] < kept[0] / 4


def test_rows_that_outgrow_a_window_are_padded(tiny_folder):
    backbone = load(tiny_folder("llama"), PACKED)
    backbone.window = 8
    seen = embedded(backbone)
    for prompts in ([[1, 2, 3], [4]], PROMPTS[:2]):
        backbone.hidden(*backbone.pad_left(prompts), 1)
    assert seen == [(1, 4), (2, 10)]


def test_rows_with_hardly_any_padding_stay_beside_one_another(tiny_folder):
    backbone = load(tiny_folder("llama"), PACKED)
    seen = embedded(backbone)
    for missing in (1, 2):
        backbone.hidden(*backbone.pad_left([[7] * 10, [7] * (10 - missing)]), 1)
    assert seen == [(2, 10), (1, 18)]


def saved(folder: Path, kind: str, **shape: Any) -> Path:
    config = AutoConfig.for_model(kind, vocab_size=264, eos_token_id=256, **shape)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def test_a_model_whose_attention_cannot_be_replaced_is_refused(tmp_path: Path):
    folder = saved(tmp_path, "gpt_neo", hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global"], 2]])
    with pytest.raises(InvalidInput, match="the attention of 'gpt_neo' is eager, and only sdpa can be packed") as told:
        load(folder, PACKED)
    assert told.value.field == "model.passes.packing"


def test_a_model_whose_rows_are_others_behind_one_another_is_refused(tiny_folder, monkeypatch):
    def forgets(trunk: nn.Module, ids: Tensor, mask: Tensor, takes_positions: bool) -> Tensor:
        found = trunk(input_ids=ids[mask.bool()][None], use_cache=False).last_hidden_state[0]
        return found.new_zeros(*ids.shape, found.shape[-1]).index_put((mask.bool(),), found)

    monkeypatch.setattr("rlhf_core.models.backbone.packed_states", forgets)
    with pytest.raises(InvalidInput, match=r"behind one another \(model.passes.packing\) are not those of the row"):
        load(tiny_folder("llama"), PACKED)


def test_a_model_whose_layers_are_not_found_is_refused_by_the_setting_that_asked_for_them(tiny_folder, monkeypatch):
    monkeypatch.setattr("rlhf_core.models.kernels.lower_layers.NAMES", ())
    with pytest.raises(
        InvalidInput, match=r"recompute: no list of layers was found in 'llama'; allowed: .* false"
    ) as told:
        load(tiny_folder("llama"), AGAIN)
    assert told.value.field == "model.passes.recompute"


def test_an_encoder_computes_again_too(tmp_path: Path):
    save_encoder(tmp_path)
    slopes = []
    for passes in (AGAIN, PLAIN):
        encoder = Encoder.load(str(tmp_path), ModelConfig(base_model=str(tmp_path), passes=passes))
        encoder.adapters.add("a", 0)
        with encoder.adapters.using("a", train=True):
            pooled = encoder.pooled([Row((1, 2, 3, 4), ((1, 4),), 3), Row((1, 9), ((1, 2),), 1)])
            slopes.append(torch.autograd.grad(pooled.square().sum(), encoder.adapters.parameters("a")))
    assert any(slope.any() for slope in slopes[0])
    assert all(torch.equal(one, other) for one, other in zip(*slopes, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_off_is_as_before(tiny_model: Callable[[str], Backbone], kind: str):
    backbone = tiny_model(kind)
    assert backbone.model.config._attn_implementation == "sdpa"
    assert all("forward" not in vars(module) for module in backbone.model.modules())
