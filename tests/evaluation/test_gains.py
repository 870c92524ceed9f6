"""What each part of a training added, by hand: four policies on two prompts, helpful beside harmless.

A score weighs helpful + harmless / 4. Prompt by prompt that is 0.5 and 0 as shipped, 0.75 and -0.25 after SFT, 0.75
and 0 for the control, 1 and 0.25 after PPO, and 1 and 0.5 at best: means of 0.25, 0.25, 0.375, 0.625 and 0.75.
"""

from __future__ import annotations

import numpy as np
import pytest

from rlhf_core.evaluation.evaluate import Evaluation, evaluate
from rlhf_core.evaluation.gains import Gain, Judged, gains
from rlhf_core.evaluation.policy_rows import PolicyRows
from rlhf_core.evaluation.report.gains_section import gains_table, verdict
from rlhf_core.evaluation.report.record import Report
from rlhf_core.evaluation.statistics import Estimate, mean_estimate
from rlhf_core.records.models import GoldScore, Score
from rlhf_core.records.samples import Prompt, Sample
from tests.records import norm_pack

NAMES = ("helpful", "harmless")
SCORES = {
    "before training": [(1.0, -2.0), (1.0, -4.0)],
    "after SFT": [(1.0, -1.0), (0.5, -3.0)],
    "control": [(1.0, -1.0), (0.5, -2.0)],
    "after PPO": [(1.0, 0.0), (0.5, -1.0)],
}
BEST = [(1.0, 0.0), (0.5, 0.0)]


def judged(*policies: str, best: list[tuple[float, float]] | None = BEST) -> Judged:
    scores = {name: np.array(SCORES[name]) for name in policies or SCORES}
    return Judged("gold", NAMES, scores, np.array([1, 0.25]), None if best is None else np.array(best))


def test_each_link_is_named_after_what_it_added():
    assert [(gain.name, gain.before, gain.after) for gain in gains(judged())] == [
        ("critique, revision and SFT", "before training", "after SFT"),
        ("PPO without its rewards", "after SFT", "control"),
        ("the rewards", "control", "after PPO"),
        ("everything", "before training", "after PPO"),
    ]


def test_without_a_control_ppo_is_one_link_rewards_and_all():
    names = [gain.name for gain in gains(judged("before training", "after SFT", "after PPO"))]
    assert names == ["critique, revision and SFT", "PPO, rewards and all", "everything"]


def test_two_policies_have_one_link_and_one_policy_has_none():
    assert [gain.name for gain in gains(judged("before training", "after SFT"))] == ["critique, revision and SFT"]
    assert gains(judged("before training")) == ()


def test_policies_of_other_names_are_told_by_them():
    scores = {"one": np.zeros((1, 1)), "two": np.ones((1, 1))}
    assert [gain.name for gain in gains(Judged("gold", ("x",), scores, np.ones(1)))] == ["from one to two"]


def test_gains_are_differences_of_weighted_scores_and_of_each_objective():
    tuned, free, paid, all_ = gains(judged())
    assert [gain.weighted.value for gain in (tuned, free, paid, all_)] == pytest.approx([0, 0.125, 0.25, 0.375])
    assert {name: one.value for name, one in tuned.objectives.items()} == {"helpful": -0.25, "harmless": 1}
    assert {name: one.value for name, one in paid.objectives.items()} == {"helpful": 0, "harmless": 1}
    assert {name: one.value for name, one in all_.objectives.items()} == {"helpful": -0.25, "harmless": 2.5}
    assert {gain.judge for gain in (tuned, free, paid, all_)} == {"gold"} and paid.weighted.n == 2


def test_the_way_is_shared_out_among_the_links():
    found = [gain.way for gain in gains(judged())]
    # From 0.25 to 0.75 at best.
    assert [way.value for way in found if way] == pytest.approx([0, 0.25, 0.5, 0.75])


