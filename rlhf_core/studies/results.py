"""What comes of a preference study: duels between its policies, their strengths, and when its questions are decided."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlhf_core.errors import Conflict
from rlhf_core.records.annotation import AnnotatorChange
from rlhf_core.records.feedback import Choice
from rlhf_core.records.studies import (
    Answer,
    Duel,
    Interval,
    Preferred,
    QuestionResult,
    Strength,
    StudyForm,
    StudyPair,
    StudyPlan,
    StudyQuestion,
    StudyResults,
)
from rlhf_core.stats import score_interval
from rlhf_core.store.store import Store
from rlhf_core.studies.davidson import Games, fit, resample_prompts
from rlhf_core.studies.ratings import rating_results, settle_ratings
from rlhf_core.studies.sequential import mean_sequence

RESAMPLES = 500
TWICE_AS_LONG = 1 / 3
"""The covariate of a reply twice as long as the other: (2 - 1) / (2 + 1)."""


class Verdict(NamedTuple):
    """One pair with all its labels: shares of them by answer, of which those for a, neither and b sum to 1."""

    pair: StudyPair
    a: float
    tie: float
    b: float
    both_bad: float

    def worth(self, first: str) -> float:
        """Return in [0, 1] how far the labels prefer this policy of the two; ties are half."""
        return (self.a if self.pair.a_policy == first else self.b) + self.tie / 2


class Finding(NamedTuple):
    """A duel, and the pair, by its place among the question's verdicts, with which it was decided."""

    duel: Duel
    decided: int | None


def study_results(store: Store, study_id: str) -> StudyResults:
    """Return all that the labels of a study say. Raises NotFound for a run that is no study."""
    plan, pairs = store.studies.get(study_id), store.studies.pairs(study_id)
    counts = store.stage_results.of_run(study_id)
    questions = [
        question_result(
            plan,
            question,
            pairs,
            store.studies.answers(study_id, question.objective),
            store.studies.skips(study_id, question.objective),
        )
        for question in store.studies.questions(study_id)
    ]
    identical = counts["study"].counts["identical"] if "study" in counts else 0
    ratings = rating_results(store, study_id)
    return StudyResults(study_id=study_id, plan=plan, identical=identical, questions=tuple(questions), ratings=ratings)


def settle(store: Store, study_id: str, objective: str) -> None:
    """Close a question that is decided or whose pairs all have their labels; ask it again where labels count no more.

    What was closed by hand stays so. It belongs into the transaction of what it is about.
    """
    store.studies.hold()
    plan = store.studies.get(study_id)
    found = next((one for one in store.studies.questions(study_id) if one.objective == objective), None)
    if found is None or found.closed_because == "by hand":
        return
    pairs, answers = store.studies.pairs(study_id), store.studies.answers(study_id, objective)
    done = verdicts(pairs, answers, plan.labels_per_pair)
    reason = "complete" if len(done) == len(pairs) else ""
    if plan.stopping == "sequential" and _decided(findings(plan, done)) is not None:
        reason = "decided"
    if reason != found.closed_because:
        store.studies.close(found.model_copy(update={"closed_because": reason}))


def check_not_closed_by_hand(store: Store, study_id: str, objective: str, form: StudyForm) -> None:
    """Raise Conflict where somebody ended the question, whose results may have been told by now.

    Whoever was asked before that may answer after it. It belongs into the transaction of the answer.
    """
    store.studies.hold()
    for question in store.studies.questions(study_id, form):
        if question.objective == objective and question.closed_because == "by hand":
            raise Conflict(f"study '{study_id}' was closed, and takes no more answers for '{objective}'")


def set_standing(store: Store, said: AnnotatorChange) -> AnnotatorChange:
    """Store what a reviewer says of a person, and settle the questions that they answered without them, or with."""
    with store.transaction():
        # Before all else: a label of theirs that is being stored is settled before this, or by it.
        store.studies.hold()
        stored = store.annotators.change(said)
        for study, objective in store.studies.answered_by(said.labeler):
            settle(store, study, objective)
        for study, objective in store.study_ratings.rated_by(said.labeler):
            settle_ratings(store, study, objective)
        return stored


def verdicts(pairs: Sequence[StudyPair], answers: Sequence[Answer], labels_per_pair: int) -> list[Verdict]:
    """Return the pairs that have all their labels, in the order in which they got them; further labels do not count."""
    known = {pair.comparison_id: pair for pair in pairs}
    given: dict[str, list[Choice]] = defaultdict(list)
    done: list[Verdict] = []
    for answer in answers:
        choices = given[answer.comparison_id]
        choices.append(answer.choice)
        if len(choices) == labels_per_pair:
            a, b, bad = (choices.count(choice) / len(choices) for choice in ("a", "b", "both_bad"))
            done.append(Verdict(known[answer.comparison_id], a, 1 - a - b, b, bad))
    return done


def findings(plan: StudyPlan, done: Sequence[Verdict]) -> list[Finding]:
    """Judge every duel of the plan by the verdicts so far; of a sequential study each by those until it was decided."""
    duels = list(itertools.combinations(plan.policies, 2))
    error = plan.alpha / (len(duels) * len(plan.objectives))
    return [_finding(plan, first, second, done, error) for first, second in duels]


