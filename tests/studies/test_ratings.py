"""What a study's ratings say of its policies: means, differences and agreement by hand, and what is not claimed."""

from __future__ import annotations

import numpy as np
import pytest

from rlhf_core.records.studies import Rating, RatingResult, StudyPlan, StudyQuestion, StudyReply
from rlhf_core.stats import mean_interval, student_quantile
from rlhf_core.studies import words
from rlhf_core.studies.ratings import Counts, rating_result

RATED = {"p": ((4, 6), (3, 5), (6, 6)), "q": ((6, 6), (6, 6), (7, 7))}
"""Policy -> the two ratings of its reply to each of three prompts: means 5, 4, 6 and 6, 6, 7."""


def rated(
    given: dict[str, tuple[tuple[int, ...], ...]], wanted: int = 2, closed: str = "complete", objectives: int = 1
) -> RatingResult:
    """The result of these ratings; each reply of a prompt of its own for each policy."""
    plan = StudyPlan(policies=tuple(given), objectives=tuple("opq"[:objectives]), ratings_per_reply=wanted)
    rows = [(policy, number) for policy in given for number in range(len(given[policy]))]
    replies = [
        StudyReply(study_id="x", policy=policy, prompt_id=f"{number}", sample_id=f"{policy}{number}", place=place)
        for place, (policy, number) in enumerate(rows)
    ]
    ratings = [
        Rating(f"{policy}{number}", grade, f"human:{who}")
        for policy, number in rows
        for who, grade in enumerate(given[policy][number])
    ]
    question = StudyQuestion.model_validate(
        {"study_id": "x", "form": "ratings", "objective": "o", "wanted": wanted, "closed_because": closed}
    )
    done = sum(len(grades) >= wanted for own in given.values() for grades in own)
    return rating_result(plan, question, replies, ratings, Counts(len(replies), done, 0))


def test_student_s_quantiles_are_those_of_the_tables():
    for error, degrees, expected in (
        (0.05, 1, 12.7062), (0.05, 2, 4.3027), (0.05, 3, 3.1824), (0.01, 2, 9.9248), (0.05, 9, 2.2622),
        (0.05, 30, 2.0423), (0.1, 120, 1.6577),
    ):  # fmt: skip
        assert student_quantile(error, degrees) == pytest.approx(expected, abs=5e-5)


def test_means_and_shares_are_of_prompts_and_their_intervals_too():
    """Means 5, 4 and 6 of p: 5 with a standard deviation of 1, and 4.3027 / sqrt(3) to both sides, but not beyond 7."""
    p, q = rated(RATED).policies
    assert p.mean and q.mean
    assert (p.mean.value, p.mean.low, p.mean.high) == pytest.approx((5, 5 - 2.48414, 7), abs=1e-4)
    assert q.mean.value == pytest.approx(19 / 3)
    assert (p.grades, q.grades) == ((0, 0, 1, 1, 1, 3, 0), (0, 0, 0, 0, 0, 4, 2))


def test_a_difference_is_paired_by_prompt_and_claims_nothing_where_its_interval_holds_0():
    """Differences 1, 2 and 1: 4/3 with a standard deviation of 1 / sqrt(3), and 4.3027 / 3 to both sides."""
    [found] = rated(RATED).differences
    assert found.difference and (found.first, found.second, found.prompts, found.error) == ("p", "q", 3, 0.05)
    values = found.difference.value, found.difference.low, found.difference.high
    assert values == pytest.approx((4 / 3, 4 / 3 - 1.43422, 4 / 3 + 1.43422), abs=1e-4)
    assert found.higher == "neither" and words.verdict(found) == "not told apart: the interval holds 0"
    fourth = {"p": (*RATED["p"], (1, 1)), "q": (*RATED["q"], (3, 3))}
    [found] = rated(fourth).differences
    assert found.difference and found.difference.low == pytest.approx(1.5 - 0.91869, abs=1e-4)
    assert found.higher == "second" and words.verdict(found) == "q is rated higher than p"
    [found] = rated({"q": fourth["q"], "p": fourth["p"]}).differences
    assert found.higher == "first" and words.verdict(found) == "q is rated higher than p"


