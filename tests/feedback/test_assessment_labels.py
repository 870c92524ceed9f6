"""What people's ratings and rankings teach, worked by hand."""

from rlhf_core.data.reward_examples import Label, LabelledPair, Ranking, Rating
from rlhf_core.feedback.assessment_labels import assessed_labels, on_one_scale
from rlhf_core.records.assessments import Assessment
from rlhf_core.records.samples import Prompt, Sample

ASKED = Prompt.of("How?")
REPLIES = {name: Sample(id=name, prompt=ASKED, response=f"by {name}", policy_version="base") for name in "abc"}


def assessed(form: str, samples: str, **said: object) -> list[Label]:
    given = {"id": "1", "form": form, "item_id": "x", "sample_ids": tuple(samples), "objective": "helpful"}
    return assessed_labels(Assessment.model_validate({**given, "labeler": "human:ada", **said}), REPLIES)


def test_a_rating_is_a_number_for_its_reply():
    assert assessed("rating", "b", rating=6) == [Rating(ASKED, "by b", 6.0, source="human")]


def test_a_ranking_keeps_the_order_that_was_seen_and_its_ties():
    labels = assessed("ranking", "cab", ranks=(2, 1, 2))
    assert labels == [Ranking(ASKED, ("by c", "by a", "by b"), (2.0, 1.0, 2.0), source="human")]


def test_a_ranking_without_a_better_reply_is_even_pairs_that_count_as_two_draws():
    for said in ({"ranks": (1, 1, 1)}, {"all_bad": True}):
        pairs = assessed("ranking", "abc", **said)
        assert all(isinstance(pair, LabelledPair) and pair.tied and pair.probability == 0.5 for pair in pairs)
        assert [pair.replies for pair in pairs] == [("by a", "by b"), ("by a", "by c"), ("by b", "by c")]
        assert sum(pair.weight for pair in pairs) == 2


def test_what_was_skipped_or_marked_teaches_no_number():
    assert assessed("rating", "a", skipped=True) == assessed("ranking", "abc", skipped=True) == []
    assert assessed("spans", "a") == []


def test_people_and_files_that_both_rate_are_brought_to_one_scale_and_otherwise_left_alone():
    people = [Rating(ASKED, "by a", 3, source="human"), Rating(ASKED, "by b", 7, source="human")]
    files = [Rating(ASKED, "by a", 0.25), Rating(ASKED, "by b", 0.75), Rating(ASKED, "by c", 0.5)]
    pair = LabelledPair(ASKED, "a", "b", 1.0)
    assert on_one_scale([*people, pair]) == [*people, pair] and on_one_scale(files) == files
    found = on_one_scale([*people, pair, *files])
    numbers = [label.rating for label in found if isinstance(label, Rating)]
    spread = (2 / 3 * 0.25**2) ** 0.5
    assert numbers == [-1.0, 1.0, -0.25 / spread, 0.25 / spread, 0.0]
    assert found[2] == pair
    same = on_one_scale([people[0], *files])
    assert isinstance(same[0], Rating) and same[0].rating == 0.0