def test_there_is_no_way_where_the_best_is_unknown_or_where_the_first_policy_is_as_good():
    assert {gain.way for gain in gains(judged(best=None))} == {None}
    assert {gain.way for gain in gains(judged(best=SCORES["before training"]))} == {None}


def test_a_gain_on_every_prompt_is_sure_however_much_prompts_differ():
    before = np.arange(20.0)[:, None] * 10
    [gain] = gains(Judged("gold", ("helpful",), {"before training": before, "after SFT": before + 1}, np.ones(1)))
    assert (gain.weighted.low, gain.weighted.value, gain.weighted.high) == pytest.approx((1, 1, 1))
    alone = mean_estimate(before[:, 0])
    assert alone.high - alone.low > 40, "unpaired, a gain of 1 would be lost among the prompts"


@pytest.mark.parametrize(("low", "shown"), [(0.01, True), (0.0, False), (-0.2, False)])
def test_a_gain_is_shown_where_its_interval_lies_above_zero(low, shown):
    assert gain("the rewards", "control", low=low).is_shown == shown


def rows(name: str, *models: str) -> PolicyRows:
    """The policy's scores as gold, and the same times 10 plus 5 by each reward model of an objective."""
    samples = [
        Sample(id=f"{name}-{text}", prompt=Prompt.of(text), response=text, policy_version=name)
        for text in ("easy", "hard")
    ]
    gold, scores = [], []
    for sample, both in zip(samples, SCORES[name], strict=True):
        for objective, grade in zip(NAMES, both, strict=True):
            gold.append(GoldScore(sample_id=sample.id, kind=objective, score=grade))
            for model in models:
                version, score = f"{model}-{objective}", 10 * grade + 5
                scores.append(Score(sample_id=sample.id, objective=objective, reward_model=version, score=score))
    return PolicyRows(name, name, samples, scores, gold)


class Known:
    objectives = NAMES

    def score(self, prompt, response):
        return dict(zip(NAMES, SCORES["before training"][response == "hard"], strict=True))

    def answers(self, prompt):
        return [dict(zip(NAMES, BEST[prompt.messages[0].content == "hard"], strict=True))]


def measured(*models: str, control: bool = True, **given) -> Evaluation:
    """Weights of 1 : 1 in units of 0.5 and 2 weigh helpful + harmless / 4, as above."""
    policies = [rows(name, *models) for name in ("before training", "after SFT", "after PPO")]
    beside = rows("control", *models) if control else None
    fixed = {"objectives": NAMES, "weights": {"helpful": 1.0, "harmless": 1.0}, "resamples": 100}
    return evaluate(policies, control=beside, **fixed, **given)


TRUTH = {"gold": Known(), "gold_scale": {"helpful": 0.5, "harmless": 2.0}}


def test_the_control_has_numbers_of_its_own_and_is_no_stage():
    found = measured(**TRUTH)
    assert [stage.name for stage in found.stages] == ["before training", "after SFT", "after PPO"]
    assert found.weighted is not None and list(found.weighted.stages) == ["before training", "after SFT", "after PPO"]
    assert found.control is not None and found.control.name == found.control.policy_version == "control"
    harmless = found.control.gold["harmless"]
    assert (harmless.value, harmless.baseline) == (-1.5, -3)
    assert found.control.gold_change["harmless"].value == 1.5
    assert [gain.weighted.value for gain in found.gains] == pytest.approx([0, 0.125, 0.25, 0.375])


def test_without_a_control_there_is_none_in_the_evaluation():
    found = measured(control=False, **TRUTH)
    assert found.control is None
    assert [gain.name for gain in found.gains] == ["critique, revision and SFT", "PPO, rewards and all", "everything"]


