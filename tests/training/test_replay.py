"""What PPO replays under which weights."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.records import Demonstration, Prompt
from rlhf_core.training.replay import Replay, shown

WEIGHT = st.floats(0.0, 8.0)
OWN = Demonstration(prompt=Prompt.of("how?"), response="like this")


def revision(number: int, share: float = 0.5) -> Demonstration:
    prompt = Prompt.of(f"task {number}")
    return Demonstration(prompt=prompt, response="safe", before="bold", serves=("harmless",), share=share)


REVISIONS = [revision(number) for number in range(400)]


def revised(helpful: float, harmless: float, seed: int = 0) -> set[str]:
    weights = {"helpful": helpful, "harmless": harmless}
    return {row.prompt.id for row in REVISIONS if shown(row, weights, seed) == "safe"}


def test_at_the_constitutions_weights_and_above_every_revision_is_shown():
    assert len(revised(1, 1)) == len(revised(2, 2)) == len(revised(1, 3)) == len(revised(0, 1)) == 400


def test_without_the_objective_that_it_serves_every_revision_gives_way_to_the_answer_before_it():
    assert revised(1, 0) == set()


def test_half_the_objectives_part_shows_half_of_the_revisions():
    # 1 of 4 against 1 of 2; the spread of 400 fair draws is 10.
    assert 160 <= len(revised(3, 1)) <= 240
    # 1 of 8 against 1 of 2 leaves a quarter.
    assert 65 <= len(revised(7, 1)) <= 135


def test_a_revision_for_the_lesser_of_two_objectives_is_shown_in_full_at_its_usual_part():
    weights = {"helpful": 4.0, "harmless": 1.0}
    assert all(shown(revision(n, share=0.2), weights, 0) == "safe" for n in range(50))


@given(WEIGHT, WEIGHT, st.floats(0.01, 8.0))
def test_what_is_revised_at_a_lower_weight_is_revised_at_a_higher_one(low, more, helpful):
    assert revised(helpful, low) <= revised(helpful, low + more)


def test_another_seed_draws_others():
    assert revised(3, 1, seed=0) != revised(3, 1, seed=1)


@pytest.mark.parametrize("weights", [{"helpful": 1.0, "harmless": 0.0}, {"helpful": 0.0, "harmless": 1.0}])
def test_the_users_own_demonstrations_are_shown_under_all_weights(weights):
    assert shown(OWN, weights, 0) == "like this"


def test_a_batch_holds_what_its_steps_weights_show(tiny_model):
    backbone = tiny_model()
    replay = Replay(backbone, REVISIONS[:4], 4, 0)
    for helpful, harmless, text in ((1.0, 1.0, "safe"), (1.0, 0.0, "bold")):
        batch = replay.at({"helpful": helpful, "harmless": harmless}).batch(0)
        found = [row[keep].tolist() for row, keep in zip(batch.targets, batch.mask.bool(), strict=True)]
        assert found == [backbone.encode_response(text)] * 4
