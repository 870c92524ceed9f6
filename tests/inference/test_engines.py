"""What every engine must do, tried on each: the same texts alone or among others, nobody held up, nothing left over."""

import gc
import json
import shutil
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig

from rlhf_core.config.run import EngineName, ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.inference.engine import Engine
from rlhf_core.inference.generate import generate
from rlhf_core.inference.sampling import row_seed
from rlhf_core.inference.sequence import SamplingParams, TokenMeaning, TokenSequence
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import make_batch
from rlhf_core.models.logprobs import response_logprobs

PROMPTS = [(10, 20, 30), (7,) * 12, (1, 2, 3, 4, 5, 6), (200, 100), tuple(range(40, 70))]
WITH_VLLM = pytest.mark.skipif(
    find_spec("vllm") is None or not torch.cuda.is_available(), reason="vllm is not installed, or there is no GPU"
)


class Desk:
    """An engine over a tiny model with two adapters, and a way to ask it."""

    def __init__(self, name: EngineName, backbone: Backbone, folder: Path, **limits: int):
        self.name, self.backbone, self._folder = name, backbone, folder
        self.meaning = TokenMeaning(backbone.decode, backbone.stop_ids)
        self.engine = Engine(name, backbone, self, **limits)

    def using_policy(self, version_id: str, in_use: Collection[str] = ()) -> AbstractContextManager[None]:
        return self.backbone.adapters.using(None if version_id == "base" else version_id)

    def policy_folder(self, version_id: str) -> Path | None:
        return None if version_id == "base" else self._folder / version_id

    def rows(
        self,
        prompts: Sequence[tuple[int, ...]],
        *,
        n: int = 1,
        policy: str = "base",
        temperature: float = 1.0,
        max_tokens: int = 16,
        stop: tuple[str, ...] = (),
        shown: bool = False,
    ) -> list[TokenSequence]:
        params = SamplingParams(n=n, temperature=temperature, max_tokens=max_tokens, seed=3, stop=stop)
        rows = [
            TokenSequence(prompt, row_seed(3, prompt, k), policy, params, self.meaning, shown)
            for prompt in prompts
            for k in range(n)
        ]
        self.engine.scheduler.add(rows)
        return rows

    def write(self, *calls: Sequence[TokenSequence]) -> None:
        for _ in range(2000):
            if all(row.ended for call in calls for row in call):
                return
            self.engine.step()
        raise AssertionError("the engine does not end")


@pytest.fixture(params=["native", "transformers", pytest.param("vllm", marks=WITH_VLLM)])
def new_desk(
    request: pytest.FixtureRequest, tiny_model: Callable[[str], Backbone], tmp_path: Path
) -> Callable[..., Desk]:
    def make(kind: str = "llama", **limits: int) -> Desk:
        backbone = tiny_model(kind)
        for seed, name in enumerate(("v1", "v2")):
            backbone.adapters.add(name, seed)
            for index, parameter in enumerate(backbone.adapters.parameters(name)):
                generator = torch.Generator().manual_seed(100 * seed + index)
                parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
            backbone.adapters.save(name, tmp_path / name)
        return Desk(request.param, backbone, tmp_path, **limits)

    return make


