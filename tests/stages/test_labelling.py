"""Labelling with judges written by hand: what is asked, what is kept, what may train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlhf_core.errors import TrainingFailed
from rlhf_core.records.feedback import Preference
from rlhf_core.records.runs import StageResult
from rlhf_core.seeding import uniform_draw
from rlhf_core.stages.context import Context
from rlhf_core.stages.label import label_stage
from rlhf_core.stages.reward import reward_stage
from rlhf_core.store.store import Store
from tests.stages.conftest import LAW, Desk, NumberJudge, by_number, quality

REWORDED = LAW.replace("Which reply is larger?", "Which reply is the larger one?")
HEAVIER = LAW.replace("{id: large,", "{id: large, weight: 3,")


def labelled(ctx: Context) -> StageResult:
    result = label_stage(ctx)
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        ctx.store.stage_results.add(result)
    return result


def by_pair(store: Store, run_id: str, objective: str) -> dict[str, float]:
    return {p.comparison_id: p.probability for p in store.preferences.find(objective, run_id=run_id, labelers="ai")}


@pytest.mark.slow
def test_an_edit_of_one_principle_asks_for_its_votes_alone_and_an_edit_of_a_weight_for_none(desk: Desk):
    settings = {"label": {"pairs": 2000, "base_share": 0.0}}
    first = desk.context(NumberJudge(), settings, prompts=2000)
    result = labelled(first)
    pairs = len(desk.store.comparisons.of_run(first.run.id))
    assert pairs > 1800 and result.counts["identical"] == 2000 - pairs
    assert result.counts["votes.asked"] == 6 * pairs and result.counts["votes.cached"] == 0
    sampled = desk.sampler.calls
    again = {**settings, "kind": "label", "from_run": first.run.id}

    judge = NumberJudge()
    edited = desk.context(judge, again, REWORDED, prompts=2000)
    result = labelled(edited)
    assert judge.asked == {"large": 2 * pairs}
    assert result.counts["votes.asked"] == 2 * pairs <= 2 * 2000
    assert result.counts["votes.cached"] == 4 * pairs
    assert by_pair(desk.store, edited.run.id, "harmless") == by_pair(desk.store, first.run.id, "harmless")

    judge = NumberJudge()
    weighed = desk.context(judge, again, HEAVIER, prompts=2000)
    result = labelled(weighed)
    assert judge.asked == {} and desk.sampler.calls == sampled
    assert result.counts["votes.asked"] == 0 and result.counts["votes.cached"] == 6 * pairs
    before, after = (by_pair(desk.store, run.run.id, "helpful") for run in (first, weighed))
    # The weights went from 1 + 1 to 1 + 3, so that every log-odds doubled.
    assert before.keys() == after.keys()
    assert all((after[k] - before[k]) * (before[k] - 0.5) > 0 for k in before if abs(before[k] - 0.5) > 1e-6)
    assert len(desk.store.votes.find()) == 8 * pairs


def test_another_seed_or_policy_draws_its_own_pairs(desk: Desk):
    first = desk.context(NumberJudge(), {"label": {"pairs": 100}})
    labelled(first)
    for change, version in (({"seed": 5}, "policy-1"), ({}, "policy-2")):
        sampled = desk.sampler.calls
        again = desk.context(NumberJudge(), {"label": {"pairs": 100}, "from_run": first.run.id, **change})
        again.results["sft"] = StageResult(run_id="sft-run", stage="sft", policy_version=version)
        labelled(again)
        assert desk.sampler.calls > sampled


def test_fewer_principles_per_label_ask_for_fewer_votes(desk: Desk):
    judge = NumberJudge()
    ctx = desk.context(judge, {"label": {"pairs": 100, "principles_per_label": 1}})
    labelled(ctx)
    pairs = len(desk.store.comparisons.of_run(ctx.run.id))
    assert judge.asked["big"] + judge.asked["large"] == judge.asked["calm"] == 2 * pairs
    assert 0.3 < judge.asked["big"] / (2 * pairs) < 0.7


def test_a_good_judge_passes_by_gold_and_its_calibration_by_gold_is_not_applied(desk: Desk):
    ctx = desk.context(NumberJudge(), {"label": {"pairs": 240}}, prompts=240)
    labelled(ctx)
    gates = desk.store.gates.find(ctx.run.id)
    assert [(gate.objective, gate.truth, gate.passed) for gate in gates] == [
        ("helpful", "gold", True),
        ("harmless", "gold", True),
    ]
    assert all(gate.agreement == 1.0 and gate.consistency == 1.0 for gate in gates)
    calibrations = desk.store.calibrations.find(ctx.run.id)
    assert [c.applied for c in calibrations] == [False, False] and calibrations[0].truth == "gold"
    labels = desk.store.preferences.find(run_id=ctx.run.id)
    assert {(label.calibration_id, label.ungated) for label in labels} == {("", False)}


def test_a_judge_that_always_says_a_stops_the_run_and_keeps_every_vote(desk: Desk):
    ctx = desk.context(NumberJudge(lambda a, b: 6.0), {"label": {"pairs": 100}})
    with pytest.raises(TrainingFailed, match=r"not passed its gate.*all \d+ votes are kept.*gate.allow_ungated=true"):
        labelled(ctx)
    labels = desk.store.preferences.find(run_id=ctx.run.id)
    assert labels and all(label.abstained and label.ungated for label in labels)
    assert len(desk.store.votes.find(run_id=ctx.run.id)) == 3 * len(labels)
    judge = NumberJudge(lambda a, b: 6.0)
    allowed = {"label": {"pairs": 100}, "gate": {"allow_ungated": True}}
    assert labelled(desk.context(judge, allowed)).counts["votes.asked"] == 0
    assert judge.asked == {}


def longer(first: str, second: str) -> float:
    return 3.0 * ((len(first) > len(second)) - (len(first) < len(second)))


def test_a_judge_that_prefers_the_longer_reply_stops_the_run(desk: Desk):
    with pytest.raises(TrainingFailed, match="has not passed its gate"):
        labelled(desk.context(NumberJudge(longer), {"label": {"pairs": 200}}, prompts=200))


def people_say(store: Store, run_id: str, objective: str, most: int) -> int:
    """A person who reads numbers labels pairs of the uniform slice."""
    for given in range(most):
        pair = store.comparisons.next("human:ada", objective, run_id, uniform=True)
        if pair is None:
            return given
        better = "a" if quality(pair.a.response) > quality(pair.b.response) else "b"
        label = Preference(
            id=f"{objective}-{pair.id}",
            comparison_id=pair.id,
            objective=objective,
            labeler="human:ada",
            choice=better,
            probability=1.0 if better == "a" else 0.0,
            run_id=pair.run_id,
            uniform=uniform_draw(pair.id) < 0.2,
        )
        store.preferences.submit(label, label.id)
    return most


def without_gold(tmp_path: Path, count: int) -> dict[str, Any]:
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"How many, {n}?"}) + "\n" for n in range(count)))
    return {"data": {"prompts": str(file)}, "label": {"pairs": count, "calibration_pairs": 40}}


def test_people_open_the_gate_of_a_run_without_gold_and_then_calibrate_its_judge(desk: Desk, tmp_path: Path):
    settings = without_gold(tmp_path, 300)
    ctx = desk.context(NumberJudge(), settings, gold=False)
    with pytest.raises(TrainingFailed) as refused:
        labelled(ctx)
    assert f"have people label pairs of run {ctx.run.id} for helpful" in str(refused.value)
    assert "0 pairs with a better reply known from people; needed: 20" in str(refused.value)
    assert all(label.ungated for label in desk.store.preferences.find(run_id=ctx.run.id, labelers="ai"))
    assert people_say(desk.store, ctx.run.id, "helpful", 25) == 25
    with pytest.raises(TrainingFailed, match="harmless: 0 pairs") as refused:
        labelled(ctx)
    assert "--objective helpful" not in str(refused.value)

    assert people_say(desk.store, ctx.run.id, "harmless", 100) > 40
    result = labelled(ctx)
    assert result.counts["votes.asked"] == 0
    live = desk.store.preferences.find(run_id=ctx.run.id, labelers="ai")
    assert {(label.objective, bool(label.calibration_id), label.ungated) for label in live} == {
        ("helpful", False, False),
        ("harmless", True, False),
    }
    (calibration,) = desk.store.calibrations.find(ctx.run.id)
    assert calibration.applied and calibration.truth == "human"
    again = desk.context(judge := NumberJudge(), settings | {"from_run": ctx.run.id, "start_at": "label"}, gold=False)
    assert labelled(again).counts["votes.asked"] == 0 and judge.asked == {}
    assert all(gate.passed for gate in desk.store.gates.find(again.run.id))
    # The judge is always right, so its probabilities move away from one half.
    (raw, fitted) = (by_pair(desk.store, ctx.run.id, name) for name in ("helpful", "harmless"))
    assert calibration.temperature < 1 and fitted.keys() == raw.keys()


def test_the_users_own_preferences_measure_the_judge_of_their_objective(desk: Desk, tmp_path: Path):
    settings = without_gold(tmp_path, 60)
    own = tmp_path / "own.jsonl"
    rows = [{"prompt": f"Which, {n}?", "chosen": f"{50 + n} is", "rejected": f"{n} is it"} for n in range(30)]
    own.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings["data"] |= {"preferences": str(own), "preferences_objective": "helpful"}
    judge = NumberJudge()
    ctx = desk.context(judge, settings, gold=False)
    with pytest.raises(TrainingFailed, match="harmless: 0 pairs"):
        labelled(ctx)
    gates = {gate.objective: gate for gate in desk.store.gates.find(ctx.run.id)}
    assert gates["helpful"].passed and gates["helpful"].pairs == 30
    pairs = len(desk.store.comparisons.of_run(ctx.run.id))
    assert judge.asked == {"big": 2 * (30 + pairs), "large": 2 * (30 + pairs), "calm": 2 * pairs}


def test_a_run_that_only_labels_ends_well_but_nothing_trains_on_its_ungated_labels(desk: Desk):
    ctx = desk.context(NumberJudge(lambda a, b: -by_number(a, b)), {"label": {"pairs": 100}, "kind": "label"})
    result = labelled(ctx)
    assert any("judge, helpful: agrees with gold on 0.0%" in note for note in desk.notes)
    trained = desk.context(NumberJudge(), {"kind": "reward", "from_run": ctx.run.id})
    trained.results["label"] = result
    with pytest.raises(TrainingFailed, match="had not passed its gate when it labelled 'helpful'"):
        reward_stage(trained)


def test_labels_of_one_run_leave_those_of_another_as_they_are(desk: Desk):
    first = desk.context(NumberJudge(), {"label": {"pairs": 50}})
    labelled(first)
    kept = by_pair(desk.store, first.run.id, "helpful")
    labelled(desk.context(NumberJudge(), {"label": {"pairs": 50}, "from_run": first.run.id}, HEAVIER))
    assert by_pair(desk.store, first.run.id, "helpful") == kept
