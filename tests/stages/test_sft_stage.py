"""Fine-tuning that is cut off at any moment is done again, and ends in the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf_core.models.backbone import Backbone
from rlhf_core.stages.context import Context
from rlhf_core.stages.training import sft_stage
from tests.stages.conftest import Desk, NumberJudge


@pytest.fixture
def ready(desk: Desk, tiny_model: Callable[[], Backbone], tmp_path: Path) -> Callable[[], Context]:
    """A context for fine-tuning on the user's own demonstrations; all share a backbone."""
    backbone = tiny_model()
    shown = tmp_path / "shown.jsonl"
    shown.write_text("\n".join(json.dumps({"prompt": f"ask {i}", "response": f"dust {i}"}) for i in range(8)))

    def context() -> Context:
        config = {"kind": "sft", "sft": {"epochs": 2, "batch_size": 2}, "data": {"demonstrations": str(shown)}}
        ctx = desk.context(NumberJudge(), config)
        return ctx._replace(tools=ctx.tools._replace(backbone=backbone, on_device=lambda unit: unit()))

    return context


def test_a_stage_that_was_cut_off_is_done_again_and_ends_in_the_same_bytes(desk: Desk, ready):
    straight = sft_stage(ready())
    ctx, steps = ready(), 0

    def dies(kind: str, body: str) -> None:
        nonlocal steps
        steps += kind == "metrics"
        if steps == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sft_stage(ctx._replace(report=dies))
    resumed = sft_stage(ctx)
    one, other = (desk.store.policy_version(result.policy_version) for result in (straight, resumed))
    assert one.artifact == other.artifact and resumed.counts == {"user": 8}
    assert ctx.tools.backbone.adapters == ()
