"""Fine-tuning that is cut off at any moment goes on, and ends in the same bytes."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf_core.models.backbone import Backbone
from rlhf_core.records.runs import StageResult
from rlhf_core.stages import versions
from rlhf_core.stages.context import Context, RunStopped
from rlhf_core.stages.demonstrations import approved, demonstrations_of
from rlhf_core.stages.sft import sft_stage
from rlhf_core.stages.told_steps import told_steps
from tests.records import revision
from tests.stages.conftest import Desk, NumberJudge
from tests.store.examples import sample


@pytest.fixture
def ready(desk: Desk, tiny_model: Callable[[], Backbone], tmp_path: Path) -> Callable[..., Context]:
    """A context for fine-tuning on the user's own demonstrations; all share a backbone."""
    backbone = tiny_model()
    shown = tmp_path / "shown.jsonl"
    shown.write_text("\n".join(json.dumps({"prompt": f"ask {i}", "response": f"dust {i}"}) for i in range(8)))

    def context(tune: str = "lora", **settings: float) -> Context:
        settings = {"epochs": 2, "batch_size": 2, "tune": tune} | settings
        config = {"kind": "sft", "sft": settings, "data": {"demonstrations": str(shown)}}
        ctx = desk.context(NumberJudge(), config)
        return ctx._replace(tools=ctx.tools._replace(backbone=backbone, on_device=lambda unit: unit()))

    return context


class Steps:
    """Counts the steps that a stage reports; the process dies at one of them."""

    def __init__(self, dies_at: int | None = None):
        self.count, self._dies_at = 0, dies_at

    def __call__(self, kind: str, body: str) -> None:
        self.count += kind == "metrics"
        if self.count == self._dies_at:
            raise KeyboardInterrupt


# The step at which it died is not committed, and so is made again.
@pytest.mark.parametrize("tune", ["lora", "full"])
@pytest.mark.parametrize(("seconds", "updates"), [(60.0, 5 + 8), (0.0, 5 + 4)], ids=["done again", "from a checkpoint"])
def test_a_stage_that_was_cut_off_ends_in_the_same_bytes(desk: Desk, ready, monkeypatch, seconds, updates, tune):
    straight = sft_stage(ready(tune))
    monkeypatch.setattr(versions, "SECONDS", seconds)
    ctx, until = ready(tune), Steps(dies_at=5)
    with pytest.raises(KeyboardInterrupt):
        sft_stage(ctx._replace(report=until))
    resumed = sft_stage(ctx._replace(report=(after := Steps())))
    assert until.count + after.count == updates
    one, other = (desk.store.policy_versions.get(result.policy_version) for result in (straight, resumed))
    assert one.artifact == other.artifact and resumed.counts == {"user": 8}
    assert ctx.tools.backbone.adapters.names == ()


@pytest.mark.parametrize("dies_at", [2, 7])
def test_what_is_rehearsed_is_written_anew_and_the_stage_ends_in_the_same_bytes(
    desk: Desk, ready, monkeypatch, dies_at
):
    monkeypatch.setattr(versions, "SECONDS", 0.0)
    rehearsing = {"rehearsal_coef": 1.0, "rehearsal_tokens": 8}
    straight, plain = sft_stage(ready(**rehearsing)), sft_stage(ready())
    ctx = ready(**rehearsing)
    # Four pieces of texts are told before the first update.
    with pytest.raises(KeyboardInterrupt):
        sft_stage(ctx._replace(report=Steps(dies_at=dies_at)))
    resumed = sft_stage(ctx)
    one, other, without = (
        desk.store.policy_versions.get(result.policy_version).artifact for result in (straight, resumed, plain)
    )
    assert one == other != without


def test_only_the_latest_checkpoints_of_a_stage_are_kept(desk: Desk, ready, monkeypatch):
    monkeypatch.setattr(versions, "SECONDS", 0.0)
    ctx = ready("lora")
    version = desk.store.policy_versions.get(sft_stage(ctx).policy_version)
    # Eight updates, each with a checkpoint; the one before the last goes when the next is written.
    kept = desk.store.checkpoints.latest(ctx.run.id, "sft")
    assert kept is not None and kept.step == 8
    assert [desk.store.checkpoints.at(ctx.run.id, "sft", step) for step in range(1, 8)] == [None] * 7
    stored = set(desk.store.artifacts.stored())
    assert {kept.artifact, version.artifact} <= stored and len(stored) == 3


def test_the_last_accepted_revision_is_shown_beside_faultless_answers_and_a_mix_of_the_bases_own(
    desk: Desk, tiny_model
):
    ctx = desk.context(NumberJudge(), {"kind": "sft", "sft": {"helpful_share": 0.5}})
    ctx = ctx._replace(tools=ctx.tools._replace(backbone=tiny_model()))
    first, second = (sample(name, stage="critique", run_id=ctx.run.id) for name in ("1", "2"))
    desk.store.samples.add([first, second])
    plain_step = revision("calm", id="c", sample_id=second.id, run_id=ctx.run.id, accepted=False, reason="complies")
    found = plain_step.critique.model_copy(update={"verdict": "complies"})
    steps = [
        plain_step.model_copy(update={"critique": found}),
        revision("calm", id="a", sample_id=first.id, run_id=ctx.run.id, before=first.response, after="half safe"),
        revision("calm", id="b", sample_id=first.id, run_id=ctx.run.id, round=2, before="half safe", after="safe"),
    ]
    desk.store.revisions.add(steps)
    ctx.results["critique"] = StageResult(run_id=ctx.run.id, stage="critique")
    (revised, plain), counts = approved(ctx)
    assert (revised.response, revised.source) == ("safe", "revision")
    assert (plain.response, plain.source) == (second.response, "faultless")
    assert counts == {"revised": 1, "faultless": 1, "left_at_fault": 0, "user": 0}
    # Half of all are to be the base's own answers: two, to prompts that nobody criticised.
    (*same, third, fourth), counts = demonstrations_of(ctx)
    assert same == [revised, plain] and counts["helpful_mix"] == 2
    assert first.prompt not in (third.prompt, fourth.prompt) and third.source == "helpful"
    assert demonstrations_of(ctx).demonstrations[2:] == [third, fourth] and desk.sampler.calls == 1