def tokens(rows: Sequence[TokenSequence]) -> list[list[int]]:
    return [row.tokens for row in rows]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_greedy_writing_is_that_of_hugging_face(new_desk, kind):
    desk = new_desk(kind)
    rows = desk.rows(PROMPTS, temperature=0, max_tokens=20)
    desk.write(rows)
    backbone = desk.backbone
    settings = GenerationConfig(max_new_tokens=20, do_sample=False, eos_token_id=backbone.eos_id, pad_token_id=0)
    for row in rows:
        ids = torch.tensor([row.prompt])
        expected = backbone.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        assert row.tokens == expected[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_texts_are_those_of_rollouts_with_the_same_seeds(new_desk, temperature):
    desk = new_desk()
    if desk.name == "vllm":
        pytest.skip("vllm draws from noise of its own")
    rows = desk.rows(PROMPTS, n=3, policy="v1", temperature=temperature, max_tokens=24)
    desk.write(rows)
    with desk.backbone.adapters.using("v1"):
        prompts = [list(prompt) for prompt in PROMPTS]
        expected = generate(desk.backbone, prompts, n=3, temperature=temperature, max_tokens=24, seed=3)
    assert tokens(rows) == [result.tokens for result in expected]
    assert [row.finished for row in rows] == [result.finished for result in expected]


def test_a_text_is_the_same_alone_and_among_others_that_come_and_go(new_desk):
    desk = new_desk(max_rows=6)
    alone = desk.rows([PROMPTS[0]], n=2, max_tokens=30)
    desk.write(alone)
    first = desk.rows([PROMPTS[4], PROMPTS[1]], max_tokens=9)
    for _ in range(3):
        desk.engine.step()
    among = desk.rows([PROMPTS[0]], n=2, max_tokens=30)
    desk.engine.step()
    later = desk.rows(PROMPTS, n=2, max_tokens=12)
    desk.write(first, among, later)
    assert tokens(among) == tokens(alone) and tokens(alone)[0] != tokens(alone)[1]
    assert among[0].logprobs == pytest.approx(alone[0].logprobs, abs=1e-4)


def test_logprobs_are_those_of_a_plain_pass(new_desk):
    desk = new_desk()
    rows = desk.rows(PROMPTS, n=2, policy="v2", temperature=0.8)
    desk.write(rows)
    with desk.backbone.adapters.using("v2"), torch.no_grad():
        batch = make_batch(desk.backbone, [row.prompt for row in rows], tokens(rows))
        again = response_logprobs(desk.backbone, batch, 0.8)
    for row, expected in zip(rows, again, strict=True):
        assert expected[: len(row.tokens)].tolist() == pytest.approx(row.logprobs, abs=1e-4)


def test_each_response_comes_from_its_own_version_while_another_one_writes(new_desk):
    desk = new_desk()
    alone = {}
    for version in ("base", "v1", "v2"):
        alone[version] = desk.rows(PROMPTS[:2], policy=version, max_tokens=20)
        desk.write(alone[version])
    old = desk.rows(PROMPTS[:2], policy="v1", max_tokens=20)
    for _ in range(4):
        desk.engine.step()
    new = desk.rows(PROMPTS[:2], policy="v2", max_tokens=20)
    base = desk.rows(PROMPTS[:2], policy="base", max_tokens=20)
    desk.engine.step()
    assert desk.engine.versions == {"base", "v1", "v2"}
    desk.write(old, new, base)
    assert tokens(old) == tokens(alone["v1"]) and tokens(new) == tokens(alone["v2"])
    assert tokens(base) == tokens(alone["base"])
    assert tokens(old) != tokens(new) != tokens(base)


def test_a_short_answer_does_not_wait_for_a_long_one(new_desk):
    desk = new_desk()
    long = desk.rows([(200, 100)], temperature=0, max_tokens=150)
    for _ in range(5):
        desk.engine.step()
    short = desk.rows([PROMPTS[0]], temperature=0, max_tokens=3)
    for _ in range(4):
        desk.engine.step()
    assert short[0].ended and not long[0].ended


def test_a_caller_with_many_prompts_leaves_room_for_others(new_desk):
    desk = new_desk(max_rows=16)
    many = desk.rows([(k, k + 1, k + 2) for k in range(60)], temperature=0, max_tokens=40)
    for _ in range(3):
        desk.engine.step()
    assert 8 <= len(desk.engine.rows) <= 16
    one = desk.rows([PROMPTS[1]], temperature=0, max_tokens=2)
    for _ in range(3):
        desk.engine.step()
    assert one[0].ended and desk.engine.scheduler.waiting > 0
    desk.write(many)


def test_rows_and_positions_are_bounded_and_all_is_written(new_desk):
    desk = new_desk(max_rows=4, max_positions=100)
    rows = desk.rows([(k, 5) for k in range(9)], max_tokens=10)
    wide = desk.rows([PROMPTS[4]], max_tokens=110)
    late = desk.rows([(3, 4)], max_tokens=5)
    seen = []
    while not all(row.ended for row in (*rows, *wide, *late)):
        desk.engine.step()
        working = desk.engine.rows
        seen.append(len(working) * max((row.reach for row in working), default=0))
        assert len(working) <= 4
        assert seen[-1] <= 100 or len(working) == 1
        assert len(seen) < 1000
    assert max(seen) == 140


def test_a_caller_who_goes_is_dropped_within_a_token_and_the_memory_freed(new_desk):
    desk = new_desk()
    left = desk.rows(PROMPTS, n=3, temperature=0, max_tokens=100)
    stays = desk.rows([(9, 9, 9)], temperature=0, max_tokens=12)
    waiting = desk.rows([(1, 1)] * 3)
    for _ in range(3):
        desk.engine.step()
    written = [len(row.tokens) for row in left]
    desk.engine.abort([*left, *waiting])
    assert all(row.ended for row in (*left, *waiting))
    assert all(len(row.tokens) <= before for row, before in zip(left, written, strict=True))
    assert desk.engine.rows == [row for row in stays if not row.ended]
    desk.write(stays)
    desk.engine.step()
    gc.collect()
    assert desk.engine.bytes == 0 and desk.engine.scheduler.waiting == 0 and not desk.engine.versions


def test_a_stop_string_ends_the_text_before_it(new_desk):
    desk = new_desk()
    whole = desk.rows([PROMPTS[0]], n=6, temperature=1.0, max_tokens=24)
    desk.write(whole)
    text = max((row.text() for row in whole), key=len)
    row = next(row for row in whole if row.text() == text)
    stop = text[5:8]
    again = desk.rows([PROMPTS[0]], n=6, temperature=1.0, max_tokens=24, stop=(stop, "never seen"))
    desk.write(again)
    found = again[whole.index(row)]
    assert found.text() == text[: text.index(stop)] and found.finished
    assert found.tokens == row.tokens[: len(found.tokens)] and len(found.tokens) < len(row.tokens)
    for old, new in zip(whole, again, strict=True):
        assert new.text() == (old.text()[: old.text().index(stop)] if stop in old.text() else old.text())


def test_pieces_make_the_text_and_nothing_is_taken_back(new_desk):
    desk = new_desk()
    (row,) = desk.rows([PROMPTS[1]], max_tokens=24, stop=("\ufffe",), shown=True)
    shown = ""
    while not row.ended:
        desk.engine.step()
        shown += row.piece()
        assert row.text().startswith(shown) or row.text().endswith("\ufffd")
    assert shown == row.text()


def test_what_a_failed_step_leaves_is_cleared_away(new_desk, monkeypatch):
    desk = new_desk()
    rows = desk.rows(PROMPTS)
    desk.engine.step()
    (decoder,) = desk.engine._decoders.values()
    monkeypatch.setattr(decoder, "step", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        desk.engine.step()
    assert all(row.ended for row in rows) and not desk.engine.rows
    again = desk.rows(PROMPTS[:1], temperature=0, max_tokens=4)
    desk.write(again)
    assert again[0].tokens


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed")
def test_an_engine_that_is_not_there_is_named_with_what_to_do(tiny_model, tmp_path):
    with pytest.raises(InvalidInput, match=r"model.engine: vllm cannot be imported.*pip install") as error:
        Desk("vllm", tiny_model(), tmp_path)
    assert error.value.field == "model.engine"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_sliding_window_looks_back_the_same_way_in_a_batch(tiny_folder, tmp_path, temperature):
    folder = tmp_path / "mistral"
    shutil.copytree(tiny_folder("mistral"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sliding_window": 6}))
    desk = Desk("native", Backbone.load(str(folder), ModelConfig(base_model=str(folder))), tmp_path)
    first = desk.rows([PROMPTS[4], PROMPTS[1]], max_tokens=12, temperature=temperature)
    for _ in range(4):
        desk.engine.step()
    later = desk.rows(PROMPTS, max_tokens=20, temperature=temperature)
    desk.write(first, later)
    prompts = [list(prompt) for prompt in PROMPTS]
    expected = [
        generate(desk.backbone, [prompt], n=1, temperature=temperature, max_tokens=20, seed=3)[0].tokens
        for prompt in prompts
    ]
    assert tokens(later) == expected and tokens(first) == [expected[4][:12], expected[1][:12]]
