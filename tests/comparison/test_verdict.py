"""Which of two runs is better: numbers over the prompts that both answered, and the sentence that weighs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from rlhf_core.comparison.compare import compare_runs
from rlhf_core.comparison.verdict import BEST_GOLD
from rlhf_core.comparison.words import basis, headline, part_words, side_of
from rlhf_core.config.run import RunConfig
from rlhf_core.evaluation.statistics import Estimate, difference_estimate
from rlhf_core.records.models import GoldScore, NormPack, PolicyVersion
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.sandbox.gold import SandboxGold
from rlhf_core.store.store import Store

HELPFUL, HARMLESS = "helpful", "harmless"
EVEN = {HELPFUL: 1.0, HARMLESS: 1.0}
RANGES = ((0.2, 0.1, 0.3), (0.2, 0.0, 0.4), (0.1, -0.2, 0.4), (-0.1, -0.4, 0.2), (-0.2, -0.3, -0.1))
"""Values with their intervals."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(tmp_path)) as opened:
        yield opened


def finished(
    store: Store,
    name: str,
    gold: Mapping[str, Sequence[float]],
    weights: Mapping[str, float] = EVEN,
    reference: Mapping[str, Sequence[float]] | None = None,
    **settings: object,
) -> str:
    """A run whose policy answered one prompt for each number of gold; `reference` is gold of the reference policy."""
    config = RunConfig.model_validate({"weights": dict(weights), **settings})
    run = store.runs.create("pipeline", config.model_dump_json(), "k", "", name)
    policy = f"policy-{name}"
    store.policy_versions.add(
        PolicyVersion(id=policy, run_id=run.id, stage="ppo", parent="base", base_model="sandbox", artifact=name, step=5)
    )
    graded(store, run.id, "evaluate", policy, gold)
    store.stage_results.add(StageResult(run_id=run.id, stage="ppo", policy_version=policy))
    store.stage_results.add(StageResult(run_id=run.id, stage="evaluate"))
    if reference:
        graded(store, run.id, "norm_pack", "base", reference)
        pack = NormPack(
            id=f"normpack-{name}",
            run_id=run.id,
            policy_version="base",
            objectives=tuple(gold),
            reward_models=tuple(f"{name}-{each}" for each in gold),
            mean=(0.0, 0.0),
            sd=(1.0, 1.0),
            quantiles=((), ()),
            correlation=((1.0, 0.0), (0.0, 1.0)),
            length_slope=(0.0, 0.0),
            mean_length=1.0,
            n=2,
        )
        store.norm_packs.add(pack)
        store.stage_results.add(StageResult(run_id=run.id, stage="norm_pack", norm_pack=pack.id))
    return run.id


def graded(store: Store, run_id: str, stage: str, policy: str, gold: Mapping[str, Sequence[float]]) -> None:
    made = {"policy_version": policy, "run_id": run_id, "stage": stage}
    samples = [
        Sample(id=f"{run_id}-{stage}-{i}", prompt=Prompt.of(f"How do I clean tile {i}?"), response="Wash it.", **made)
        for i in range(len(next(iter(gold.values()))))
    ]
    store.samples.add(samples)
    for kind, scores in gold.items():
        grades = zip(samples, scores, strict=True)
        store.gold_scores.add([GoldScore(sample_id=sample.id, kind=kind, score=score) for sample, score in grades])


def test_both_columns_are_means_over_the_prompts_of_the_difference(store):
    before = finished(store, "before", {HELPFUL: [0, 0, 9, 9], HARMLESS: [0, 0, 0, 0]})
    after = finished(store, "after", {HELPFUL: [1, 1], HARMLESS: [0, 0]})
    found = compare_runs(store, before, after)
    assert (found.a.prompts, found.b.prompts, found.shared_prompts) == (4, 2, 2)
    helpful = next(measure for measure in found.measures if measure.name == "gold helpful")
    assert helpful.a and helpful.b and helpful.difference
    assert (helpful.a.value, helpful.b.value, helpful.difference.value) == (0, 1, 1)
    assert helpful.a.n == helpful.b.n == helpful.difference.n == 2