def test_what_was_cut_at_the_limit_is_known_as_cut(desk: Desk, tiny_model):
    ctx = desk.context(NumberJudge(), {"kind": "sft", "model": {"feedback_tokens": 6}})
    ctx = ctx._replace(tools=ctx.tools._replace(backbone=(backbone := tiny_model())))
    whole, cut = "a b c", "a b c d e f g h"
    assert len(backbone.encode_response(whole)) <= 6 < len(backbone.encode_response(cut))
    answers = [sample(name, stage="critique", run_id=ctx.run.id) for name in ("1", "2", "3")]
    answers[2] = answers[2].model_copy(update={"finished": False})
    desk.store.samples.add(answers)
    steps = [
        revision("calm", id=name, sample_id=one.id, run_id=ctx.run.id, before=one.response, after=text)
        for name, one, text in zip("ab", answers[:2], (whole, cut), strict=True)
    ]
    desk.store.revisions.add(steps)
    ctx.results["critique"] = StageResult(run_id=ctx.run.id, stage="critique")
    found, counts = approved(ctx)
    assert {shown.response: shown.ended for shown in found} == {whole: True, cut: False, answers[2].response: False}
    assert counts["cut_at_limit"] == 2


def test_an_answer_that_no_principle_is_for_is_not_told_as_faultless(desk: Desk):
    ctx = desk.context(NumberJudge(), {"kind": "sft"})
    desk.store.samples.add([sample("1", stage="critique", run_id=ctx.run.id)])
    ctx.results["critique"] = StageResult(run_id=ctx.run.id, stage="critique")
    (only,), counts = approved(ctx)
    assert only.source == "unasked"
    assert counts == {"revised": 0, "faultless": 0, "left_at_fault": 0, "user": 0, "unasked": 1}


def test_a_run_that_is_asked_to_stop_goes_on_from_where_it_was(ready):
    straight, whole = sft_stage(ready()), 8
    ctx, steps = ready(), Steps()
    # Each update asks twice: it is in the third one that somebody stops the run.
    asked = itertools.count(1)
    with pytest.raises(RunStopped):
        sft_stage(ctx._replace(report=steps, should_stop=lambda: next(asked) >= 5))
    assert steps.count == 3
    resumed = sft_stage(ctx._replace(report=steps))
    assert steps.count == whole, "no update was made again"
    assert resumed.numbers["loss"] == straight.numbers["loss"]


def test_fine_tuning_that_is_stopped_in_its_last_step_keeps_the_loss_of_it(desk: Desk, ready):
    straight, ctx = sft_stage(ready()), ready()
    asked = itertools.count(1)
    told = ctx._replace(report=lambda kind, body: desk.store.events.append(ctx.run.id, kind, body))
    with pytest.raises(RunStopped):
        sft_stage(told._replace(should_stop=lambda: next(asked) >= 15))
    resumed = sft_stage(told)
    assert resumed.numbers == straight.numbers != {"loss": 0.0}
    assert [one.step for one in told_steps(desk.store, ctx.run.id)] == list(range(1, 9))


def test_rows_that_have_changed_since_are_learned_from_the_beginning(desk: Desk, ready, monkeypatch):
    monkeypatch.setattr(versions, "SECONDS", 0.0)
    ctx = ready()
    with pytest.raises(KeyboardInterrupt):
        sft_stage(ctx._replace(report=Steps(dies_at=5)))
    shown = Path(ctx.config.data.demonstrations)
    shown.write_text(shown.read_text().replace("dust 3", "sweep 3"))
    changed = sft_stage(ctx)
    assert any("'sft' learns from has changed since step" in note for note in desk.notes)
    straight = sft_stage(ready())
    one, other = (desk.store.policy_versions.get(result.policy_version) for result in (changed, straight))
    assert one.artifact == other.artifact


def test_a_checkpoint_that_does_not_say_what_it_learned_from_is_none(desk: Desk, ready, monkeypatch, tmp_path: Path):
    monkeypatch.setattr(versions, "SECONDS", 0.0)
    ctx = ready()
    with pytest.raises(KeyboardInterrupt):
        sft_stage(ctx._replace(report=Steps(dies_at=3)))
    saved = desk.store.checkpoints.latest(ctx.run.id, "sft")
    assert saved is not None
    shutil.copytree(desk.store.artifacts.get_folder(saved.artifact), tmp_path / "older")
    (tmp_path / "older" / versions.EXAMPLES).unlink()
    artifact = desk.store.artifacts.put_folder(tmp_path / "older")
    desk.store.checkpoints.add(saved.model_copy(update={"step": saved.step + 1, "artifact": artifact}))
    sft_stage(ctx._replace(report=(after := Steps())))
    assert after.count == 8
