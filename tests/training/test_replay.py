"""What PPO replays under which weights."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.ppo_config import PpoConfig
from rlhf_core.records import Demonstration, Prompt
from rlhf_core.training.replay import Replay, parts, shown

WEIGHT = st.floats(0.0, 8.0)
OWN = Demonstration(prompt=Prompt.of("how?"), response="like this")


REVISIONS = [
    Demonstration(prompt=Prompt.of(f"task {number}"), response="safe", before="bold", serves=("harmless",))
    for number in range(400)
]
EVEN = {"helpful": 0.5, "harmless": 0.5}


def revised(helpful: float, harmless: float, usual: dict[str, float] = EVEN, seed: int = 0) -> set[str]:
    asked = parts({"helpful": helpful, "harmless": harmless})
    return {row.prompt.id for row in REVISIONS if shown(row, asked, usual, seed) == "safe"}


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
    assert len(revised(4, 1, usual={"helpful": 0.8, "harmless": 0.2})) == 400


@given(WEIGHT, WEIGHT, st.floats(0.01, 8.0))
def test_what_is_revised_at_a_lower_weight_is_revised_at_a_higher_one(low, more, helpful):
    assert revised(helpful, low) <= revised(helpful, low + more)


def test_another_seed_draws_others():
    assert revised(3, 1, seed=0) != revised(3, 1, seed=1)


@pytest.mark.parametrize("harmless", [0.0, 1.0])
def test_the_users_own_demonstrations_are_shown_under_all_weights(harmless):
    assert shown(OWN, {"helpful": 1 - harmless, "harmless": harmless}, EVEN, 0) == "like this"


@pytest.mark.parametrize(
    ("helpful", "harmless", "text", "coef"), [(2, 2, "safe", 0.8), (1, 0, "bold", 0.2), (1, 3, "safe", 0.45)]
)
def test_a_steps_weights_decide_what_is_replayed_and_at_what_price(tiny_model, helpful, harmless, text, coef):
    backbone = tiny_model()
    config = PpoConfig(ptx_coef=0.8, ptx_batch_size=4)
    replay = Replay.begin(backbone, REVISIONS[:4], config, 0, {"helpful": 3.0, "harmless": 3.0})
    assert replay is not None
    now = replay.at({"helpful": helpful, "harmless": harmless})
    batch = now.batch(0)
    found = [row[keep].tolist() for row, keep in zip(batch.targets, batch.mask.bool(), strict=True)]
    assert found == [backbone.encode_response(text)] * 4
    # Parts of 1/2 and 1/2 share all of themselves, half with 1 and 0, three quarters with 1/4 and 3/4; squared.
    assert now.coef == pytest.approx(coef)


def test_where_no_weights_are_usual_everything_is_shown_at_full_price(tiny_model):
    replay = Replay.begin(tiny_model(), REVISIONS[:4], PpoConfig(ptx_coef=0.8), 0, {})
    assert replay is not None and replay.at({"helpful": 1.0, "harmless": 0.0}) == replay