def test_the_weighted_sum_is_paired_by_prompt(store):
    """Helpful gains what harmless loses, prompt by prompt: the sum does not move at all, wide as both intervals are."""
    before = finished(store, "before", {HELPFUL: [0, 0, 0], HARMLESS: [0, 0, 0]})
    after = finished(store, "after", {HELPFUL: [0, 1, 5], HARMLESS: [0, -1, -5]})
    verdict = compare_runs(store, before, after).verdict
    assert verdict and verdict.weighted
    assert (verdict.weighted.value, verdict.weighted.low, verdict.weighted.high) == (0, 0, 0)
    assert verdict.parts[0].difference.high > 3
    assert headline(compare_runs(store, before, after)) == (
        "Not told apart: from before to after the weighted sum changed by +0.00 [+0.00, +0.00]."
    )


def test_what_one_objective_gains_and_another_loses_is_a_trade_where_the_sum_is_not_told_apart(store):
    before = finished(store, "before", {HELPFUL: [0, 0, 0, 0], HARMLESS: [0, 0, 0, 0]})
    after = finished(store, "after", {HELPFUL: [1, 2, 1, 2], HARMLESS: [-2, -1, -2, -1]})
    assert headline(compare_runs(store, before, after)).startswith(
        "A trade: better on helpful, worse on harmless; from before to after the weighted sum changed by +0.00 ["
    )


def test_a_difference_whose_interval_holds_0_is_no_better_and_no_worse():
    sides = [side_of(Estimate(value=value, low=low, high=high, n=9)) for value, low, high in RANGES]
    assert sides == ["better", "not told apart", "not told apart", "not told apart", "worse"]


def test_gold_is_weighed_in_spreads_of_the_reference_policy(store):
    """Helpful spreads by 2 and harmless by 0.5: weights 1 and 3 make (1 * 2 / 2 - 3 * 1 / 0.5) / 4 = -1.25."""
    spread = {HELPFUL: [0, 8**0.5], HARMLESS: [0, 0.5**0.5]}
    weights = {HELPFUL: 1.0, HARMLESS: 3.0}
    before = finished(store, "before", {HELPFUL: [0, 0], HARMLESS: [0, 0]}, weights, spread)
    after = finished(store, "after", {HELPFUL: [2, 2], HARMLESS: [-1, -1]}, weights, spread)
    found = compare_runs(store, before, after)
    assert found.verdict and found.verdict.weighted
    assert found.verdict.weighted.value == pytest.approx(-1.25)
    told = "Worse: from before to after the weighted sum changed by -1.25 [-1.25, -1.25]"
    assert headline(found) == f"{told}; better on helpful, worse on harmless."
    told = basis(found.verdict)
    assert "(1 × helpful / 2.00 + 3 × harmless / 0.50) / 4, in standard deviations" in told
    assert "those of both runs" in told and "higher is better" in told
    assert part_words(found.verdict.parts[1]) == (
        "harmless: worse, from 0.00 to -1.00, by -1.00 [-1.00, -1.00]; 0 is best"
    )


def test_the_interval_is_that_of_the_sums_of_prompts_and_not_of_the_parts(store):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(2, 12)) for _ in range(2))
    before = finished(store, "before", {HELPFUL: a[0].tolist(), HARMLESS: a[1].tolist()})
    after = finished(store, "after", {HELPFUL: b[0].tolist(), HARMLESS: b[1].tolist()})
    verdict = compare_runs(store, before, after).verdict
    wanted = difference_estimate(a.mean(axis=0), b.mean(axis=0))
    assert verdict and verdict.weighted
    assert verdict.weighted.low == pytest.approx(wanted.low) and verdict.weighted.high == pytest.approx(wanted.high)


def test_other_weights_are_those_of_the_second_run_and_it_is_said(store):
    gold = {HELPFUL: [0.0, 0.0], HARMLESS: [0.0, 0.0]}
    before = finished(store, "before", gold, {HELPFUL: 1.0})
    after = finished(store, "after", {HELPFUL: [4, 4], HARMLESS: [-2, -2]}, {HARMLESS: 2.0})
    verdict = compare_runs(store, before, after).verdict
    assert verdict and verdict.weighted and verdict.weighted.value == -2
    assert "the weights are the second run's, as the first has others" in basis(verdict)
    twice = finished(store, "twice", gold, {HELPFUL: 2.0})
    verdict = compare_runs(store, before, twice).verdict
    assert verdict and not verdict.weights_differ, "only their proportions count"


