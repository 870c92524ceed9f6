"""The sampler's process: what it writes is what this process would, whatever becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.errors import CharterError, Unavailable
from rlhf_core.inference import own_sampler, sampler_process
from rlhf_core.inference.generate import Generated, generate, write_rows
from rlhf_core.inference.own_sampler import OwnSampler
from rlhf_core.inference.remote_sampler import RemoteSampler
from rlhf_core.inference.sampler_process import Beginning, Question, Written, answers
from rlhf_core.inference.sampler_server import Row
from rlhf_core.models.backbone import Backbone

PROMPTS = [[1, 2, 3], [9] * 10, [1, 2, 3], [4, 5]]
DRAW = {"n": 20, "temperature": 0.7, "max_tokens": 6, "seed": 5}


@pytest.fixture
def backbone(tiny_model) -> Backbone:
    backbone = tiny_model()
    backbone.adapters.add("policy", 0)
    with torch.no_grad():
        for i, weight in enumerate(backbone.adapters.parameters("policy")):
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(i)))
    return backbone


def model_of(backbone: Backbone, threads: int = 1) -> ModelConfig:
    return ModelConfig(base_model=backbone.path, lora=LoraConfig(rank=4, alpha=8), threads=threads)


@pytest.fixture
def process(backbone, tmp_path) -> Iterator[OwnSampler]:
    with closing(OwnSampler(backbone, model_of(backbone), tmp_path / "log")) as process:
        yield process


def here(backbone: Backbone, **draw) -> list[Generated]:
    with backbone.adapters.using("policy"):
        return generate(backbone, PROMPTS, **(DRAW | draw))


def test_a_question_is_answered_in_pieces_by_the_adapter_that_it_names(backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(sampler_process, "PIECE", 3)
    backbone.adapters.save("policy", tmp_path / "policy")
    rows = tuple(Row(prompt, seed) for seed, prompt in enumerate(PROMPTS))
    asked = Question(adapter="policy-1", folder=tmp_path / "policy", rows=rows, temperature=0.7, max_tokens=6)
    base, unknown = (asked.model_copy(update=told) for told in ({"adapter": ""}, {"adapter": "x", "folder": tmp_path}))
    lines = [Beginning(path=backbone.path, model=model_of(backbone, torch.get_num_threads()))]
    said = (record.model_dump_json() for record in [*lines, asked, base, unknown, asked])
    heard = [Written.model_validate_json(line) for line in answers(said)]
    assert [len(answer.rows) for answer in heard] == [3, 1, 3, 1, 0, 3, 1]
    assert "no adapter in" in heard[4].error and heard[:2] == heard[5:] and heard[0] != heard[2]
    with backbone.adapters.using("policy"):
        own = write_rows(backbone, [(row.prompt, row.seed) for row in rows], temperature=0.7, max_tokens=6)
    assert [row.tokens for answer in heard[:2] for row in answer.rows] == [row.tokens for row in own]


@pytest.mark.slow
def test_it_writes_what_this_process_does_and_tells_of_each_row_once(backbone, process, tmp_path):
    sampler = RemoteSampler(process, backbone, tmp_path / "adapters", 0.1)
    version, told = sampler.hand_over_adapter("policy", 3).version, []
    rows = sampler.write(version, PROMPTS, **DRAW, told=lambda index, row: told.append((index, row)))
    assert told == list(enumerate(rows)) and len(rows) == 80
    own = here(backbone)
    assert [(row.tokens, row.finished) for row in rows] == [(row.tokens, row.finished) for row in own]
    for row, expected in zip(rows, own, strict=True):
        assert row.logprobs == pytest.approx(expected.logprobs, abs=1e-5)
    part = sampler.write(version, PROMPTS, **DRAW, share=slice(10, 30))
    assert [row.tokens for row in part] == [row.tokens for row in rows[10:30]]


@pytest.mark.slow
def test_one_that_is_killed_is_started_again_and_asked_for_what_is_missing(backbone, process, tmp_path):
    sampler = RemoteSampler(process, backbone, tmp_path / "adapters", 0.1)
    version, told, killed = sampler.hand_over_adapter("policy", 3).version, [], []

    def tell(index: int, row: Generated) -> None:
        told.append(index)
        if not killed:
            killed.append(process.pid)
            os.kill(process.pid or 0, signal.SIGKILL)

    rows = sampler.write(version, PROMPTS, **DRAW, told=tell)
    assert told == list(range(80)) and process.pid not in (None, *killed)
    assert [row.tokens for row in rows] == [row.tokens for row in here(backbone)]


def test_one_that_is_lost_again_and_again_is_given_up_and_its_last_words_are_logged(
    backbone, process, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(own_sampler, "PROCESS", "rlhf_core.no_such_module")
    sampler = RemoteSampler(process, backbone, tmp_path / "adapters", 0.1)
    with pytest.raises(Unavailable, match="ended with 1, 3 times in a row"):
        sampler.write(sampler.hand_over_adapter("policy", 3).version, PROMPTS, **DRAW)
    assert "No module named rlhf_core.no_such_module" in caplog.text and process.pid is None


@pytest.mark.slow
def test_who_gives_up_leaves_no_answer_to_the_next_question(backbone, process, tmp_path):
    sampler = RemoteSampler(process, backbone, tmp_path / "adapters", 0.1)
    version = sampler.hand_over_adapter("policy", 3).version

    def give_up() -> None:
        raise CharterError("enough")

    with pytest.raises(CharterError, match="enough"):
        sampler.write(version, PROMPTS, **DRAW, poll=give_up)
    other = sampler.write(version, PROMPTS, **(DRAW | {"seed": 6}))
    assert [row.tokens for row in other] == [row.tokens for row in here(backbone, seed=6)]


@pytest.mark.slow
def test_it_ends_when_nobody_is_left_to_ask_it(backbone):
    child = subprocess.Popen(
        [sys.executable, "-m", own_sampler.PROCESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    assert child.stdin is not None and child.stdout is not None
    with child.stdin, child.stdout:
        beginning = Beginning(path=backbone.path, model=model_of(backbone))
        question = Question(adapter="", folder=Path(), rows=(Row([1, 2], 0),), temperature=0.7, max_tokens=4)
        child.stdin.write(f"{beginning.model_dump_json()}\n{question.model_dump_json()}\n".encode())
        child.stdin.flush()
        assert len(Written.model_validate_json(child.stdout.readline()).rows) == 1
        child.stdin.close()
        assert child.wait(20) == 0
