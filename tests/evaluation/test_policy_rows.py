import math

import pytest

from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.policy_rows import PolicyRows, PromptTable, gold_sd
from rlhf_core.records.models import GoldScore, Score
from rlhf_core.records.samples import Prompt, Sample
from tests.records import norm_pack

ONE, TWO = Prompt.of("one"), Prompt.of("two")
SAMPLES = [
    Sample(id="a", prompt=ONE, response="x", policy_version="p"),
    Sample(id="b", prompt=ONE, response="y", policy_version="p"),
    Sample(id="c", prompt=TWO, response="z", policy_version="p"),
]
PACK = norm_pack(objectives=("helpful",), reward_models=("rm",), mean=(1.0,), sd=(2.0,))


def scores(*values, reward_model="rm"):
    pairs = zip("abc", values, strict=False)
    return [Score(sample_id=key, objective="helpful", reward_model=reward_model, score=value) for key, value in pairs]


def table(**rows):
    return PromptTable(PolicyRows("after PPO", "p", SAMPLES, **rows), [ONE.id, TWO.id])


def test_scores_are_standardised_and_averaged_by_prompt():
    assert table(scores=scores(1.0, 5.0, -1.0)).proxy("helpful", PACK).tolist() == [1, -1]


def test_a_sample_without_a_score_is_named():
    with pytest.raises(InvalidInput, match="sample 'c' of 'after PPO'"):
        table(scores=scores(1.0, 5.0)).proxy("helpful", PACK)


def test_scores_of_another_reward_model_do_not_count():
    with pytest.raises(InvalidInput, match="reward model 'rm'"):
        table(scores=scores(1.0, 2.0, 3.0, reward_model="older")).proxy("helpful", PACK)


def test_a_score_that_is_not_a_number_is_refused():
    with pytest.raises(InvalidInput, match="not finite"):
        table(scores=scores(1.0, math.nan, 3.0)).proxy("helpful", PACK)


def test_a_kind_of_harm_that_was_not_found_is_none_of_it():
    assert table(gold=[GoldScore(sample_id="a", kind="harm:burns", score=3)]).gold("harm:burns").tolist() == [1.5, 0]


def test_an_ungraded_sample_is_an_error():
    with pytest.raises(InvalidInput, match="gold score 'helpful'"):
        table(gold=[GoldScore(sample_id="a", kind="helpful", score=1)]).gold("helpful")


def test_policies_answer_the_same_prompts():
    with pytest.raises(InvalidInput, match="other prompts"):
        PromptTable(PolicyRows("after PPO", "p", SAMPLES), [ONE.id])


def test_gold_sd_is_the_sample_standard_deviation():
    rows = [GoldScore(sample_id=str(i), kind="helpful", score=score) for i, score in enumerate((1, 2, 3, 6))]
    assert gold_sd(rows, ["helpful", "harmless"]) == pytest.approx({"helpful": math.sqrt(14 / 3), "harmless": 0})
