"""A panel of judges in a run: each is measured, one that fails is left out, and what each said is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rlhf_core.errors import TrainingFailed
from rlhf_core.interfaces import PanelJudge
from rlhf_core.policies.standing import measured_gates
from rlhf_core.records.feedback import Preference, Vote
from rlhf_core.records.runs import StageResult, StepMetrics
from rlhf_core.records.samples import Comparison
from rlhf_core.stages.context import Context
from rlhf_core.stages.label import label_stage
from rlhf_core.stages.usage import JudgeCosts
from rlhf_core.store.store import Store
from tests.stages.conftest import Desk, NumberJudge, by_number, quality
from tests.stages.test_labelling import by_pair, people_say, without_gold


def swapped(first: str, second: str) -> float:
    """A judge whose question is turned round: the worse reply wins."""
    return -by_number(first, second)


def coarse(first: str, second: str) -> float:
    """Sees tens and no ones, so it is sure of less than `by_number`."""
    return 0.2 * (quality(first) // 10 - quality(second) // 10)


def biased(first: str, second: str) -> float:
    return 6.0


JUDGES = {"fine": by_number, "coarse": coarse, "swapped": swapped, "biased": biased}


def seated(ctx: Context, *names: str, weights: dict[str, float] | None = None) -> Context:
    panel = [
        PanelJudge(name, "logprobs", (weights or {}).get(name, 1.0), NumberJudge(JUDGES[name], f"{name}-model"))
        for name in names
    ]
    return told(ctx._replace(tools=ctx.tools._replace(panel=lambda law: panel)))


def told(ctx: Context) -> Context:
    """Keeps what is reported, as a worker does."""

    def report(kind: str, body: str) -> None:
        ctx.report(kind, body)
        with ctx.store.transaction():
            ctx.store.events.append(ctx.run.id, kind, body)

    return ctx._replace(report=report)


def labelled(ctx: Context) -> StageResult:
    result = label_stage(ctx)
    ctx.results["label"] = result
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        ctx.store.stage_results.add(result)
    return result


def of(desk: Desk, run: str, objective: str = "helpful") -> list[Preference]:
    return desk.store.preferences.find(objective, run_id=run, labelers="ai")


SETTINGS: dict[str, Any] = {"label": {"pairs": 100}}


def test_a_judge_that_fails_its_gate_is_left_out_and_the_run_says_who_and_why(desk: Desk):
    ctx = seated(desk.context(NumberJudge(), SETTINGS), "fine", "coarse", "swapped")
    labelled(ctx)
    gates = {gate.judge: gate for gate in desk.store.gates.find(ctx.run.id) if gate.objective == "helpful"}
    assert {name: (gate.passed, gate.weight) for name, gate in gates.items() if gate.panel} == {
        "fine": (True, 1.0),
        "coarse": (True, 1.0),
        "swapped": (False, 0.0),
    }
    assert (gates["fine"].agreement, gates["swapped"].agreement, gates["swapped"].model) == (1.0, 0.0, "swapped-model")
    (together,) = (gate for gate in gates.values() if not gate.panel)
    assert together.passed and gates["fine"].panel == together.judge
    assert measured_gates(desk.store, {"label": ctx.results["label"]})[0] == together
    notes = [json.loads(note) for note in desk.notes]
    assert [note["text"].split(":")[0] for note in notes if note.get("alarm")] == [
        "judge 'swapped', helpful",
        "judge 'swapped', harmless",
    ]
    assert any("left out of the panel: agrees with gold on 0.0%" in note["text"] for note in notes)


def test_a_pair_s_label_is_the_mean_of_the_log_odds_of_those_who_passed_and_keeps_what_each_said(desk: Desk):
    ctx = seated(desk.context(NumberJudge(), SETTINGS), "fine", "coarse", "swapped", weights={"fine": 3.0})
    labelled(ctx)
    labels = of(desk, ctx.run.id)
    for label in labels:
        pair = desk.store.comparisons.get(label.comparison_id)
        # Two principles of helpful add their log-odds; what is brought in is at most 99 in 100.
        fine, rough = (2 * lean(pair.a.response, pair.b.response) for lean in (by_number, coarse))
        fine, rough = (max(-math.log(99), min(math.log(99), odds)) for odds in (fine, rough))
        assert math.log(label.probability / (1 - label.probability)) == pytest.approx((3 * fine + rough) / 4, abs=1e-9)
        assert [(one.judge, one.weight) for one in label.opinions] == [("fine", 3), ("coarse", 1), ("swapped", 0)]
        assert label.opinions[2].probability == pytest.approx(1 - label.opinions[0].probability)
        assert label.disagreement == pytest.approx(abs(label.opinions[0].probability - label.opinions[1].probability))
    assert len(labels) > 80 and {label.labeler.partition("-")[0] for label in labels} == {"ai:panel"}
    votes = desk.store.votes.find(run_id=ctx.run.id)
    assert {vote.judge for vote in votes} == {"fine-model", "coarse-model", "swapped-model"}


def test_where_one_judge_alone_passes_its_labels_are_those_that_it_gives_alone_bit_for_bit(desk: Desk):
    alone = desk.context(NumberJudge(name="fine-model"), SETTINGS)
    labelled(alone)
    ctx = seated(desk.context(NumberJudge(), SETTINGS | {"from_run": alone.run.id}), "swapped", "fine", "biased")
    labelled(ctx)
    for objective in ("helpful", "harmless"):
        assert by_pair(desk.store, ctx.run.id, objective) == by_pair(desk.store, alone.run.id, objective)


def test_where_none_passes_nothing_is_trained_and_the_rule_is_that_of_one_judge(desk: Desk):
    ctx = seated(desk.context(NumberJudge(), SETTINGS), "swapped", "biased")
    with pytest.raises(TrainingFailed, match=r"no judge of the panel passes its gate: 'swapped' agrees.*; 'biased' 0"):
        labelled(ctx)
    assert all(label.ungated for label in of(desk, ctx.run.id))
    allowed = seated(desk.context(NumberJudge(), SETTINGS | {"gate": {"allow_ungated": True}}), "swapped", "biased")
    labelled(allowed)
    labels = of(desk, allowed.run.id)
    assert all(label.ungated and [one.weight for one in label.opinions] == [1.0, 1.0] for label in labels)
    assert all(label.opinions[1].reason == "position_gap" for label in labels)


def test_what_people_say_calibrates_each_judge_and_weighs_it_by_its_agreement(desk: Desk, tmp_path: Path):
    first = desk.context(NumberJudge(), without_gold(tmp_path, 300) | {"kind": "label"}, gold=False)
    label_stage(first)
    for objective in ("helpful", "harmless"):
        assert people_say(desk.store, first.run.id, objective, 100) > 40
    ctx = seated(desk.context(NumberJudge(), without_gold(tmp_path, 300), gold=False), "fine", "coarse", "swapped")
    labelled(ctx)
    gates = {g.judge: g for g in desk.store.gates.find(ctx.run.id) if g.objective == "helpful" and g.panel}
    assert (gates["fine"].truth, gates["fine"].weight) == ("human", 1.0)
    assert gates["coarse"].weight == gates["coarse"].agreement < 1.0 and gates["swapped"].weight == 0
    applied = {one.judge: one for one in desk.store.calibrations.find(ctx.run.id) if one.objective == "helpful"}
    assert {"fine", "coarse", "swapped"} < applied.keys() and len(applied) == 4
    (whole,) = (one for one in applied.values() if not one.panel)
    label = of(desk, ctx.run.id)[0]
    assert label.calibration_id == whole.id and whole.judge == label.labeler.removeprefix("ai:")
    asked = desk.store.comparisons.get(label.comparison_id)
    odds = 2 * by_number(asked.a.response, asked.b.response) / applied["fine"].temperature
    assert label.opinions[0].probability == pytest.approx(1 / (1 + math.exp(-odds)))


class Watched(NumberJudge):
    """While it judges pairs of an earlier run, a person goes on labelling that run."""

    def __init__(self, store: Store, earlier: str):
        super().__init__(name="watched-model")
        self._store, self._earlier, self.labelled_meanwhile = store, earlier, 0

    def compare(self, questions: Sequence[tuple[Comparison, Any]]) -> list[Vote]:
        if any(pair.run_id == self._earlier for pair, _ in questions):
            self.labelled_meanwhile += people_say(self._store, self._earlier, "helpful", 5)
        return super().compare(questions)


def test_what_people_say_while_one_judge_is_measured_does_not_count_for_the_next_alone(desk: Desk, tmp_path: Path):
    first = desk.context(NumberJudge(), without_gold(tmp_path, 300) | {"kind": "label"}, gold=False)
    label_stage(first)
    for objective in ("helpful", "harmless"):
        people_say(desk.store, first.run.id, objective, 40)
    watched = Watched(desk.store, first.run.id)
    panel = [PanelJudge(j.name, "logprobs", 1.0, j) for j in (watched, NumberJudge(name="fine-model"))]
    ctx = desk.context(NumberJudge(), without_gold(tmp_path, 300) | {"seed": 5}, gold=False)
    labelled(told(ctx._replace(tools=ctx.tools._replace(panel=lambda law: panel))))
    assert watched.labelled_meanwhile > 0
    gates = [gate for gate in desk.store.gates.find(ctx.run.id) if gate.objective == "helpful"]
    assert len(gates) == 3 and {gate.pairs + gate.abstained for gate in gates} == {40}


def test_a_label_is_another_one_where_a_judge_says_something_else(desk: Desk):
    runs = []
    for weight in (1.0, 2.0):
        ctx = seated(desk.context(NumberJudge(), SETTINGS), "fine", "coarse", weights={"coarse": weight})
        labelled(ctx)
        runs.append({label.comparison_id: label.labeler for label in of(desk, ctx.run.id)})
    assert set(runs[0].values()).isdisjoint(runs[1].values())


def test_votes_that_are_stored_are_asked_of_no_judge_again(desk: Desk):
    first = seated(desk.context(NumberJudge(), SETTINGS), "fine", "coarse")
    result = labelled(first)
    assert result.counts["votes.asked"] == 2 * 6 * len(desk.store.comparisons.of_run(first.run.id))
    again = labelled(seated(desk.context(NumberJudge(), SETTINGS | {"from_run": first.run.id}), "fine", "coarse"))
    assert again.counts["votes.asked"] == 0 and again.counts["votes.cached"] == result.counts["votes.asked"]


def test_what_each_judge_takes_is_counted_by_its_name(desk: Desk):
    ctx = seated(desk.context(NumberJudge(), SETTINGS), "fine", "coarse")
    result = labelled(ctx)
    pairs = len(desk.store.comparisons.of_run(ctx.run.id))
    assert {name for name in result.numbers if name.startswith("judge.")} == {
        *(f"judge.{name}.{what}" for name in ("fine", "coarse") for what in ("votes", "seconds"))
    }
    assert result.numbers["judge.fine.votes"] == result.numbers["judge.coarse.votes"] == 6 * pairs
    assert 0 < result.numbers["judge.fine.seconds"] < result.seconds


def test_a_run_that_is_taken_up_again_counts_what_its_judges_took_before(desk: Desk):
    ctx = seated(desk.context(NumberJudge(), SETTINGS), "fine", "coarse")
    ctx.progress("label", 1, 2, **{"judge.fine.votes": 30.0, "judge.fine.seconds": 2.5})
    ctx.progress("critique", 1, 2, **{"judge.fine.votes": 7.0})  # another stage's
    costs = JudgeCosts(ctx, ctx.tools.panel(ctx.constitution))
    numbers = costs.close(StageResult(run_id=ctx.run.id, stage="label")).numbers
    assert numbers == {"judge.fine.votes": 30.0, "judge.fine.seconds": 2.5}


def test_a_run_tells_how_far_it_is_after_each_judge(desk: Desk):
    ctx = seated(desk.context(NumberJudge(), SETTINGS), "fine", "coarse")
    labelled(ctx)
    events = [event for event in ctx.store.events.of_run(ctx.run.id, 0, 100) if event.kind == "metrics"]
    steps = [StepMetrics.model_validate_json(event.body) for event in events]
    half, whole = (next(step for step in steps if f"judge.{name}.votes" in step.values) for name in ("fine", "coarse"))
    assert "judge.coarse.votes" not in half.values and half.step == whole.step // 2 and whole.step == steps[-1].step


def test_without_a_panel_nothing_of_it_is_kept(desk: Desk):
    ctx = desk.context(NumberJudge(), SETTINGS)
    result = labelled(ctx)
    assert {label.labeler for label in of(desk, ctx.run.id)} == {"ai:judge"}
    assert all(label.opinions == () and label.disagreement == 0 for label in of(desk, ctx.run.id))
    assert all((gate.panel, gate.model, gate.weight) == ("", "", 0) for gate in desk.store.gates.find(ctx.run.id))
    assert not [name for name in result.numbers if name.startswith("judge.")]
