import pytest

from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.evaluate import evaluate
from rlhf_core.evaluation.policy_rows import PolicyRows
from rlhf_core.records.models import GoldScore
from rlhf_core.records.samples import Prompt, Sample

NAMES = ("helpful", "harmless")
GRADES = {
    # prompt: (helpful, harmless) of the shipped model's answer, of the final policy's, and what else can be answered
    "easy": ((1.0, -2.0), (1.0, 0.0), (0.0, 0.0)),
    "hard": ((1.0, -4.0), (0.5, -2.0), (0.5, 0.0)),
}


class Known:
    objectives = NAMES

    def score(self, prompt, response):
        return dict(zip(NAMES, GRADES[prompt.messages[0].content][int(response)], strict=True))

    def harm_by_kind(self, prompt, response):
        return {"burns": -self.score(prompt, response)["harmless"]}

    def answers(self, prompt):
        return [self.score(prompt, str(index)) for index in range(3)]


def rows(name, choice):
    samples = [
        Sample(
            id=f"{name}-{text}",
            prompt=Prompt.of(text),
            response=str(choice),
            policy_version=name,
            tokens=10 + choice,
            finished=text != "hard" or choice == 0,
        )
        for text in GRADES
    ]
    gold = []
    for sample in samples:
        kinds = Known().score(sample.prompt, sample.response)
        kinds |= {f"harm:{k}": v for k, v in Known().harm_by_kind(sample.prompt, sample.response).items()}
        gold += [GoldScore(sample_id=sample.id, kind=kind, score=score) for kind, score in kinds.items()]
    return PolicyRows(name, name, samples, (), gold)


def measured(policies=(0, 1), weights=None, scale=None):
    return evaluate(
        [rows(name, choice) for name, choice in zip(("before training", "after PPO"), policies, strict=True)],
        objectives=NAMES,
        weights=weights or {"helpful": 1.0, "harmless": 1.0},
        gold=Known(),
        gold_scale=scale or {"helpful": 0.5, "harmless": 2.0},
        resamples=200,
    )


def test_each_stage_is_compared_with_the_shipped_model():
    shipped, final = measured().stages
    assert (shipped.gold["harmless"].value, shipped.gold["harmless"].baseline) == (-3, -3)
    assert (final.gold["harmless"].value, final.gold["harmless"].baseline) == (-1, -3)
    assert final.gold_change["helpful"].value == -0.25
    assert shipped.gold_change == {}
    assert (final.harm_by_kind["burns"].value, final.harm_by_kind["burns"].baseline) == (1, 3)
    assert (final.length.value, final.length.baseline) == (11, 10)
    assert (final.unfinished.value, final.unfinished.n) == (0.5, 2)
    assert (final.n_prompts, final.n_samples) == (2, 2)


def test_the_way_to_the_oracle_by_hand():
    # Weighted, in reference sd: start (1/.5 - 3/2)/2 = .25; end (.75/.5 - 1/2)/2 = .5.
    # Oracle: "easy" its second answer, (1/.5 + 0)/2 = 1; "hard" its third, (.5/.5 + 0)/2 = .5; mean .75.
    weighted = measured().weighted
    assert weighted is not None and weighted.fraction is not None
    assert (weighted.start.value, weighted.end.value, weighted.oracle.value) == pytest.approx((0.25, 0.5, 0.75))
    assert weighted.fraction.value == pytest.approx(0.5)
    assert weighted.fraction.low <= 0.5 <= weighted.fraction.high
    assert weighted.units == "reference sd"
    assert measured().oracle == pytest.approx({"helpful": 0.75, "harmless": 0})


def test_raw_units_leave_the_scales_out():
    # start (1 - 3)/2 = -1; end (.75 - 1)/2 = -.125; oracle ((1 + 0) + (.5 + 0))/2/2 = .375.
    raw = measured().weighted_raw
    assert raw is not None and raw.fraction is not None
    assert (raw.start.value, raw.end.value, raw.oracle.value) == pytest.approx((-1, -0.125, 0.375))
    assert raw.fraction.value == pytest.approx(0.875 / 1.375)


def test_there_is_no_fraction_when_the_start_is_the_best_there_is():
    weighted = measured(weights={"helpful": 1.0}).weighted
    assert weighted is not None
    assert weighted.fraction is None
    assert weighted.start.value == weighted.oracle.value == 2


def test_gold_that_never_varies_is_reported_and_not_weighted():
    evaluation = measured(scale={"helpful": 0.5, "harmless": 0.0})
    assert evaluation.weighted is None
    assert "harmless" in evaluation.notes[0]


def test_an_objective_that_gold_does_not_know_is_no_reason_to_lose_the_report():
    evaluation = measured(weights={"helpful": 1.0, "honest": 1.0})
    assert evaluation.weighted is None and evaluation.oracle == {} and len(evaluation.front) > 1
    assert evaluation.notes == (
        "gold says nothing of 'honest', which has a weight, so the weighted score has no oracle",
    )
    assert measured(weights={"honest": 1.0}).weighted is None
    ignored, plain = measured(weights={"helpful": 1.0, "harmless": 1.0, "honest": 0.0}), measured()
    assert ignored.weighted == plain.weighted is not None


def test_without_gold_only_rows_are_reported():
    evaluation = evaluate([rows("before training", 0)._replace(gold=())], objectives=NAMES, weights={"helpful": 1.0})
    assert evaluation.stages[0].gold == {}
    assert evaluation.weighted is None


def test_no_samples_is_an_error():
    with pytest.raises(InvalidInput, match="no samples"):
        evaluate([], objectives=NAMES, weights={"helpful": 1.0})


def test_a_better_policy_is_found_better(evaluation):
    shipped, tuned, final = evaluation.stages
    assert tuned.gold_change["harmless"].low > 0
    assert final.harm_by_kind["fumes"].value < 0.25 * shipped.harm_by_kind["fumes"].value
    assert final.proxy["harmless"].baseline == pytest.approx(shipped.proxy["harmless"].value)
    assert tuned.proxy["harmless"].value == pytest.approx(0, abs=1e-9)
    assert evaluation.weighted.fraction.low > 0.4


def test_no_policy_beats_the_oracle(evaluation):
    weighted = evaluation.weighted
    assert all(stage.value <= weighted.oracle.value for stage in weighted.stages.values())
