"""What `model.dtype: auto` came to is said by the run, so that an attempt elsewhere can be told from the one before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf_core.models.backbone import Backbone
from rlhf_core.pipeline import run_pipeline
from tests.stages.conftest import Desk, NumberJudge


@pytest.mark.parametrize(("dtype", "said"), [("auto", ["model.dtype: auto is float32 here"]), ("float32", [])])
def test_each_attempt_says_what_auto_came_to(desk: Desk, tiny_model: Callable[[], Backbone], tmp_path, dtype, said):
    backbone = tiny_model()
    shown: Path = tmp_path / "shown.jsonl"
    shown.write_text("\n".join(f'{{"prompt": "ask {i}", "response": "dust it"}}' for i in range(4)))
    config = {"kind": "sft", "model": {"dtype": dtype}, "sft": {"epochs": 1}, "data": {"demonstrations": str(shown)}}
    ctx = desk.context(NumberJudge(), config)
    tools = ctx.tools._replace(backbone=backbone, base_of=lambda _: backbone, on_device=lambda unit: unit())
    told: list[tuple[str, str]] = []
    run_pipeline(ctx.run, desk.store, tools, lambda kind, body: told.append((kind, body)), lambda: False)
    assert [json.loads(body)["text"] for kind, body in told if kind == "note"] == said