def question_result(
    plan: StudyPlan, question: StudyQuestion, pairs: Sequence[StudyPair], answers: Sequence[Answer], skips: int
) -> QuestionResult:
    """Sum up what people answered to one question. Figures are of the verdicts until it was decided, or of all."""
    done = verdicts(pairs, answers, plan.labels_per_pair)
    found = findings(plan, done)
    end = _decided(found) if plan.stopping == "sequential" else None
    counted = done if end is None else done[:end]
    strengths, length = _strengths(plan, counted)
    return QuestionResult(
        objective=question.objective,
        pairs=len(pairs),
        done=len(done),
        labels=len(answers),
        labelers=len({answer.labeler for answer in answers}),
        skips=skips,
        closed_because=question.closed_because,
        counted=len(counted),
        duels=tuple(each.duel for each in found),
        strengths=strengths,
        length=length,
    )


def _decided(found: Sequence[Finding]) -> int | None:
    """After how many verdicts the last duel was decided; None where one is not."""
    ends = [each.decided for each in found if each.decided is not None]
    return max(ends) if len(ends) == len(found) else None


def _finding(plan: StudyPlan, first: str, second: str, done: Sequence[Verdict], error: float) -> Finding:
    own = [
        (place, one)
        for place, one in enumerate(done, start=1)
        if {one.pair.a_policy, one.pair.b_policy} == {first, second}
    ]
    worth = [one.worth(first) for _, one in own]
    if plan.stopping == "sequential":
        sequence = mean_sequence(worth, error)
        until = len(own) if sequence.decided is None else sequence.decided
        bounds = float(sequence.low[until]), float(sequence.high[until])
        is_told = sequence.decided is not None
    else:
        until = len(own)
        z = NormalDist().inv_cdf(1 - error / 2)
        bounds = score_interval(sum(worth), until, z) if until else (0.0, 1.0)
        is_told = until > 0 and not bounds[0] <= 0.5 <= bounds[1]
    counted = [one for _, one in own[:until]]
    value = sum(worth[:until]) / until if until else 0.5
    preferred: Preferred = "neither" if not is_told else "first" if value > 0.5 else "second"
    duel = Duel(
        first=first,
        second=second,
        pairs=until,
        wins=sum(one.a if one.pair.a_policy == first else one.b for one in counted),
        ties=sum(one.tie for one in counted),
        losses=sum(one.b if one.pair.a_policy == first else one.a for one in counted),
        both_bad=sum(one.both_bad for one in counted),
        win_rate=Interval(value=value, low=bounds[0], high=bounds[1]),
        error=error,
        preferred=preferred,
    )
    return Finding(duel, own[until - 1][0] if is_told else None)


def _strengths(plan: StudyPlan, done: Sequence[Verdict]) -> tuple[tuple[Strength, ...], Interval | None]:
    """Bradley-Terry with ties, and what length is worth; 95 % intervals from prompts drawn anew."""
    if not done:
        return (), None
    games, prompts = _games(plan, done)
    whole, anew = fit(games), fit(games, resample_prompts(prompts, RESAMPLES, seed=0))
    linked = _linked(plan, done)
    strengths = [
        Strength(
            policy=policy,
            log_odds=Interval(value=0.0, low=0.0, high=0.0)
            if not place
            else _interval(whole.policy[place], anew.policy[:, place], bounded=policy in linked),
        )
        for place, policy in enumerate(plan.policies)
    ]
    length = None
    if games.covariate.any():
        length = _interval(
            float(whole.covariate * TWICE_AS_LONG),
            anew.covariate * TWICE_AS_LONG,
            bounded=len(linked) == len(plan.policies),
        )
    return tuple(strengths), length


def _games(plan: StudyPlan, done: Sequence[Verdict]) -> tuple[Games, NDArray[np.int64]]:
    """The verdicts, and the number of each one's prompt."""
    place = {policy: index for index, policy in enumerate(plan.policies)}
    pairs = [one.pair for one in done]
    lengths = np.array([(pair.a_words, pair.b_words) for pair in pairs], dtype=float)
    games = Games(
        a=np.array([place[pair.a_policy] for pair in pairs]),
        b=np.array([place[pair.b_policy] for pair in pairs]),
        outcome=np.array([(one.a, one.tie, one.b) for one in done]),
        covariate=(lengths[:, 0] - lengths[:, 1]) / lengths.sum(1).clip(1),
        policies=len(plan.policies),
    )
    _, prompts = np.unique([pair.prompt_id for pair in pairs], return_inverse=True)
    return games, prompts


def _linked(plan: StudyPlan, done: Sequence[Verdict]) -> set[str]:
    """Policies that the first can be measured against: a chain of wins leads from it to them, and back (Ford 1957).

    Of others prompts drawn anew show no doubt, as whoever is on one side won whatever was decided between the two.
    """
    wins = {(one.pair.a_policy, one.pair.b_policy) for one in done if one.a}
    wins |= {(one.pair.b_policy, one.pair.a_policy) for one in done if one.b}
    return _reached(plan.policies[0], wins) & _reached(plan.policies[0], {(lost, won) for won, lost in wins})


def _reached(start: str, ways: set[tuple[str, str]]) -> set[str]:
    found: set[str] = set()
    left = {start}
    while left:
        found |= left
        left = {end for begin, end in ways if begin in left} - found
    return found


def _interval(value: float, anew: NDArray[np.float64], bounded: bool) -> Interval:
    low, high = np.percentile(anew, [2.5, 97.5]) if bounded else (None, None)
    return Interval(
        value=float(value), low=low if low is None else float(low), high=None if high is None else float(high)
    )
