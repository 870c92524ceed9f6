"""Writing in memory that does not move: the tokens of the plain loop, whatever was there before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ByteSize, ValidationError
from torch.utils._python_dispatch import TorchDispatchMode

from rlhf_core.config.run import LoraConfig, ModelConfig, PassesConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.inference.engines import fixed
from rlhf_core.inference.generate import Generated, generate
from rlhf_core.inference.sequence import SamplingParams, TokenMeaning, TokenSequence
from rlhf_core.models.backbone import Backbone

KINDS = ("llama", "gpt2", "qwen3")
PROMPTS = [[10, 20, 30], [7] * 12, [1, 2, 3, 4, 5, 6], [200, 100]]


def load(folder: Path, fixed_cache: bool, dtype: str = "float32") -> Backbone:
    passes = PassesConfig(fixed_cache=fixed_cache)
    config = {"base_model": str(folder), "dtype": dtype, "lora": LoraConfig(rank=4, alpha=8), "passes": passes}
    backbone = Backbone.load(str(folder), ModelConfig.model_validate(config))
    backbone.adapters.add("a", 1)
    with torch.no_grad():
        for parameter in backbone.adapters.parameters("a"):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)) * 0.02)
    return backbone


def written(backbone: Backbone, adapter: str | None = "a", n: int = 6, tokens: int = 20) -> list[Generated]:
    with backbone.adapters.using(adapter):
        return generate(backbone, PROMPTS, n=n, temperature=1.0, max_tokens=tokens, seed=5)


def must_be_alike(found: list[Generated], expected: list[Generated]) -> None:
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_are_those_of_the_plain_loop(tiny_folder: Callable[[str], Path], kind: str):
    moved, plain = load(tiny_folder(kind), True), load(tiny_folder(kind), False)
    must_be_alike(written(moved), written(plain))
    assert moved in fixed._caches and plain not in fixed._caches


def test_rows_that_end_leave_half_of_the_places_and_the_others_go_on(tiny_folder, monkeypatch):
    moved, plain = load(tiny_folder("llama"), True), load(tiny_folder("llama"), False)
    moved.stop_ids = plain.stop_ids = tuple(range(32))
    expected = written(plain, n=16)
    assert len({len(one.tokens) for one in expected}) > 8, "rows end at different times"
    seen: list[fixed.Steps] = []
    whole_pass = fixed.FixedDecoder._pass

    def watched(decoder: fixed.FixedDecoder) -> torch.Tensor:
        seen.append(decoder._cache.sees)
        return whole_pass(decoder)

    monkeypatch.setattr(fixed.FixedDecoder, "_pass", watched)
    must_be_alike(written(moved, n=16), expected)
    own = [steps.rows for steps in seen if steps.rows > 8 or steps is seen[-1]]
    assert own[0] == 64 and sorted(own, reverse=True) == own and {64, 32, 16} <= {*own}


def test_a_step_sees_more_columns_only_once_it_needs_them(tiny_folder, monkeypatch):
    monkeypatch.setattr(fixed, "COLUMNS", 8)
    moved, plain = load(tiny_folder("llama"), True), load(tiny_folder("llama"), False)
    must_be_alike(written(moved), written(plain))
    assert fixed._caches[moved].sees.columns in (16, 24, 32)


def test_what_a_batch_before_left_changes_nothing(tiny_folder):
    moved, plain = load(tiny_folder("llama"), True), load(tiny_folder("llama"), False)
    written(moved, tokens=30)
    cache = fixed._caches[moved]
    with torch.inference_mode():
        for buffer in (*cache.states, cache.mask):
            buffer.fill_(float("nan"))
    must_be_alike(written(moved), written(plain))
    must_be_alike(written(moved, adapter=None), written(plain, adapter=None))
    assert fixed._caches[moved] is cache


def test_in_16_bits_rows_begin_like_those_of_the_plain_loop(tiny_folder):
    moved, plain = load(tiny_folder("llama"), True, "bfloat16"), load(tiny_folder("llama"), False, "bfloat16")
    # The loops round alike up to the first token that falls the other way.
    rows = (written(backbone, n=3, tokens=3) for backbone in (moved, plain))
    alike = [one.tokens == other.tokens for one, other in zip(*rows, strict=True)]
    assert sum(alike) > len(alike) / 2


def test_another_batch_may_be_written_between_two_steps(tiny_folder):
    moved, plain = load(tiny_folder("llama"), True), load(tiny_folder("llama"), False)
    written(moved)
    inner: list[list[Generated]] = []
    steps = iter((False, False, False, True, False, True, False, True))

    def other_work() -> None:
        moved.before_pass = lambda: None
        if next(steps, False):
            with moved.adapters.using(None):
                one = generate(moved, [[5] * 8], n=2, temperature=1.0, max_tokens=12, seed=len(inner) + 1)
            inner.append(one)
        moved.before_pass = other_work

    moved.before_pass = other_work
    must_be_alike(written(moved), written(plain))
    assert len(inner) == 3
    expected = [generate(plain, [[5] * 8], n=2, temperature=1.0, max_tokens=12, seed=seed) for seed in (1, 2, 3)]
    for found, alike in zip(inner, expected, strict=True):
        must_be_alike(found, alike)


def test_factors_that_are_rounded_once_give_the_same_bits_also_after_an_update(tiny_folder):
    moved, base = load(tiny_folder("llama"), True, "bfloat16"), load(tiny_folder("llama"), True)
    assert base.adapters.rounded() is None, "an adapter of 32 bits on a base of 32 bits"
    first = written(moved)
    rounded = fixed._caches[moved].rounded
    assert rounded is not None and all(layer.rounded is None for layer, _, _ in rounded._copies)
    with torch.no_grad():
        for parameter in moved.adapters.parameters("a"):
            parameter.add_(0.01)
    after = written(moved)
    assert fixed._caches[moved].rounded is rounded, "they stay where they are"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(moved.adapters), "rounded", lambda _: None)
        fixed._caches.clear()
        assert written(moved) == after != first


def test_a_window_that_rows_outgrow_is_left_to_the_plain_loop(tiny_folder):
    moved = load(tiny_folder("llama"), True)
    moved.window = 20
    assert fixed.suits(moved, 20) and not fixed.suits(moved, 21)


def test_a_model_that_writes_something_else_there_is_refused(tiny_folder, monkeypatch):
    moved, honest = load(tiny_folder("llama"), True), Backbone.next_logits
    monkeypatch.setattr(Backbone, "next_logits", lambda self, *given: honest(self, *given).flip(-1))
    with pytest.raises(InvalidInput, match=r"differ by .* from those of plain passes; allowed: false") as told:
        written(moved)
    assert told.value.field == "model.passes.fixed_cache"
    monkeypatch.setattr(Backbone, "next_logits", honest)
    assert written(moved), "it is tried again"


class Ops(TorchDispatchMode):
    """The names of the operations that are done while it watches."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func._overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


