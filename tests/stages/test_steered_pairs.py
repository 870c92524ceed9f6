"""Pairs whose two replies are each written under a principle of the constitution."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from rlhf_core.config.run import RunConfig
from rlhf_core.data.prompt_draws import draw_evenly
from rlhf_core.errors import InvalidInput
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Prompt
from rlhf_core.stages.context import Context
from rlhf_core.stages.label import label_stage
from tests.stages.conftest import HEAD, LAW, Desk, NumberJudge

EXAMPLE = "examples: [{prompt: One or two?, bad: '1', critique: Too little., good: '2'}]"
TAUGHT = (
    HEAD
    + f"""
  - {{id: big, serves: {{helpful: 1}}, compare: Which reply has the bigger number?, {EXAMPLE}}}
  - {{id: calm, serves: {{harmless: 1}}, compare: Which reply is calmer?, {EXAMPLE}}}
  - {{id: large, serves: {{helpful: 1}}, compare: Which reply is larger?}}
"""
)
HALF = {"label": {"pairs": 40, "steered_share": 0.5}, "feedback": {"critic": {"method": "contrast"}}}


class NumberWriter(NumberJudge):
    """Writes 90 under `big`, 80 under `huge`, 10 under anything else; counts what it writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    def revise(self, items: Sequence[tuple[Any, Any, Any]]) -> list[str]:
        self.written += len(items)
        number = {"big": 90, "huge": 80}
        return [f"{number.get(principle.id, 10)} to {sample.prompt.id}" for sample, _, principle in items]


@pytest.fixture
def labelling(desk: Desk, tiny_model: Callable[[], Backbone]) -> Callable[..., Context]:
    """`labelling(writer, law)` is a context of the label stage; half of its pairs are steered."""
    backbone = tiny_model()

    def make(writer: NumberWriter, law: str = TAUGHT) -> Context:
        ctx = desk.context(writer, HALF, law)
        return ctx._replace(tools=ctx.tools._replace(backbone=backbone))

    return make


def test_a_share_of_pairs_sets_a_reply_under_one_principle_against_one_under_another(desk: Desk, labelling):
    ctx = labelling(NumberWriter())
    label_stage(ctx)
    pairs = desk.store.comparisons.of_run(ctx.run.id)
    steered = [pair for pair in pairs if pair.a.policy_version.startswith("base+")]
    assert len(steered) == 20 < len(pairs)
    for pair in steered:
        assert {pair.a.policy_version, pair.b.policy_version} == {"base+big", "base+calm"}, "large has no examples"
        assert pair.a.response.startswith("90" if pair.a.policy_version == "base+big" else "10")
    labels = {label.comparison_id: label for label in desk.store.preferences.find("helpful", run_id=ctx.run.id)}
    assert all((labels[pair.id].probability > 0.5) == pair.a.response.startswith("90") for pair in steered)
    assert len({pair.a.policy_version for pair in steered}) == 2, "either principle may stand first"


def test_a_principle_that_is_for_such_a_prompt_stands_against_one_that_is_not(desk: Desk, labelling):
    odd = f"applies_when: {{tags_any: [odd]}}, {EXAMPLE}"
    law = TAUGHT + f"  - {{id: huge, serves: {{helpful: 1}}, compare: Which reply is huge?, {odd}}}\n"
    ctx = labelling(NumberWriter(), law.replace(f"number?, {EXAMPLE}", f"number?, {odd}"))
    label_stage(ctx)
    pairs = [pair for pair in desk.store.comparisons.of_run(ctx.run.id) if pair.a.policy_version.startswith("base+")]
    written = [{pair.a.policy_version, pair.b.policy_version} for pair in pairs]
    assert len(written) == 20 and all("base+calm" in both for both in written), "only calm is for prompts without tags"
    assert {name for both in written for name in both} == {"base+big", "base+huge", "base+calm"}


def test_prompts_are_drawn_evenly_over_their_tags():
    common = [Prompt.of(f"common {n}", tags=("benign",)) for n in range(9)]
    rare = [Prompt.of(f"rare {n}", tags=("harmful",)) for n in range(2)]
    drawn = draw_evenly([*common, *rare], 8, 0, "test")
    assert [prompt.tags[0] for prompt in drawn] == ["benign", "harmful"] * 4
    assert {prompt.id for prompt in drawn[1::2]} == {prompt.id for prompt in rare}
    assert len({prompt.id for prompt in drawn[::2]}) == 4 and draw_evenly([*common, *rare], 0, 0, "test") == []


