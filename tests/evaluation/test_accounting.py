import pytest

from rlhf_core.evaluation.policy_rows import PolicyRows
from rlhf_core.evaluation.run_summary import (
    count_critiques,
    count_labels,
    curves,
    gold_agreement,
    summarise_reward_model,
)
from rlhf_core.evaluation.statistics import Estimate
from rlhf_core.records.feedback import Preference
from rlhf_core.records.models import GoldScore, RewardQuality, Score
from rlhf_core.records.runs import StepMetrics
from rlhf_core.records.samples import Prompt, Sample
from tests.records import reward_model

MODEL = reward_model()


def test_every_critique_is_accounted_for(revisions):
    counts = count_critiques(revisions[1])
    assert (counts.total, counts.complies, counts.accepted, counts.rejected) == (4, 1, 2, {"not_better": 1})
    assert counts.total == counts.complies + counts.accepted + sum(counts.rejected.values())


def test_feedback_is_summed_up_by_principle(report):
    fumes, burns, useful = report.feedback.principles
    assert (fumes.id, fumes.critiques.accepted, fumes.votes) == ("no-fumes", 1, 40)
    assert (burns.critiques.total, useful.critiques.complies) == (2, 1)
    assert report.feedback.votes == 40


def test_every_round_says_how_its_revisions_changed_the_length(report):
    first, second, third, last = report.feedback.rounds
    # "pour drain cleaner" becomes "use a plunger": as many words; a round that accepts nothing has no lengths.
    assert (first.round, first.length_ratio.median, first.length_ratio.n) == (0, 1.0, 1)
    assert (second.critiques.complies, second.length_ratio) == (1, None)
    assert (last.critiques.rejected, third.critiques.accepted) == ({"not_better": 1}, 1)


def label(identity, **fields):
    values = {"comparison_id": identity, "objective": "helpful", "labeler": "ai:base", "choice": "a", "gap": 0.1}
    return Preference(id=identity, **(values | fields))


def test_labels_are_counted_by_who_gave_them_and_why_not():
    counts = count_labels(
        [
            label("1"),
            label("2", choice="tie", gap=0.3),
            label("3", abstained=True, reason="position_gap", gap=0.8),
            label("4", labeler="human:ada", gap=0.0),
            label("5", labeler="human:ada", choice="skip", gap=0.0),
        ]
    )
    assert (counts.ai, counts.human, counts.ties, counts.abstained) == (2, 1, 1, {"position_gap": 1})
    assert counts.position_gap is not None
    assert counts.position_gap.value == pytest.approx(0.4)


def test_agreement_counts_pairs_whose_gold_differs():
    prompts = [Prompt.of(text) for text in ("one", "two", "three")]
    samples = [
        Sample(id=f"{i}{copy}", prompt=prompt, response=copy, policy_version="p")
        for i, prompt in enumerate(prompts)
        for copy in "ab"
    ]
    gold = dict(zip([s.id for s in samples], (1, 0, 0, 1, 1, 1), strict=True))
    score = dict(zip([s.id for s in samples], (5, 2, 3, 1, 0, 9), strict=True))
    policy = PolicyRows(
        "after PPO",
        "p",
        samples,
        [Score(sample_id=key, objective="helpful", reward_model="rm", score=value) for key, value in score.items()],
        [GoldScore(sample_id=key, kind="helpful", score=value) for key, value in gold.items()],
    )
    estimate = gold_agreement(policy, "helpful", "rm")
    assert estimate is not None
    assert (estimate.value, estimate.n) == (0.5, 2)
    nothing = policy._replace(gold=())
    assert gold_agreement(nothing, "helpful", "rm") is None
    assert summarise_reward_model(MODEL, nothing, policy).gold_agreement == estimate


def test_a_reward_model_without_held_out_labels_claims_no_accuracy():
    summary = summarise_reward_model(MODEL)
    assert (summary.accuracy, summary.ai_pairs, summary.human_pairs) == (None, 10, 2)


def test_labels_of_the_users_own_files_are_not_taken_for_the_judges_and_the_interval_is_the_measured_one():
    quality = RewardQuality(source="all", pairs=8, accuracy=0.75, accuracy_low=0.3, accuracy_high=0.95)
    numbers = {"data_pairs": 7, "accuracy": 0.75, "accuracy_n": 8, "quality": (quality,)}
    summary = summarise_reward_model(MODEL.model_copy(update=numbers))
    assert (summary.ai_pairs, summary.human_pairs, summary.data_pairs) == (3, 2, 7)
    assert summary.accuracy == Estimate(value=0.75, low=0.3, high=0.95, n=8, baseline=0.5)


def test_a_curve_holds_the_steps_that_have_its_number():
    rows = [
        StepMetrics(stage="ppo", step=1, steps=2, values={"kl": 0.1}),
        StepMetrics(stage="ppo", step=2, steps=2, values={"kl": 0.2, "gold.helpful": 0.9}),
        StepMetrics(stage="sft", step=1, steps=1, values={"loss": 3.0}),
    ]
    found = {(curve.stage, curve.name): (curve.steps, curve.values) for curve in curves(rows)}
    assert found["ppo", "kl"] == ((1, 2), (0.1, 0.2))
    assert found["ppo", "gold.helpful"] == ((2,), (0.9,))
    assert found["sft", "loss"] == ((1,), (3.0,))


def test_what_the_judge_was_not_asked_says_nothing_of_its_orders():
    """Of three pairs one was read, with .6 between its orders; no principle is for another, one could not be read."""
    unasked = label("2", abstained=True, reason="no_principle", gap=0.0)
    unread = label("3", abstained=True, reason="parse_failure", gap=0.0)
    counts = count_labels([label("1", gap=0.6), unasked, unread])
    assert counts.position_gap is not None and counts.position_gap.value == pytest.approx(0.6)
    assert count_labels([unasked]).position_gap is None


def test_pairs_of_one_prompt_that_agree_alike_are_no_more_evidence_than_one_of_them():
    """Twenty prompts, half of them agreeing with gold, in one pair each or in the same one five times."""
    widths = []
    for copies in (1, 5):
        samples, gold, scores = [], [], []
        for number in range(20):
            for side in range(2 * copies):
                identity = f"{number}.{side}"
                samples.append(
                    Sample(id=identity, prompt=Prompt.of(f"{number}?"), response=identity, policy_version="p")
                )
                gold.append(GoldScore(sample_id=identity, kind="helpful", score=float(side % 2)))
                ordered = float(side % 2) if number < 10 else -float(side % 2)
                scores.append(Score(sample_id=identity, objective="helpful", reward_model="rm", score=ordered))
        estimate = gold_agreement(PolicyRows("one", "p", samples, scores, gold), "helpful", "rm")
        assert estimate is not None and (estimate.value, estimate.n) == (0.5, 20 * copies)
        widths.append(estimate.high - estimate.low)
    assert widths[1] == pytest.approx(widths[0], rel=0.03)
