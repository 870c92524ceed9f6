"""What somebody should answer next: their calibration round, then pairs among which gold items and repeats are hidden.

Whether a question is one of these follows from the person, the objective and how many answers they have given, by a
hash; so it does not matter in how many steps the questions are asked for, or who else asks meanwhile.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from rlhf_core.annotation.pooled_answers import SAID
from rlhf_core.config.labelling import LabellingConfig
from rlhf_core.errors import Forbidden
from rlhf_core.records.annotation import Adjudication, Answer, Standing
from rlhf_core.records.samples import Comparison
from rlhf_core.seeding import uniform_draw
from rlhf_core.store.store import Store

REPEAT_AFTER = 20
"""Answers between a first and a second answer, at least: more than somebody remembers."""

BEYOND = "~"
"""Later than any time as text."""
Turn = Literal["pair", "gold", "repeat"]


class Question(NamedTuple):
    """Who asks for what."""

    labeler: str
    objective: str
    run_id: str | None = None
    uniform: bool = False
    """Only pairs of the uniform slice."""


class Upcoming(NamedTuple):
    comparisons: list[Comparison]
    """The next ones in order."""
    remaining: int
    """How many wait, those of the calibration round included."""


class Calibration(NamedTuple):
    """How far somebody is with their round for one objective."""

    admitted: bool
    answered: int
    """Gold items of the round."""
    right: int
    """Of the last `needed` of these."""
    needed: int
    """0 where there is no round."""


def upcoming(store: Store, question: Question, config: LabellingConfig, count: int, lease_seconds: float) -> Upcoming:
    """Return the next so many, held for the labeler where a lease is asked for; gold items and repeats never are.

    Raises:
        Forbidden: a reviewer has shut the person out, or they have not passed their calibration round and no gold item
            is left.
    """
    labeler, objective = question.labeler, question.objective
    standing = standing_of(store, labeler)
    gold = [each for each in store.adjudications.find(objective) if each.choice in SAID]
    waiting = store.comparisons.waiting(*question)
    if not gold:
        return Upcoming(store.comparisons.upcoming(*question, count, lease_seconds), waiting)
    answers = store.annotators.answers(objective, labeler=labeler)
    new = new_gold(gold, answers, labeler)
    state = calibration(gold, store.adjudications.first_at(objective), answers, standing, config)
    if not state.admitted:
        wanted = max(state.needed - state.answered, 1)
        if not new:
            raise Forbidden(
                f"{_name(labeler)} has answered {state.right} of the last {state.needed} calibration items as "
                f"they were decided; needed: {config.calibration_right:.0%}, and none is left",
                "labeler",
                hint="ask a reviewer to let you in",
            )
        return Upcoming(_known(store, new[: min(wanted, count)]), wanted + waiting)
    return Upcoming(_mixed(store, question, answers, new, config, count, lease_seconds), waiting)


def standing_of(store: Store, labeler: str) -> Standing:
    """Return what a reviewer said of somebody who asks for work. Raises Forbidden where they have been shut out."""
    standing = store.annotators.standings().get(labeler, "by_rule")
    if standing == "paused":
        raise Forbidden(
            f"{_name(labeler)} gets nothing more to label", "labeler", hint="ask a reviewer to let you in again"
        )
    return standing


def calibration(
    gold: Collection[Adjudication],
    first_at: Mapping[str, str],
    answers: Sequence[Answer],
    standing: Standing,
    config: LabellingConfig,
) -> Calibration:
    """Tell how far somebody is, by their own answers to an objective.

    Who has answered an ordinary pair was let in, and stays so whatever becomes gold later. `first_at` says when each
    pair was first decided on: a decision that was made anew since, or taken back, makes none of it ordinary.
    """
    decided = {each.comparison_id: each for each in gold}
    first = [answer for answer in answers if not answer.repeated]
    blind = [a for a in first if a.comparison_id in decided and a.given_at >= decided[a.comparison_id].created_at]
    needed = config.calibration_items if len(gold) >= config.calibration_items else 0
    last = blind[-needed:] if needed else []
    right = sum(SAID.get(answer.choice) == SAID[decided[answer.comparison_id].choice] for answer in last)
    passed = len(last) >= needed and right >= config.calibration_right * needed
    ordinary = any(a.given_at < first_at.get(a.comparison_id, BEYOND) for a in first)
    return Calibration(passed or standing == "admitted" or ordinary, len(blind), right, needed)


def turn_of(labeler: str, objective: str, place: int, config: LabellingConfig) -> Turn:
    """Tell what the question after so many answers is."""
    draw = uniform_draw(f"turn\x1f{labeler}\x1f{objective}\x1f{place}")
    if draw < config.gold_share:
        return "gold"
    return "repeat" if draw < config.gold_share + config.repeat_share else "pair"


def new_gold(gold: Collection[Adjudication], answers: Sequence[Answer], labeler: str) -> list[str]:
    """Return the gold items that the person has neither seen nor decided, in an order of everybody's own."""
    seen = {answer.comparison_id for answer in answers}
    left = [g.comparison_id for g in gold if g.comparison_id not in seen and g.adjudicated_by != _name(labeler)]
    return sorted(left, key=lambda pair: uniform_draw(f"gold\x1f{labeler}\x1f{pair}"))


def _mixed(
    store: Store,
    question: Question,
    answers: Sequence[Answer],
    new: list[str],
    config: LabellingConfig,
    count: int,
    lease_seconds: float,
) -> list[Comparison]:
    """Ordinary pairs with gold items and repeats in their places; where the pairs end, so does the list."""
    labeler, objective = question.labeler, question.objective
    golds = iter(new)
    checks: list[str | None] = []
    again: list[str] = []
    for place in range(len(answers), len(answers) + count):
        turn = "pair" if question.uniform else turn_of(labeler, objective, place, config)
        pair = next(golds, None) if turn == "gold" else None
        if turn == "repeat" and (pair := _repeat(labeler, objective, place, answers)):
            # A study asks about its pairs as often as it declared.
            pair = None if store.studies.among([pair]) else pair
            again += [pair] if pair else []
        checks.append(pair)
    pairs = iter(store.comparisons.upcoming(*question, checks.count(None), lease_seconds))
    mixed = list(itertools.takewhile(bool, (pair or next(pairs, None) for pair in checks)))
    # Of a repeat that is not handed out a further answer is a correction.
    if again := [pair for pair in again if pair in mixed]:
        store.annotators.ask_again(labeler, objective, again)
    known = store.comparisons.by_id([pair for pair in checks if pair])
    return [pair if isinstance(pair, Comparison) else known[pair] for pair in mixed if pair]


def _repeat(labeler: str, objective: str, place: int, answers: Sequence[Answer]) -> str | None:
    """One of the first answers, drawn by a hash; None where there are too few, or it is one that says nothing."""
    drawn = uniform_draw(f"repeat\x1f{labeler}\x1f{objective}\x1f{place}")
    number = int(drawn * (place - REPEAT_AFTER))
    if place <= REPEAT_AFTER or number >= len(answers):
        return None
    found = answers[number]
    twice = any(answer.repeated and answer.comparison_id == found.comparison_id for answer in answers)
    return None if twice or found.choice == "skip" else found.comparison_id


def _known(store: Store, pairs: Sequence[str]) -> list[Comparison]:
    found = store.comparisons.by_id(pairs)
    return [found[pair] for pair in pairs]


def _name(labeler: str) -> str:
    return labeler.removeprefix("human:")