LOOKS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "lift_fresh", "equal", "is_nonzero"}
"""Operations that wait for a value, or bring one from the host: a graph cannot hold them."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_looks_at_no_value_so_that_it_can_be_recorded(tiny_folder, kind: str):
    moved = load(tiny_folder(kind), True)
    meaning = TokenMeaning(moved.decode, frozenset())
    params = SamplingParams(max_tokens=4)
    with moved.adapters.using("a"), torch.inference_mode():
        decoder = fixed.FixedDecoder(moved)
        decoder.join([TokenSequence((1, 2, 3), 0, "base", params, meaning)])
        kept = [buffer.data_ptr() for buffer in decoder._cache.states]
        decoder.compute()
        with Ops() as ops:
            logits = decoder._pass()
        again = decoder._pass()
        with Ops() as looks:
            decoder.step()
    assert len(ops.names) > 50 and not LOOKS & {*ops.names}
    assert LOOKS & {*looks.names}, "drawing a token does look, outside of the pass"
    assert torch.equal(logits, again), "a pass may be repeated"
    assert kept == [buffer.data_ptr() for buffer in decoder._cache.states]


def test_a_budget_of_memory_does_not_go_with_memory_that_stays():
    with pytest.raises(
        ValidationError, match=r"memory_budget is 3.00 GB and passes\.fixed_cache is true; allowed: one"
    ):
        ModelConfig(memory_budget=ByteSize(3 * 10**9), passes=PassesConfig(fixed_cache=True))


def test_graphs_of_an_adapter_that_came_or_went_are_not_repeated(tiny_folder):
    moved = load(tiny_folder("llama"), True)
    written(moved)
    cache, recorded = fixed._caches[moved], fixed.Steps(8, 64)
    graph: Any = "a graph"
    cache.graphs[recorded] = graph
    with moved.adapters.using("a"):
        cache.turn_to(moved.adapters)
        assert recorded in cache.graphs
    for change in (lambda: moved.adapters.copy("a", "b"), lambda: moved.adapters.delete("b")):
        change()
        with moved.adapters.using("a"):
            cache.turn_to(moved.adapters)
        assert not cache.graphs
        cache.graphs[recorded] = graph
    cache.turn_to(moved.adapters)
    assert not cache.graphs, "of another adapter: none is active"
