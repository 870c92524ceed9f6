"""Ratings of a study from its plan to its results, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_core.errors import Conflict, InvalidInput, NotFound
from services.client.client import CharterClient
from tests.services.rpc.test_studies import TWO, add_policy, draw, label
from tests.services.run_server import RunServer, run_server

PLAN = {"objectives": ["harmless"], "stopping": "fixed", "ratings_per_reply": 1}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunServer]:
    with run_server(tmp_path) as found:
        add_policy(tmp_path)
        yield found


def rate(client: CharterClient, study_id: str, count: int, who: str = "ada", objective: str = "harmless") -> int:
    """Rate replies one by one, base's 3 or 4 and the other policy's 5 or 6; how many there were."""
    for done in range(count):
        asked = client.assessments.upcoming(who, objective, "rating", study_id)
        if not asked.items:
            return done
        [sample] = asked.items[0].samples
        grade = (3 if sample.response.startswith("base") else 5) + int(sample.response[-1]) % 2
        given = {"objective": objective, "labeler": who, "run_id": study_id}
        client.assessments.submit("rating", [sample.id], rating=grade, **given)
    return count


def test_replies_of_a_study_are_rated_blind_one_at_a_time_and_ranked_and_marked_by_nobody(server, tmp_path):
    study = server.client.studies.create_study(TWO, **PLAN)
    assert study.plan.ratings_per_reply == 1
    draw(tmp_path, study.id, pairs=4)
    assessments = server.client.assessments
    seen = assessments.upcoming("ada", "harmless", "rating", study.id, count=20)
    assert seen.left == 8 and [len(item.samples) for item in seen.items] == [1] * 8
    assert {item.samples[0].policy_version for item in seen.items} == {"base"}, "as it is where none is told"
    assert [item.samples[0].response for item in seen.items][:4] != [f"base {n}" for n in range(4)]
    assert assessments.upcoming("ada", "helpful", "rating", study.id).left == 0, "the plan asks for harmless alone"
    for form in ("ranking", "spans"):
        assert assessments.upcoming("ada", "harmless", form, study.id).left == 0
    assert assessments.upcoming("ada", "harmless", "rating").left == 0, "only at the study's own desk"


def test_two_people_never_hold_the_same_reply_of_a_study(server, tmp_path):
    study = server.client.studies.create_study(TWO, **PLAN)
    draw(tmp_path, study.id, pairs=4)
    held = [
        server.client.assessments.upcoming(who, "harmless", "rating", study.id, count=5, lease_seconds=60)
        for who in ("ada", "bo")
    ]
    ids = [item.id for each in held for item in each.items]
    assert len(ids) == len(set(ids)) == 8


def test_a_study_ends_when_both_its_parts_are_done_and_tells_nothing_of_ratings_before(server, tmp_path):
    studies = server.client.studies
    study = studies.create_study(TWO, **PLAN | {"stopping": "sequential"})
    draw(tmp_path, study.id)
    assert label(server.client, study.id, "harmless", 12) == 10, "as without ratings"
    half = studies.get_study(study.id)
    assert (half.state, half.questions[0].closed_because) == ("open", "decided")
    assert rate(server.client, study.id, 23) == 23
    [told] = studies.get_study_results(study.id).ratings
    assert (told.done, told.replies, told.ratings, told.policies, told.closed_because) == (23, 24, 23, (), "")
    assert rate(server.client, study.id, 9) == 1
    done = studies.get_study(study.id)
    assert done.state == "closed"
    assert [(one.replies, one.done, one.closed_because) for one in done.rating_questions] == [(24, 24, "complete")]
    [told] = studies.get_study_results(study.id).ratings
    base, other = told.policies
    assert base.mean and other.mean and (base.mean.value, other.mean.value, base.replies) == (3.5, 5.5, 12)
    assert base.grades == (0, 0, 6, 6, 0, 0, 0) and other.grades == (0, 0, 0, 0, 6, 6, 0)
    [difference] = told.differences
    assert difference.difference and (difference.difference.value, difference.difference.low) == (2, None)
    assert difference.higher == "neither", "every prompt has the same difference"


def test_a_fixed_study_has_no_results_before_its_ratings_are_in(server, tmp_path):
    studies = server.client.studies
    study = studies.create_study(TWO, **PLAN)
    draw(tmp_path, study.id, pairs=2)
    assert label(server.client, study.id, "harmless", 5) == 2
    with pytest.raises(Conflict, match="harmless 2 of 2, harmless rated 0 of 4"):
        studies.get_study_results(study.id)
    assert rate(server.client, study.id, 3) == 3
    assert studies.close_study(study.id).state == "closed"
    assert rate(server.client, study.id, 3) == 0
    [told] = studies.get_study_results(study.id).ratings
    assert (told.closed_because, told.done, told.replies) == ("by hand", 3, 4)


def test_a_rating_taken_back_or_of_who_is_shut_out_is_asked_for_again(server, tmp_path):
    studies, client = server.client.studies, server.client
    study = studies.create_study(TWO, **PLAN)
    draw(tmp_path, study.id, pairs=2)
    assert (rate(client, study.id, 9), label(client, study.id, "harmless", 9)) == (4, 2)
    assert studies.get_study(study.id).state == "closed"
    assert client.assessments.undo("ada", request_id="back") == client.assessments.undo("ada", request_id="back")
    reopened = studies.get_study(study.id)
    assert (reopened.state, reopened.rating_questions[0].done) == ("open", 3)
    assert rate(client, study.id, 9) == 1 and studies.get_study(study.id).state == "closed"
    client.annotation.set_annotator("ada", "paused")
    [asked] = studies.get_study(study.id).rating_questions
    assert (asked.done, asked.closed_because) == (0, "")
    assert rate(client, study.id, 9, "bo") == 4
    assert studies.get_study(study.id).rating_questions[0].closed_because == "complete"


def test_several_people_rate_each_reply_and_a_skip_is_no_rating(server, tmp_path):
    client = server.client
    study = client.studies.create_study(TWO, **PLAN | {"ratings_per_reply": 2})
    draw(tmp_path, study.id, pairs=2)
    [first] = client.assessments.upcoming("ada", "harmless", "rating", study.id).items
    client.assessments.submit("rating", [first.id], objective="harmless", labeler="ada", run_id=study.id)
    assert [rate(client, study.id, 9, who) for who in ("ada", "bo", "cy")] == [3, 4, 1]
    [asked] = client.studies.get_study(study.id).rating_questions
    assert (asked.done, asked.closed_because) == (4, "complete")
    label(client, study.id, "harmless", 2)
    [told] = client.studies.get_study_results(study.id).ratings
    assert (told.ratings, told.raters, told.skips) == (8, 3, 1)
    assert told.agreement and (told.agreement.value, told.agreement.items, told.agreement.answers) == (1, 4, 8)


def test_the_same_words_of_two_policies_are_rated_once_and_count_for_both(server, tmp_path):
    client = server.client
    study = client.studies.create_study(TWO, **PLAN)
    draw(tmp_path, study.id, pairs=2, alike=1)
    assert rate(client, study.id, 9) == 5, "four of the pairs, and one that both wrote"
    label(client, study.id, "harmless", 2)
    [told] = client.studies.get_study_results(study.id).ratings
    assert [one.replies for one in told.policies] == [3, 3] and told.replies == 5
    assert [sum(one.grades) for one in told.policies] == [3, 3]


def test_a_study_without_ratings_has_none_anywhere(server, tmp_path):
    study = server.client.studies.create_study(TWO, objectives=["harmless"])
    draw(tmp_path, study.id, pairs=2)
    assert server.client.assessments.upcoming("ada", "harmless", "rating", study.id).left == 0
    assert server.client.studies.get_study(study.id).rating_questions == ()
    assert server.client.studies.get_study_results(study.id).ratings == ()


@pytest.mark.parametrize("number", [-1, 21])
def test_a_number_of_ratings_that_nobody_can_give_is_refused(server, number):
    with pytest.raises(InvalidInput, match="ratings_per_reply") as caught:
        server.client.studies.create_study(TWO, ratings_per_reply=number)
    assert caught.value.field == "ratings_per_reply" and str(number) in str(caught.value)


def test_ratings_of_a_study_are_exported_under_its_name_alone(server, tmp_path):
    client = server.client
    study = client.studies.create_study(TWO, **PLAN)
    draw(tmp_path, study.id, pairs=2)
    rate(client, study.id, 3)
    assert client.datasets.export_run("ratings", study.id).rows == 3
    with pytest.raises(NotFound, match="nothing to export"):
        client.datasets.export_run("ratings")