@pytest.mark.parametrize("even", [True, False])
def test_steered_pairs_are_of_every_set_of_tags_alike_often_and_the_policys_own_where_asked(
    desk: Desk, labelling, tmp_path, even: bool
):
    rows = [{"prompt": f"Which of {n}?", "tags": ["rare" if n < 12 else "common"]} for n in range(60)]
    asked = tmp_path / "asked.jsonl"
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ctx = labelling(NumberWriter())
    label = ctx.config.label.model_copy(update={"even_tags": even})
    data = ctx.config.data.model_copy(update={"prompts": str(asked)})
    ctx = ctx._replace(config=ctx.config.model_copy(update={"label": label, "data": data}))
    label_stage(ctx)
    pairs = desk.store.comparisons.of_run(ctx.run.id)
    steered = [pair.prompt.tags[0] for pair in pairs if pair.a.policy_version.startswith("base+")]
    own = [pair.prompt.tags[0] for pair in pairs if not pair.a.policy_version.startswith("base+")]
    assert (steered.count("rare"), steered.count("common")) == (10, 10)
    assert (own.count("rare") == 10) == even


def test_a_stage_that_is_done_again_writes_no_reply_twice(desk: Desk, labelling):
    writer = NumberWriter()
    ctx = labelling(writer)
    label_stage(ctx)
    assert writer.written == 40
    before = desk.store.comparisons.of_run(ctx.run.id)
    label_stage(ctx)
    assert writer.written == 40 and desk.store.comparisons.of_run(ctx.run.id) == before


def test_one_principle_alone_cannot_be_set_against_another(labelling):
    with pytest.raises(InvalidInput, match="0 of the constitution's principles have examples; allowed: at least 2"):
        label_stage(labelling(NumberWriter(), LAW))


def test_a_critic_that_does_not_write_by_examples_cannot_steer():
    with pytest.raises(ValidationError, match=r"steered_share is 0\.5 and feedback.critic.method is 'critique'"):
        RunConfig.model_validate({"label": {"steered_share": 0.5}})


def test_two_that_are_for_such_a_prompt_and_serve_other_objectives_most_come_before_one_that_is_not(
    desk: Desk, labelling
):
    odd = f"applies_when: {{tags_any: [odd]}}, {EXAMPLE}"
    law = TAUGHT + f"  - {{id: huge, serves: {{helpful: 1}}, compare: Which reply is huge?, {odd}}}\n"
    ctx = labelling(NumberWriter(), law.replace("serves: {harmless: 1}", "serves: {harmless: 1, helpful: 0.5}"))
    label_stage(ctx)
    pairs = [pair for pair in desk.store.comparisons.of_run(ctx.run.id) if pair.a.policy_version.startswith("base+")]
    assert len(pairs) == 20
    assert all({pair.a.policy_version, pair.b.policy_version} == {"base+big", "base+calm"} for pair in pairs)


@pytest.mark.parametrize("alike", ["{harmless: 1, helpful: 1}", "{helpful: 1, harmless: 1}"])
def test_a_principle_that_serves_two_objectives_alike_is_torn_from_neither_in_whichever_order_they_stand(
    desk: Desk, labelling, alike: str
):
    odd = f"applies_when: {{tags_any: [odd]}}, {EXAMPLE}"
    law = TAUGHT + f"  - {{id: huge, serves: {{helpful: 1}}, compare: Which reply is huge?, {odd}}}\n"
    ctx = labelling(NumberWriter(), law.replace("serves: {harmless: 1}", f"serves: {alike}"))
    label_stage(ctx)
    pairs = [pair for pair in desk.store.comparisons.of_run(ctx.run.id) if pair.a.policy_version.startswith("base+")]
    assert len(pairs) == 20
    assert all("base+huge" in (pair.a.policy_version, pair.b.policy_version) for pair in pairs), "the one not for it"


def written_again(desk: Desk, labelling, law: str) -> int:
    """How many replies a run writes that goes on from another one's labels, under another constitution."""
    first = labelling(NumberWriter())
    with desk.store.transaction(first.run.id, first.run.fence):
        desk.store.stage_results.add(label_stage(first))
    writer = NumberWriter()
    ctx = labelling(writer, law)
    label_stage(ctx._replace(config=ctx.config.model_copy(update={"from_run": first.run.id, "kind": "label"})))
    return writer.written


@pytest.mark.parametrize(
    ("old", "new", "written"), [("{id: big,", "{id: big, weight: 3,", 0), ("good: '2'", "good: '3'", 40)]
)
def test_pairs_are_taken_over_under_other_weights_and_written_anew_after_other_examples(
    desk: Desk, labelling, old: str, new: str, written: int
):
    assert old in TAUGHT
    assert written_again(desk, labelling, TAUGHT.replace(old, new)) == written
