"""The cache of a batch: rows that come take the places of those that went, and memory goes with the last."""

import gc
import weakref

import pytest
from transformers import LlamaConfig

from rlhf_core.errors import InvalidInput
from rlhf_core.inference.engines.native import NativeDecoder
from rlhf_core.inference.generate import generate
from rlhf_core.inference.kv_cache import SLACK, KVCache, prompt_cache
from rlhf_core.inference.sampling import row_seed
from rlhf_core.inference.sequence import SamplingParams, TokenMeaning, TokenSequence
from rlhf_core.models.backbone import Backbone
from tests.models.architectures import ARCHITECTURES, COMMON, load

LONG, SHORT = tuple(range(10, 90)), (10, 20, 30)


def sequence(backbone: Backbone, prompt: tuple[int, ...], max_tokens: int) -> TokenSequence:
    meaning = TokenMeaning(backbone.decode, ())
    params = SamplingParams(max_tokens=max_tokens)
    return TokenSequence(prompt, row_seed(3, prompt, 0), "base", params, meaning)


def cache_of(decoder: NativeDecoder) -> KVCache:
    assert decoder._cache is not None
    return decoder._cache


def alone(backbone: Backbone, prompt: tuple[int, ...], max_tokens: int) -> list[int]:
    decoder, row = NativeDecoder(backbone), sequence(backbone, prompt, max_tokens)
    decoder.join([row])
    while decoder.rows:
        decoder.step()
    return row.tokens


def test_the_memory_of_a_batch_is_free_once_its_rows_end_without_the_garbage_collector(tiny_model):
    backbone = tiny_model("llama")
    decoder = NativeDecoder(backbone)
    row = sequence(backbone, SHORT, 8)
    gc.disable()
    try:
        decoder.join([row])
        buffers = [weakref.ref(buffer) for buffer in cache_of(decoder).buffers]
        assert decoder.bytes > 0
        row.cut()
        decoder.leave()
        assert buffers and not any(buffer() is not None for buffer in buffers)
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_row_takes_the_place_of_one_that_ended_and_is_written_as_if_alone(tiny_model, kind):
    backbone = tiny_model(kind)
    decoder = NativeDecoder(backbone)
    first = [sequence(backbone, (5, 6, index), 40) for index in range(7)]
    short = sequence(backbone, LONG, 4)
    decoder.join([*first, short])
    for _ in range(6):
        decoder.step()
    assert short.ended and len(decoder.rows) == 7 and cache_of(decoder).count == 8, "its place is kept"
    late = [sequence(backbone, (9, 8, 7, index), 20) for index in range(2)]
    decoder.join(late)
    assert cache_of(decoder).count == 9
    while decoder.rows:
        decoder.step()
    for row in (*first, short, *late):
        assert row.tokens == alone(backbone, row.prompt, row.params.max_tokens)


def test_a_batch_is_made_smaller_once_a_quarter_of_it_has_ended(tiny_model):
    backbone = tiny_model("llama")
    decoder = NativeDecoder(backbone)
    rows = [sequence(backbone, (5, 6, index), 4 + 4 * (index >= 3)) for index in range(12)]
    decoder.join(rows)
    for _ in range(3):
        assert cache_of(decoder).count == 12
        decoder.step()
    assert cache_of(decoder).count == 9


def test_the_columns_of_a_long_prompt_go_with_it(tiny_model):
    backbone = tiny_model("llama")
    decoder = NativeDecoder(backbone)
    long, short = sequence(backbone, LONG, 2), sequence(backbone, SHORT, 30)
    decoder.join([long, short])
    assert cache_of(decoder).width == 80
    decoder.step()
    assert cache_of(decoder).width == 4
    while decoder.rows:
        decoder.step()
    assert short.tokens == alone(backbone, SHORT, 30)


def test_a_batch_has_no_more_room_than_its_rows_may_need(tiny_model):
    backbone = tiny_model("llama")
    decoder = NativeDecoder(backbone)
    decoder.join([sequence(backbone, (5, 6, index), 11) for index in range(5)])
    assert [tuple(buffer.shape[::2]) for buffer in cache_of(decoder).buffers] == [(5, 13)] * 5
    decoder.join([sequence(backbone, SHORT, 190 - len(SHORT))])
    assert {tuple(buffer.shape[::2]) for buffer in cache_of(decoder).buffers} == {(10, 3 + 3 + SLACK)}


def test_states_that_are_no_keys_and_values_are_refused_by_name(tiny_model, tmp_path):
    with pytest.raises(InvalidInput, match="the model keeps a LinearAttentionLayer"):
        generate(load("jamba", tmp_path), [[1, 2, 3]], n=1, temperature=0, max_tokens=2, seed=0)


def test_a_layer_that_keeps_nothing_is_left_alone():
    config = LlamaConfig(**COMMON | dict(ARCHITECTURES["llama"]))
    config.layer_types = ["full_attention", "moe"]
    assert [type(layer).__name__ for layer in prompt_cache(config).layers] == ["DynamicLayer", "DummyLayer"]
    assert [type(layer).__name__ for layer in KVCache(config).layers.layers] == ["_Layer", "DummyLayer"]
