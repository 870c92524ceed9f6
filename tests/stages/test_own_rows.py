"""Rows that are longer than the model reads are found before the first stage, by file and line, or are left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlhf_core.errors import InvalidInput
from rlhf_core.models.backbone import Backbone
from rlhf_core.pipeline import run_pipeline
from rlhf_core.records.base import STAGES
from rlhf_core.stages.context import Context
from rlhf_core.stages.demonstrations import approved, replayed
from rlhf_core.stages.imported.own_rows import check_rows
from rlhf_core.stages.prompts import all_prompts
from rlhf_core.stages.reward_data import labels_of
from tests.stages.conftest import Desk, NumberJudge

LONG = "pan " * 200
SHORT = [{"prompt": f"Ask {n}?"} for n in range(12)]


def written(folder: Path, name: str, *rows: dict[str, Any]) -> str:
    path = folder / name
    path.write_text("\n".join(["", *(json.dumps(row) for row in rows)]))
    return str(path)


@pytest.fixture
def ready(desk: Desk, tmp_path: Path, tiny_model: Callable[[], Backbone]) -> Callable[..., Context]:
    """`ready(settings of data)`: a context of a model that reads 256 tokens, and files with a long row in each."""
    backbone = tiny_model()
    backbone.max_length = 256
    pair = {"chosen": "x", "rejected": "y"}
    files = {
        "prompts": written(tmp_path, "prompts.jsonl", *SHORT, SHORT[0], {"prompt": LONG}),
        "heldout_prompts": written(tmp_path, "heldout.jsonl", {"prompt": LONG}, {"prompt": "Held?"}),
        "demonstrations": written(
            tmp_path, "shown.jsonl", {"prompt": "Q", "completion": LONG}, SHORT[1] | {"response": "x"}
        ),
        "replay": written(tmp_path, "replay.jsonl", SHORT[2] | {"response": "x"}, {"prompt": LONG, "response": "x"}),
        "preferences": written(tmp_path, "pairs.jsonl", SHORT[3] | pair, SHORT[4] | pair | {"rejected": LONG}),
    }
    rated = {"responses": ["x", LONG], "ratings": [1, 2]}
    labels = {"helpful": written(tmp_path, "rated.jsonl", SHORT[5] | rated, SHORT[6] | {"response": "x", "rating": 1})}

    def context(**data: Any) -> Context:
        own = {**files, "preferences_objective": "helpful", "labels": labels, **data}
        reward = {"reference": False}
        ctx = desk.context(NumberJudge(), {"data": own, "ppo": {"ptx_coef": 0.5}, "reward": reward}, gold=False)
        tools = ctx.tools._replace(
            backbone=backbone, base_of=lambda name: backbone, on_device=lambda unit: unit(), world=None
        )
        return ctx._replace(tools=tools)

    return context


def test_every_overlong_row_is_refused_before_the_first_stage_by_file_and_line(ready, desk: Desk, tmp_path: Path):
    ctx: Context = ready()
    with pytest.raises(InvalidInput) as refused:
        run_pipeline(ctx.run, desk.store, ctx.tools, lambda kind, body: desk.notes.append(kind), lambda: False)
    lines = str(refused.value).splitlines()
    expected = [
        "prompts.jsonl:15",
        "heldout.jsonl:2",
        "shown.jsonl:2",
        "replay.jsonl:3",
        "pairs.jsonl:3",
        "rated.jsonl:2",
    ]
    assert [line.partition(": ")[0] for line in lines] == [str(tmp_path / place) for place in expected]
    assert "tokens" in lines[0] and "is 256" in lines[0] and "data.overlong=skip" in lines[-1]
    assert desk.notes == [], "no stage began"


def test_rows_that_are_skipped_are_counted_and_used_by_no_stage(ready, desk: Desk):
    ctx: Context = ready(overlong="skip")
    check_rows(ctx, STAGES)
    told = {note["text"] for note in map(json.loads, desk.notes)}
    said = {"prompts": (1, 14), "heldout_prompts": (1, 2), "demonstrations": (1, 2), "replay": (1, 2)}
    said |= {"preferences": (1, 2), "labels.helpful": (1, 2)}
    assert told == {
        f"data.{name}: {few} of {all_} rows are longer than the model reads and are skipped"
        for name, (few, all_) in said.items()
    }
    assert len(all_prompts(ctx).train) == 12 and len(all_prompts(ctx).heldout) == 1
    assert len(approved(ctx).demonstrations) == len(replayed(ctx).demonstrations) == 1
    assert [label.prompt.messages[0].content for label in labels_of(ctx, "helpful").labels] == ["Ask 3?", "Ask 6?"]


def test_only_the_files_of_the_stages_to_come_are_measured(ready, tmp_path: Path):
    plain = {"prompts": None, "heldout_prompts": None}
    check_rows(ready(**plain), ("evaluate", "report"))
    with pytest.raises(InvalidInput) as refused:
        check_rows(ready(**plain), ("sft",))
    assert str(refused.value).startswith(f"{tmp_path / 'shown.jsonl'}:2: ")


def test_a_file_of_which_nothing_is_left_is_refused(ready, tmp_path: Path):
    nothing = written(tmp_path, "nothing.jsonl", {"prompt": "Q", "completion": LONG})
    with pytest.raises(InvalidInput, match=r"data\.demonstrations: all 1 rows are longer than the model reads"):
        check_rows(ready(overlong="skip", demonstrations=nothing), ("sft",))


def test_what_a_reward_model_cuts_is_never_too_long(ready):
    ctx: Context = ready(prompts=None, heldout_prompts=None)
    with pytest.raises(InvalidInput, match=r"pairs\.jsonl:3"):
        check_rows(ctx, ("reward",))
    reward = ctx.config.reward.model_copy(update={"max_tokens": 64})
    check_rows(ctx._replace(config=ctx.config.model_copy(update={"reward": reward})), ("reward",))


def test_many_rows_that_are_too_long_are_shown_in_part_and_counted(ready, tmp_path: Path):
    many = written(tmp_path, "many.jsonl", *({"prompt": f"{n} {LONG}"} for n in range(25)))
    with pytest.raises(InvalidInput) as refused:
        check_rows(ready(prompts=many, heldout_prompts=None), ("critique",))
    lines = str(refused.value).splitlines()
    assert len(lines) == 21 and lines[-1].startswith("and 5 more rows that are too long")
