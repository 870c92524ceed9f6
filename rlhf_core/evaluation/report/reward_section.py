"""The reward models on the page: how often they are right, by whom, and what their probabilities are worth."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.evaluation.report.html import decimal, number, table, text
from rlhf_core.evaluation.run_summary import RewardModelSummary
from rlhf_core.evaluation.statistics import Estimate
from rlhf_core.records.models import RewardQuality

SOURCES = {"all": "all", "ai": "AI", "human": "people", "data": "own files"}
NONE = '<span class="none">–</span>'


def reward_tables(models: Sequence[RewardModelSummary]) -> str:
    """Build the tables of the reward models; nothing where there are none."""
    if not models:
        return ""
    rows = [
        [
            text(model.objective),
            number(model.accuracy, 1, percent=True),
            number(model.gold_agreement, 1, percent=True),
            f"{model.ai_pairs:,}",
            f"{model.human_pairs:,}",
            f"{model.data_pairs:,}",
        ]
        for model in models
    ]
    head = ["reward model", "accuracy, held out", "agrees with gold", "AI labels", "human labels", "own files"]
    note = "Chance is 50 %. Gold orders two samples of one policy for one prompt: the reference policy's, as a rule."
    return table(head, rows, note) + _qualities(models)


def _qualities(models: Sequence[RewardModelSummary]) -> str:
    rows = [
        [f"{text(model.objective)}, {SOURCES[quality.source]}", *_cells(quality)]
        for model in models
        for quality in model.quality
    ]
    head = ["held-out labels of", "pairs", "accuracy", "longer reply", "Brier", "ECE", "length", "ratings", "steps"]
    note = (
        "<b>longer reply</b>: accuracy of always preferring it. <b>Brier</b>, <b>ECE</b>: errors of the model's "
        "probabilities, 0 being none. <b>length</b>: correlation of score and words within pairs. <b>ratings</b>: rank "
        "correlation. <b>steps</b>: share of steps that are called right."
    )
    return table(head, rows, note) if rows else ""


def _cells(quality: RewardQuality) -> list[str]:
    accuracy = None
    if quality.accuracy is not None and quality.accuracy_low is not None and quality.accuracy_high is not None:
        accuracy = Estimate(
            value=quality.accuracy, low=quality.accuracy_low, high=quality.accuracy_high, n=quality.pairs
        )
    return [
        f"{quality.pairs:,}",
        number(accuracy, 1, percent=True),
        _percent(quality.longer_reply),
        _plain(quality.brier, 3),
        _plain(quality.ece, 3),
        _plain(quality.length_correlation, 2),
        _plain(quality.rating_correlation, 2),
        _percent(quality.step_accuracy),
    ]


def _plain(value: float | None, digits: int) -> str:
    return NONE if value is None else decimal(value, digits)


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f} %"
