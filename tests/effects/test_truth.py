"""Effects on the sandbox's own pairs, where a perfect judge is known."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from rlhf_core.config.run import LabelConfig, ModelConfig
from rlhf_core.constitution.diff import diff_constitutions
from rlhf_core.constitution.load import builtin_text, load_constitution, parse_constitution
from rlhf_core.constitution.principle import Principle
from rlhf_core.effects.edit_cost import bill
from rlhf_core.effects.measure import measure_effects
from rlhf_core.effects.probe_votes import true_ballots
from rlhf_core.effects.probes import world_probes
from rlhf_core.effects.report import EffectReport, ObjectiveEffect
from rlhf_core.feedback.model_feedback import ModelFeedback
from rlhf_core.inference.choice_logprobs import choose
from rlhf_core.inference.generate import chat
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.feedback import Vote
from rlhf_core.records.samples import Comparison
from rlhf_core.sandbox.sandbox import MODEL_FOLDER, Sandbox
from tests.effects.examples import Judge

SANDBOX = Sandbox()
HOUSEHOLD = load_constitution("household")
LIGHTER = builtin_text("household").replace("id: no-falls\n", "id: no-falls\n    weight: 0.1\n")
NO_FALLS = parse_constitution(LIGHTER, "lighter")
NO_FUMES = HOUSEHOLD.model_copy(update={"principles": HOUSEHOLD.principles[1:]})
CUTS = parse_constitution(builtin_text("household").replace("less risk of fumes?", "less risk of cuts?"), "cuts")


class Perfect(Judge):
    """Votes as the truth does."""

    def compare(self, questions: Sequence[tuple[Comparison, Principle]]) -> list[Vote]:
        wanted = {(principle.hash, pair.id): (principle, pair) for pair, principle in questions}
        return [vote for both in true_ballots(wanted, SANDBOX).values() for vote in both]


class Deaf(Perfect):
    """Hears of fumes whatever kind of hazard it is asked about."""

    def compare(self, questions: Sequence[tuple[Comparison, Principle]]) -> list[Vote]:
        votes = []
        for pair, asked in questions:
            fumes = re.sub(r"cuts|falls|burns|shock", "fumes", asked.compare)
            heard = super().compare([(pair, asked.model_copy(update={"compare": fumes}))])
            votes += [vote.model_copy(update={"principle_hash": asked.hash}) for vote in heard]
        return votes


def measured(after, judge: Judge | ModelFeedback, pairs: int) -> EffectReport:
    diff = diff_constitutions(HOUSEHOLD, after)
    return measure_effects(
        *(HOUSEHOLD, after, diff, bill(diff, HOUSEHOLD, after, None)),
        world_probes(SANDBOX, pairs, 0),
        lambda constitution: judge,
        LabelConfig(),
        lambda phase, done, total: None,
    )


def harmless(after, judge: Judge) -> ObjectiveEffect:
    unaffected, changed = measured(after, judge, 150).objectives
    assert (unaffected.objective, unaffected.flips, unaffected.mean_shift.value) == ("helpful", 0, 0.0)
    return changed


@pytest.mark.parametrize("after", [NO_FALLS, CUTS], ids=["another weight", "another kind of hazard"])
def test_a_perfect_judge_flips_where_the_truth_does(after):
    effect = harmless(after, Perfect())
    assert effect.truth is not None and effect.truth.flips == effect.flips > 0 and effect.truth.moves > 5
    truth = effect.truth
    for share in (truth.precision, truth.recall, truth.matters, truth.move_precision, truth.move_recall):
        assert share is not None and share.value == 1.0
    assert (effect.direction, effect.noise_flips) == ("gold", 0)
    assert effect.away > effect.toward, "either edit leaves a hazard out of account"


def test_a_judge_that_does_not_hear_the_edit_recalls_nothing():
    effect = harmless(CUTS, Deaf())
    assert effect.truth is not None and effect.flips == 0 and effect.truth.flips > 0
    assert effect.truth.recall is not None and effect.truth.recall.value == 0.0
    assert effect.truth.precision is None, "it has flipped nothing that could be right"


@pytest.mark.slow
def test_the_sandboxs_model_flips_only_what_should_flip_and_most_of_that_when_it_reads_replies_alone():
    backbone = Backbone.load(str(MODEL_FOLDER), ModelConfig())
    judge = ModelFeedback(
        lambda conversations: chat(backbone, conversations, ModelConfig().feedback_tokens),
        lambda conversations, labels: choose(backbone, conversations, labels),
        *("law", "sandbox"),
        pointwise=True,
    )
    # So many, as few labels turn on fumes alone where every task has hazards of several kinds.
    report = measured(NO_FUMES, judge, 150)
    _, effect = report.objectives
    truth = effect.truth
    assert truth is not None and truth.precision is not None and truth.recall is not None
    assert truth.flips >= effect.flips > 0 and truth.moves > 10
    assert truth.precision.value == 1.0
    assert truth.recall.value >= 0.75, "one of four is missed where its critic slips, as it does on one reply in fifty"
    assert truth.move_precision and truth.move_recall
    assert truth.move_precision.value > 0.95 and truth.move_recall.value > 0.9
    assert report.notes[0].startswith("sandbox read each reply alone once"), "the noise floor is zero for that reason"
