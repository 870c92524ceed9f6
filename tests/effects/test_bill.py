"""The bill of an edit, from a small real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.constitution import Constitution, Objective, Principle
from rlhf_core.constitution.diff import diff_constitutions
from rlhf_core.effects.edit_cost import at_speed, bill
from rlhf_core.feedback.voters import vote_id
from rlhf_core.records.feedback import Vote
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.store.store import Store

FUMES = Principle(id="fumes", serves={"harmless": 1.0}, compare="Less risk of fumes?")
STEPS = Principle(id="steps", serves={"helpful": 1.0}, compare="More steps?")
LAW = Constitution(
    id="law",
    version="1.0.0",
    objectives=(Objective(name="helpful"), Objective(name="harmless")),
    principles=(FUMES, STEPS),
)
REWORDED = LAW.model_copy(update={"principles": (FUMES.model_copy(update={"compare": "Fewer fumes?"}), STEPS)})


def pair(number: int) -> Comparison:
    prompt = Prompt.of(f"How do I clean {number}?")
    a, b = (Sample(id=f"{number}{x}", prompt=prompt, response=x, policy_version="base") for x in "ab")
    return Comparison.of(a, b, "")


def votes(of: Comparison, principle: Principle, run_id: str) -> list[Vote]:
    return [
        Vote(
            id=vote_id(of, principle, "judge", swapped),
            comparison_id=of.id,
            principle_id=principle.id,
            principle_hash=principle.hash,
            template_hash="t",
            constitution_hash=LAW.hash,
            judge="judge",
            swapped=swapped,
            logprob_a=-0.5,
            logprob_b=-1.0,
            label_mass=1.0,
            run_id=run_id,
        )
        for swapped in (False, True)
    ]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Three comparisons judged by both principles in 6 seconds."""
    store = Store.open(tmp_path / "data")
    store.constitutions.add(LAW.hash, LAW.id, "text", "")
    run = store.runs.create("pipeline", RunConfig().model_dump_json(), LAW.hash, "once")
    pairs = [pair(number) for number in range(3)]
    store.comparisons.add(pairs)
    store.votes.add(v for p in pairs for principle in (FUMES, STEPS) for v in votes(p, principle, run.id))
    store.stage_results.add(StageResult(run_id=run.id, stage="label", counts={"votes.asked": 12}, seconds=6.0))
    yield store
    store.close()


def test_rewording_one_principle_costs_its_votes_and_their_minutes(store: Store):
    result = bill(diff_constitutions(LAW, REWORDED), LAW, REWORDED, store)
    assert (result.votes, result.votes_invalid, result.votes_to_ask) == (12, 6, 6)
    assert (result.seconds_per_vote, result.minutes) == (0.5, pytest.approx(0.05))  # 6 s / 12 votes; 6 x 0.5 s
    assert (result.retrain, result.unaffected) == (("harmless",), ("helpful",))


def test_a_weight_edit_invalidates_no_vote_and_asks_for_none(store: Store):
    heavier = LAW.model_copy(update={"principles": (FUMES.model_copy(update={"weight": 4.0}), STEPS)})
    result = bill(diff_constitutions(LAW, heavier), LAW, heavier, store)
    assert (result.votes_invalid, result.votes_to_ask, result.minutes) == (0, 0, 0.0)
    assert result.retrain == ("harmless",)


def test_votes_that_are_there_already_are_not_asked_again(store: Store):
    [changed] = [p for p in REWORDED.principles if p.id == "fumes"]
    store.votes.add(votes(pair(0), changed, ""))
    assert bill(diff_constitutions(LAW, REWORDED), LAW, REWORDED, store).votes_to_ask == 4


def test_without_a_store_nothing_is_counted_and_nothing_is_guessed():
    result = bill(diff_constitutions(LAW, REWORDED), LAW, REWORDED, None)
    assert (result.votes, result.votes_to_ask, result.minutes, result.retrain) == (None, None, None, ("harmless",))
    assert at_speed(result, 0.1, "a probe").minutes is None


def test_a_run_that_found_all_its_votes_measured_no_speed(store: Store):
    later = store.runs.create("pipeline", RunConfig().model_dump_json(), LAW.hash, "twice")
    cached = StageResult(run_id=later.id, stage="label", counts={"votes.asked": 0, "votes.cached": 12}, seconds=0.1)
    store.stage_results.add(cached)
    assert bill(diff_constitutions(LAW, REWORDED), LAW, REWORDED, store).seconds_per_vote == 0.5


def test_a_store_without_labelling_has_no_speed(tmp_path: Path):
    store = Store.open(tmp_path / "new")
    result = bill(diff_constitutions(LAW, REWORDED), LAW, REWORDED, store)
    assert (result.votes, result.votes_to_ask, result.seconds_per_vote) == (0, 0, None)
    store.close()