def test_auditors_and_reward_models_judge_the_gains_where_they_have_a_scale():
    pays = norm_pack(reward_models=("paid-helpful", "paid-harmless"), mean=(5.0, 5.0), sd=(10.0, 20.0))
    hears = norm_pack(objectives=("harmless",), reward_models=("heard-harmless",), mean=(5.0,), sd=(5.0,))
    found = measured("paid", "heard", norm_pack=pays, auditor_pack=hears, **TRUTH)
    assert [gain.judge for gain in found.gains] == ["gold"] * 4 + ["auditor"] * 4 + ["reward model"] * 4
    # The auditor knows harmless alone, in units of half a point: 1, 0.5, 1 and 2.5 points.
    assert [gain.weighted.value for gain in found.gains[4:8]] == pytest.approx([2, 1, 2, 5])
    assert set(found.gains[4].objectives) == {"harmless"}
    # Helpful / 2 + harmless / 4: -0.25, 0, 0 and -0.25 points, and 1, 0.5, 1 and 2.5.
    assert [gain.weighted.value for gain in found.gains[8:]] == pytest.approx([0.125, 0.125, 0.25, 0.5])
    assert {gain.way for gain in found.gains[4:]} == {None}


def test_without_gold_the_reward_models_judge_alone_and_only_what_has_a_weight():
    pack = norm_pack(reward_models=("paid-helpful", "paid-harmless"))
    assert {gain.judge for gain in measured("paid", norm_pack=pack).gains} == {"reward model"}
    other = norm_pack(objectives=("honest",), reward_models=("paid-honest",), mean=(0.0,), sd=(1.0,))
    assert measured("paid", norm_pack=other).gains == ()


def gain(name: str, before: str, after: str = "after PPO", value: float = 0.25, low: float = 0.1, **given) -> Gain:
    weighted = Estimate(value=value, low=low, high=0.4, n=2)
    return Gain(name=name, before=before, after=after, weighted=weighted, **{"judge": "gold", **given})


def report(*found: Gain, **given) -> Report:
    return Report.model_construct(
        objectives=NAMES, gains=found, **{"control_steps": 30, "control_pays": "nothing", **given}
    )


FIRST = gain("critique, revision and SFT", "before training", "after SFT")


def test_the_verdict_says_what_the_rewards_added_where_that_is_shown():
    found = report(FIRST, gain("the rewards", "control"), gain("everything", "before training", value=0.9))
    assert verdict(found) == "The rewards moved the policy: they added 0.25 [0.10, 0.40] reference sd by gold."


def test_the_table_says_what_the_control_was_paid():
    found = gain("PPO without its rewards", "after SFT", "control"), gain("the rewards", "control")
    idle, pushed = (gains_table(report(*found, control_pays=pays)) for pays in ("nothing", "shuffled"))
    assert "(30 steps)" in idle and "with no score paid" in idle
    assert "(30 steps, paid shuffled scores)" in pushed and "shuffled among its responses" in pushed


def test_the_verdict_says_so_where_the_rewards_are_not_shown_to_do_anything():
    found = report(FIRST, gain("the rewards", "control", value=-0.05, low=-0.5, judge="auditor"))
    doubt = "The rewards are not shown to have moved the policy for the better:"
    assert verdict(found) == f"{doubt} −0.05 [−0.50, 0.40] reference sd by auditor."


def test_without_a_control_the_verdict_is_about_ppo():
    shown = report(FIRST, gain("PPO, rewards and all", "after SFT"))
    assert verdict(shown) == (
        "PPO, of which no control was run, moved the policy: it added 0.25 [0.10, 0.40] reference sd by gold."
    )
    doubted = report(FIRST, gain("PPO, rewards and all", "after SFT", low=0.0))
    assert verdict(doubted).startswith("PPO, of which no control was run, is not shown to have moved the policy")


def test_a_run_without_ppo_has_no_verdict():
    assert verdict(report(FIRST)) == verdict(report()) == gains_table(report()) == ""
    assert gains_table(report(FIRST)).startswith("<div"), "no empty line above the table"


def test_the_table_tells_after_how_many_steps_a_control_was_taken():
    html = gains_table(report(FIRST, gain("the rewards", "control"), gain("everything", "before training")))
    assert html.count("(30 steps)") == 1 and "the rewards <small>(30 steps)</small>" in html
    assert html.startswith("<p><b>The rewards moved the policy")