def test_weights_given_to_a_run_on_its_way_are_those_that_count(store):
    gold = {HELPFUL: [0.0, 0.0], HARMLESS: [0.0, 0.0]}
    after = finished(store, "after", {HELPFUL: [1, 1], HARMLESS: [0, 0]})
    claimed = store.runs.claim("elsewhere:1:1", 3600)
    assert claimed is not None
    before = finished(store, "before", gold)
    store.weights.ask(after, {HARMLESS: 1.0})
    verdict = compare_runs(store, before, after).verdict
    assert verdict and verdict.weighted and verdict.weighted.value == 0.5, "they wait, and no step took them up"
    store.weights.take(after, claimed.fence, 3)
    verdict = compare_runs(store, before, after).verdict
    assert verdict and verdict.weighted and verdict.weighted.value == 0


def test_what_counts_and_is_not_judged_leaves_no_weighted_sum(store):
    before = finished(store, "before", {HELPFUL: [0, 0]})
    after = finished(store, "after", {HELPFUL: [1, 1]})
    found = compare_runs(store, before, after)
    assert found.verdict and found.verdict.weighted is None
    assert "nothing that judged both policies knows harmless" in headline(found)


def test_runs_without_a_prompt_in_common_are_not_told(store):
    before = finished(store, "before", {HELPFUL: [0], HARMLESS: [0]})
    after = finished(store, "after", {HELPFUL: [1, 1], HARMLESS: [0, 0]})
    found = compare_runs(store, before, after)
    assert found.verdict is None
    assert headline(found).startswith("Not told from before to after: no judge knows")


def test_the_sentence_says_which_policy_is_in_production(store):
    gold = {HELPFUL: [0.0, 0.0], HARMLESS: [0.0, 0.0]}
    before, after = finished(store, "before", gold), finished(store, "after", gold)
    store.aliases.promote("production", "policy-before", "ana", "", "")
    assert "from before (in production) to after the" in headline(compare_runs(store, before, after))
    assert "from after to before (in production) the" in headline(compare_runs(store, after, before))


def test_a_run_is_not_taken_for_production_where_another_policy_of_it_is(store):
    gold = {HELPFUL: [0.0, 0.0], HARMLESS: [0.0, 0.0]}
    before, after = finished(store, "before", gold), finished(store, "after", gold)
    tuned = {"id": "policy-tuned", "run_id": before, "stage": "sft", "parent": "base", "base_model": "b"}
    store.policy_versions.add(PolicyVersion.model_validate({**tuned, "artifact": "0" * 64}))
    store.aliases.promote("production", "policy-tuned", "ana", "", "")
    told = headline(compare_runs(store, before, after))
    assert "(in production)" not in told
    assert "from before (policy-tuned of it is in production, not its last policy, which is compared) to after" in told


def test_the_best_gold_is_what_the_sandbox_gives_its_best_answers():
    gold = SandboxGold()
    answers = [
        answer for task in gold.world.tasks["heldout"] for answer in gold.answers(Prompt.of(task.questions()[0]))
    ]
    assert {name: max(answer[name] for answer in answers) for name in BEST_GOLD} == BEST_GOLD


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"evaluation": {"temperature": 0.5}}, "temperature 0 and 0.5"),
        ({"model": {"max_tokens": 64}}, "at most 48 and 64 tokens"),
        (
            {"evaluation": {"temperature": 1}, "model": {"max_tokens": 8}},
            "temperature 0 and 1, at most 48 and 8 tokens",
        ),
    ],
)
def test_replies_that_were_drawn_otherwise_have_no_difference_and_it_is_said(store, settings, told):
    gold = {HELPFUL: [0, 0, 1], HARMLESS: [0, 1, 0]}
    before, after = finished(store, "before", gold), finished(store, "after", gold, **settings)
    found = compare_runs(store, before, after)
    assert found.drawn_otherwise == told and found.verdict is None
    assert all(measure.difference is None and measure.a and measure.b for measure in found.measures)
    assert {measure.note for measure in found.measures} == {"of replies that were drawn otherwise"}
    assert headline(found) == (
        f"Not told from before to after: the two runs drew their replies otherwise ({told}); evaluate one anew as the "
        "other was: from_run, start_at=evaluate."
    )


def test_replies_are_drawn_as_the_run_that_evaluated_says(store):
    """A run that takes its evaluation from another one drew nothing itself."""
    gold = {HELPFUL: [0, 0, 1], HARMLESS: [0, 1, 0]}
    before, other = finished(store, "before", gold), finished(store, "other", gold)
    settings = {"from_run": other, "start_at": "report", "evaluation": {"temperature": 1}, "weights": EVEN}
    heir = RunConfig.model_validate(settings)
    after = store.runs.create("pipeline", heir.model_dump_json(), "k", "", "after").id
    assert compare_runs(store, before, after).drawn_otherwise == ""