def test_the_plan_s_alpha_is_shared_by_all_differences_and_objectives():
    four = ((3, 3), (3, 4), (3, 5), (4, 4))
    found = rated({"p": four, "q": four, "r": four}, objectives=2)
    assert [one.error for one in found.differences] == [0.05 / 4] * 2
    assert [(one.first, one.second) for one in found.differences] == [("p", "q"), ("p", "r")]


def test_without_spread_or_with_one_prompt_there_is_no_interval_and_no_claim():
    [same] = rated({"p": ((2, 2), (3, 3)), "q": ((3, 3), (4, 4))}).differences
    assert same.difference and (same.difference.value, same.difference.low, same.higher) == (1, None, "neither")
    assert words.verdict(same) == "not told apart: no interval, as every prompt has the same difference"
    [one] = rated({"p": ((2, 2),), "q": ((3, 3),)}).differences
    assert words.verdict(one) == "not told apart: no interval, as one prompt says nothing of others"
    [none] = rated({"p": ((2,),), "q": ((3, 3),)}, closed="by hand").differences
    assert none.difference is None and words.verdict(none) == "not told apart: no prompt has ratings of both"


def test_while_people_are_asked_counts_alone_are_told_and_what_was_closed_early_says_so():
    some = {"p": ((4, 6), (3,)), "q": ((6, 6), (6, 7))}
    found = rated(some, closed="")
    assert (found.replies, found.done, found.ratings, found.raters) == (4, 3, 7, 2)
    assert (found.policies, found.differences, found.agreement) == ((), (), None)
    assert words.how_far(found).startswith("unfinished: 3 of 4 replies have all their ratings")
    early = rated(some, closed="by hand")
    assert [one.replies for one in early.policies] == [1, 2] and sum(early.policies[0].grades) == 2
    assert words.how_far(early) == "unfinished: closed by hand when 3 of 4 replies have all their ratings"
    assert words.how_far(rated(RATED)) == "finished: 6 of 6 replies have all their ratings"


def test_ratings_beyond_the_declared_number_do_not_count():
    more = {"p": ((4, 6, 1), (3, 5, 1), (6, 6, 1)), "q": RATED["q"]}
    assert rated(more).policies == rated(RATED).policies and rated(more).ratings == 15


def test_agreement_is_of_replies_that_several_rated_and_says_on_how_many_it_rests():
    found = rated(RATED).agreement
    assert found and (found.items, found.answers) == (6, 12) and found.value is not None
    assert words.agreement(found).startswith(f"agreement of raters: alpha {found.value:.2f}")
    assert words.agreement(found).endswith("on 12 ratings of 6 replies that several people rated")
    alone = rated({"p": ((4,), (3,)), "q": ((6,), (6,))}, wanted=1).agreement
    assert alone and words.agreement(alone).endswith("not known: no item has the answers of two people")


def test_intervals_over_prompts_err_as_often_as_declared_however_many_people_rate_each_reply():
    """Of 2,000 drawn studies of equal policies, 30 prompts and five people; ratings taken as independent err often."""
    rng = np.random.default_rng(0)
    replies = rng.normal(4, 0.5, (2000, 1, 30, 1)) + rng.normal(0, 1, (2000, 2, 30, 1))
    grades = np.clip(np.rint(replies + rng.normal(0, 0.5, (2000, 2, 30, 5))), 1, 7)
    told = 0
    for one in grades:
        found = mean_interval(list(one[1].mean(1) - one[0].mean(1)), 0.05)
        told += found is not None and not found.low <= 0 <= found.high
    flat = grades.reshape(2000, 2, 150)
    z = (flat[:, 1].mean(1) - flat[:, 0].mean(1)) / np.sqrt((flat.var(2, ddof=1) / 150).sum(1))
    naive = int((np.abs(z) > 1.96).sum())
    assert 70 <= told <= 130 < 500 < naive, (told, naive)
