"""The cache of rows that come and go lets go of its memory as soon as nobody writes."""

import gc
import weakref

from rlhf_core.inference.engines.native import NativeDecoder
from rlhf_core.inference.sequence import SamplingParams, TokenMeaning, TokenSequence


def test_the_memory_of_a_batch_is_free_once_its_rows_end_without_the_garbage_collector(tiny_model):
    backbone = tiny_model("llama")
    decoder = NativeDecoder(backbone)
    meaning = TokenMeaning(backbone.decode, backbone.stop_ids)
    row = TokenSequence((10, 20, 30), 1, "base", SamplingParams(max_tokens=8), meaning)
    gc.disable()
    try:
        decoder.join([row])
        assert decoder._slab is not None and decoder.bytes > 0
        buffers = [weakref.ref(buffer) for layer in decoder._slab._layers for buffer in layer.buffers]
        row.cut()
        decoder.leave()
        assert buffers and not any(buffer() is not None for buffer in buffers)
    finally:
        gc.enable()
