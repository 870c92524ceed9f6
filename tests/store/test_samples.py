import math

import pytest

from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.records.models import GoldScore, Score
from rlhf_core.records.samples import Prompt
from rlhf_core.store.store import Store
from tests.records import revision
from tests.store.examples import sample


def test_a_sample_comes_back_whole_with_its_prompt_though_the_prompt_is_stored_once(store: Store):
    store.samples.add([sample("1"), sample("2")])
    assert store.samples.get("1") == sample("1")
    assert store.samples.of_run("run") == [sample("1"), sample("2")]
    assert store.prompts.find() == [sample("1").prompt]


def test_adding_again_changes_nothing(store: Store):
    store.samples.add([sample("1")])
    store.samples.add([sample("1").model_copy(update={"response": "another"}), sample("2")])
    assert [s.response for s in store.samples.of_run("run")] == ["answer 1", "answer 2"]


def test_samples_are_chosen_by_stage_and_policy_version(store: Store):
    store.samples.add(
        [sample("1", stage="critique"), sample("2", stage="ppo", policy_version="p1"), sample("3", "other")]
    )
    assert [s.id for s in store.samples.of_run("run", stage="ppo")] == ["2"]
    assert [s.id for s in store.samples.of_run("run", policy_version="base")] == ["1"]
    assert store.samples.of_run("nobody") == []


def test_a_run_that_draws_the_same_sample_as_an_earlier_one_finds_it_among_its_own(store: Store):
    store.samples.add([sample("1", run_id="first")])
    store.samples.add([sample("0", run_id="second"), sample("1", run_id="second")])
    assert [s.id for s in store.samples.of_run("second")] == ["0", "1"]
    assert store.samples.get("1").run_id == "first"


def test_samples_by_id_leaves_out_what_is_unknown(store: Store):
    store.samples.add([sample(str(i)) for i in range(3)])
    assert store.samples.by_id(["2", "0", "nine"]) == {"0": sample("0"), "2": sample("2")}
    with pytest.raises(NotFound, match="nine"):
        store.samples.get("nine")


def test_prompts_are_chosen_by_split_in_the_order_in_which_they_came(store: Store):
    prompts = [Prompt.of("b"), Prompt.of("a", split="heldout"), Prompt.of("c")]
    store.prompts.add(prompts)
    assert store.prompts.find() == prompts
    assert store.prompts.find("heldout") == [prompts[1]]


def test_a_revision_keeps_its_critique_and_needs_its_sample(store: Store):
    store.samples.add([sample("1")])
    store.revisions.add([revision(id="r", sample_id="1")])
    assert store.revisions.of_run("run") == [revision(id="r", sample_id="1")]
    with pytest.raises(NotFound):
        store.revisions.add([revision(id="s", sample_id="missing")])
    assert len(store.revisions.of_run("run")) == 1


def test_scores_are_kept_per_reward_model(store: Store):
    store.samples.add([sample("1"), sample("2")])
    scores = [
        Score(sample_id=s, objective="helpful", reward_model=m, score=x, spread=0.1)
        for s, m, x in [("1", "m1", 0.5), ("2", "m1", -0.5), ("1", "m2", 2.0)]
    ]
    store.scores.add(scores)
    store.scores.add(scores)
    assert store.scores.of_run("run") == scores
    assert store.scores.of_run("run", "helpful", reward_model="m2") == scores[2:]
    assert store.scores.of_run("run", "harmless") == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_refused_and_the_whole_batch_with_it(store: Store, value: float):
    store.samples.add([sample("1"), sample("2")])
    good = Score(sample_id="1", objective="helpful", reward_model="m", score=0.0)
    with pytest.raises(InvalidInput):
        store.scores.add([good, good.model_copy(update={"sample_id": "2", "score": value})])
    assert store.scores.of_run("run") == []


def test_a_critic_may_write_any_character(store: Store):
    made = revision(id="r", sample_id="1")
    critique = made.critique.model_copy(update={"text": "a\0\0b \\u0000"})
    store.samples.add([sample("1")])
    store.revisions.add([made.model_copy(update={"critique": critique})])
    assert store.revisions.of_run("run")[0].critique == critique


def test_gold_is_kept_apart_from_scores(store: Store):
    store.samples.add([sample("1")])
    gold = [GoldScore(sample_id="1", kind="helpful", score=0.75), GoldScore(sample_id="1", kind="harm:fumes", score=2)]
    store.gold_scores.add(gold)
    assert store.gold_scores.of_run("run") == gold
    assert store.scores.of_run("run") == []


def test_a_seed_beyond_64_bits_is_named(store: Store):
    with pytest.raises(InvalidInput, match="64 bits"):
        store.samples.add([sample("1").model_copy(update={"seed": 2**64})])


def test_half_a_character_is_named(store: Store):
    with pytest.raises(InvalidInput, match="Unicode"):
        store.samples.add([sample("1").model_copy(update={"response": "\ud83d"})])


def test_a_prompt_whose_tags_were_mended_is_read_with_the_new_ones_and_an_imported_row_takes_none_away(store: Store):
    prompt = Prompt.of("How do I break in?", tags=("benign",), source="first.jsonl")
    store.prompts.add([prompt])
    store.samples.add([sample("1").model_copy(update={"prompt": prompt})])
    mended = prompt.model_copy(update={"tags": ("harmful",), "source": "second.jsonl"})
    store.prompts.add([mended])
    store.samples.add([sample("2").model_copy(update={"prompt": prompt.model_copy(update={"tags": ()})})])
    assert store.samples.get("1").prompt.tags == store.samples.get("2").prompt.tags == ("harmful",)
    assert [one.source for one in store.prompts.find()] == ["first.jsonl"]
