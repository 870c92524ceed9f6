"""What every engine must do, tried on each: the same texts alone or among others, nobody held up, nothing left over."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch

from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batcher import Batcher
from rlhf_core.models.generation import generate, row_seed
from rlhf_core.models.native_decoder import NativeDecoder
from rlhf_core.models.writing import Ask, Speech, Writing

PROMPTS = [(10, 20, 30), (7,) * 12, (1, 2, 3, 4, 5, 6), (200, 100), tuple(range(40, 70))]


class Desk:
    """An engine over a tiny model with two adapters, and a way to ask it."""

    def __init__(self, backbone: Backbone, max_rows: int = 128, max_positions: int = 65536):
        self.backbone = backbone
        self.speech = Speech(backbone.decode, backbone.stop_ids)
        self.batcher = Batcher(lambda version: NativeDecoder(backbone), self.active, max_rows, max_positions)

    @contextmanager
    def active(self, version: str) -> Iterator[None]:
        with self.backbone.using(None if version == "base" else version):
            yield

    def rows(
        self,
        prompts: Sequence[tuple[int, ...]],
        *,
        n: int = 1,
        policy: str = "base",
        temperature: float = 1.0,
        max_tokens: int = 16,
        stop: tuple[str, ...] = (),
        gone: Callable[[], bool] = lambda: False,
    ) -> list[Writing]:
        rows = [
            Writing(Ask(policy, prompt, row_seed(3, prompt, k), temperature, max_tokens, stop), self.speech)
            for prompt in prompts
            for k in range(n)
        ]
        self.batcher.add(rows, gone)
        return rows

    def write(self, *rows: Sequence[Writing]) -> None:
        for _ in range(5000):
            if all(row.ended for call in rows for row in call):
                return
            self.batcher.step()
        raise AssertionError("the engine does not end")


@pytest.fixture(params=["native"])
def desk(request: pytest.FixtureRequest, tiny_model: Callable[[str], Backbone]) -> Callable[..., Desk]:
    def make(kind: str = "llama", **limits: int) -> Desk:
        backbone = tiny_model(kind)
        for seed, name in enumerate(("v1", "v2")):
            backbone.add_adapter(name, seed)
            for index, parameter in enumerate(backbone.adapter_parameters(name)):
                generator = torch.Generator().manual_seed(100 * seed + index)
                parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
        return Desk(backbone, **limits)

    return make


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 0.7])
def test_texts_are_those_of_the_rollouts(desk, kind, temperature):
    engine = desk(kind)
    rows = engine.rows(PROMPTS, n=3, policy="v1", temperature=temperature, max_tokens=24)
    engine.write(rows)
    with engine.backbone.using("v1"):
        expected = generate(
            engine.backbone, [list(p) for p in PROMPTS], n=3, temperature=temperature, max_tokens=24, seed=3
        )
    assert [row.tokens for row in rows] == [result.tokens for result in expected]
    assert [row.finished for row in rows] == [result.finished for result in expected]
    for row, result in zip(rows, expected, strict=True):
        assert row.logprobs == pytest.approx(result.logprobs, abs=2e-4)


def test_memory_is_freed(desk):
    engine = desk()
    rows = engine.rows(PROMPTS, n=8, max_tokens=30)
    engine.batcher.step()
    assert engine.batcher.bytes > 0
    engine.write(rows)
    assert engine.batcher.bytes == 0 and not engine.batcher.rows and not engine.batcher.versions
