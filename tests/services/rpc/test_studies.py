"""A study from its plan to its results, over a real socket; its replies are put into the store as its run would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_core.errors import Conflict, Forbidden, InvalidInput, NotFound
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.records.studies import StudyPair
from rlhf_core.seeding import is_swapped
from rlhf_core.stages.study import rated_replies
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from services.security.tokens import new_token
from services.server.config import WITHOUT_MODEL, ServeConfig
from tests.services.apps import started
from tests.services.run_server import RunServer, run_server

TWO = ("base", "policy-1")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunServer]:
    with run_server(tmp_path) as found:
        add_policy(tmp_path)
        yield found


def add_policy(data: Path) -> None:
    from rlhf_core.records.models import PolicyVersion

    with_store = Store.open(data)
    version = PolicyVersion(id="policy-1", run_id="", stage="sft", parent="base", base_model="m", artifact="")
    with_store.policy_versions.add(version)
    with_store.close()


def draw(data: Path, study_id: str, pairs: int = 12, alike: int = 0, first: int = 0) -> None:
    """What the study's run does: both policies' replies, their pairs, the questions.

    Beside the pairs so many prompts to which both replies are the same words, and so no pair. Prompts and pairs are
    numbered from `first` on.
    """
    store = Store.open(data)
    plan, made = store.studies.get(study_id), []
    replies: dict[tuple[str, str], Sample] = {}
    for number in range(first, first + pairs + alike):
        prompt = Prompt.of(f"How do I dry cup {number}?", split="heldout")
        both = [
            Sample(
                id=f"{study_id}{policy}{number}",
                prompt=prompt,
                response=f"{policy} {number}" if number < first + pairs else f"base {number}",
                policy_version=policy,
                run_id=study_id,
            )
            for policy in (TWO if number % 2 else TWO[::-1])
        ]
        replies |= {(sample.policy_version, prompt.id): sample for sample in both}
        if number >= first + pairs:
            continue
        made.append(Comparison(id=f"pair-{number}", a=both[0], b=both[1], run_id=study_id))
    rows = [
        StudyPair(
            study_id=study_id,
            comparison_id=pair.id,
            place=place,
            prompt_id=pair.prompt.id,
            a_policy=pair.a.policy_version,
            b_policy=pair.b.policy_version,
            a_words=2,
            b_words=2,
        )
        for place, pair in enumerate(made)
    ]
    with store.transaction():
        store.comparisons.add(made)
        store.samples.add(replies.values())
        rated = rated_replies(study_id, replies) if plan.ratings_per_reply else []
        store.studies.open(study_id, rows, plan, rated)
    store.close()


def label(client: CharterClient, study_id: str, objective: str, count: int, winner: str = "policy-1") -> int:
    """Ask for pairs one by one, as ada does, and prefer one policy's by its words; how many there were."""
    for done in range(count):
        pair = client.preference.next_comparison("ada", objective, study_id)
        if pair is None:
            return done
        choice = "a" if pair.a.response.startswith(winner) else "b"
        client.preference.submit_preference(pair.id, objective=objective, labeler="ada", choice=choice)
    return count


def test_a_study_is_declared_once_for_each_request_and_lists_what_it_declared(server):
    studies = server.client.studies
    given = {"objectives": ["harmless"], "pairs": 12, "request_id": "s1", "display_name": "is it better?"}
    tried = studies.create_study(TWO, **given, validate_only=True)
    assert tried.plan.objectives == ("harmless",) and list(studies.list_studies()) == []
    made = studies.create_study(TWO, **given)
    assert studies.create_study(TWO, **given) == made
    assert list(studies.list_studies()) == [made]
    assert made.state == "drawing"
    plan = made.plan
    assert (plan.policies, plan.pairs, plan.labels_per_pair, plan.alpha) == (TWO, 12, 1, 0.05)
    assert studies.get_study("is it better?") == studies.get_study(f"studies/{made.id}") == made
    run = server.client.trainer.get_run(made.id)
    assert (run.kind, run.state) == ("study", "QUEUED")


@pytest.mark.parametrize(
    ("policies", "fields", "field"),
    [
        (["base"], {}, "plan.policies"),
        (["base", "base"], {}, "plan.policies"),
        (["base", "policy-1"], {"objectives": ["tidy"]}, "plan.objectives"),
        (["base", "policy-1"], {"pairs": 1}, "pairs"),
        (["base", "policy-1"], {"alpha": 0.9}, "alpha"),
        (["base", "policy-1"], {"seed": -1}, "seed"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_at_once(server, policies, fields, field):
    with pytest.raises(InvalidInput) as caught:
        server.client.studies.create_study(policies, **fields)
    assert caught.value.field == field
    assert list(server.client.studies.list_studies()) == []


def test_unknown_policies_and_studies_are_not_found_and_a_run_is_no_study(server):
    with pytest.raises(NotFound, match="policy-9"):
        server.client.studies.create_study(["base", "policy-9"])
    [run] = server.create()
    with pytest.raises(NotFound, match="no study"):
        server.client.studies.get_study(run)
    with pytest.raises(InvalidInput, match="needs a plan"):
        server.ask("CreateRun", config_json='{"kind": "study"}')


def test_pairs_of_a_study_are_served_blind_and_only_for_its_questions(server, tmp_path):
    study = server.client.studies.create_study(TWO, objectives=["harmless"])
    draw(tmp_path, study.id)
    preference = server.client.preference
    seen = preference.waiting("ada", "harmless", study.id)
    assert seen.left == 12 and seen.comparison is not None
    assert seen.comparison.a.policy_version == seen.comparison.b.policy_version, "as it is where none is told"
    assert preference.waiting("ada", "helpful", study.id).left == 0
    assert {is_swapped("human:ada", f"pair-{n}") for n in range(12)} == {True, False}


def test_a_sequential_study_closes_when_it_is_decided_and_opens_again_when_a_label_is_taken_back(server, tmp_path):
    """Two policies and one question: ten of one side in a row are enough, as worked out for the sequence."""
    studies = server.client.studies
    study = studies.create_study(TWO, objectives=["harmless"])
    draw(tmp_path, study.id)
    assert label(server.client, study.id, "harmless", 12) == 10
    closed = studies.get_study(study.id)
    assert closed.state == "closed"
    assert (closed.questions[0].closed_because, closed.questions[0].done) == ("decided", 10)
    [found] = studies.get_study_results(study.id).questions
    [duel] = found.duels
    assert (duel.first, duel.second, duel.wins, duel.losses, duel.pairs) == ("base", "policy-1", 0, 10, 10)
    assert duel.preferred == "second" and duel.win_rate.high is not None and duel.win_rate.high <= 0.5
    assert found.strengths[1].log_odds.value > 1 and found.strengths[1].log_odds.low is None
    server.client.preference.undo_preference("ada")
    assert studies.get_study(study.id).questions[0].closed_because == ""
    assert label(server.client, study.id, "harmless", 12) == 1


def test_a_study_of_a_fixed_size_tells_nothing_before_its_end(server, tmp_path):
    studies = server.client.studies
    study = studies.create_study(TWO, objectives=["harmless"], stopping="fixed")
    draw(tmp_path, study.id)
    assert label(server.client, study.id, "harmless", 11) == 11
    with pytest.raises(Conflict, match="11 of 12"):
        studies.get_study_results(study.id)
    assert label(server.client, study.id, "harmless", 5) == 1
    [found] = studies.get_study_results(study.id).questions
    assert (found.closed_because, found.counted, found.duels[0].preferred) == ("complete", 12, "second")


def test_a_study_that_is_closed_by_hand_says_so_and_asks_nobody(server, tmp_path):
    studies = server.client.studies
    study = studies.create_study(TWO, objectives=["harmless", "helpful"], stopping="fixed")
    with pytest.raises(Conflict, match="not written"):
        studies.close_study(study.id)
    draw(tmp_path, study.id)
    assert label(server.client, study.id, "helpful", 4) == 4
    assert studies.close_study(study.id).state == "closed"
    assert label(server.client, study.id, "helpful", 4) == 0
    found = studies.get_study_results(study.id)
    assert [(one.closed_because, one.counted) for one in found.questions] == [("by hand", 0), ("by hand", 4)]


def test_who_still_holds_a_pair_of_a_study_that_was_closed_changes_its_results_no_more(server, tmp_path):
    client = server.client
    study = client.studies.create_study(TWO, objectives=["harmless"], stopping="fixed", ratings_per_reply=1)
    draw(tmp_path, study.id)
    assert label(client, study.id, "harmless", 4) == 4
    held = client.preference.next_comparison("ada", "harmless", study.id)
    to_rate = client.assessments.upcoming("ada", "harmless", "rating", study.id).items[0].samples[0]
    assert held is not None
    client.studies.close_study(study.id)
    told = client.studies.get_study_results(study.id)
    given = {"objective": "harmless", "labeler": "ada"}
    with pytest.raises(Conflict, match="takes no more answers"):
        client.preference.submit_preference(held.id, choice="a", **given)
    with pytest.raises(Conflict, match="takes no more answers"):
        client.assessments.submit("rating", [to_rate.id], rating=3, run_id=study.id, **given)
    assert client.studies.get_study_results(study.id) == told
    assert client.preference.undo_preference("ada") is not None, "what was said may be taken back"


def test_two_people_answer_where_the_plan_asks_for_two_and_a_pair_counts_once(server, tmp_path):
    studies, preference = server.client.studies, server.client.preference
    study = studies.create_study(TWO, objectives=["harmless"], labels_per_pair=2, stopping="fixed")
    draw(tmp_path, study.id, pairs=2)
    for who, choices in (("ada", ("a", "both_bad")), ("bo", ("b", "skip")), ("cy", ("a", "tie"))):
        for number, choice in enumerate(choices):
            if preference.waiting(who, "harmless", study.id).left:
                preference.submit_preference(f"pair-{number}", objective="harmless", labeler=who, choice=choice)
    [found] = studies.get_study_results(study.id).questions
    assert (found.labels, found.labelers, found.skips, found.counted) == (5, 3, 1, 2)
    duel = found.duels[0]
    assert (duel.wins, duel.ties, duel.losses, duel.both_bad) == (0.5, 1.0, 0.5, 0.5)
    assert duel.win_rate.value == 0.5 and duel.preferred == "neither"


def test_a_study_s_answers_stand_apart_from_all_others_and_nobody_decides_on_them(server, tmp_path):
    client = server.client
    study = client.studies.create_study(TWO, objectives=["harmless"], labels_per_pair=2)
    draw(tmp_path, study.id)
    for name, choice in (("ada", "a"), ("bo", "b")):
        client.preference.submit_preference("pair-0", objective="harmless", labeler=name, choice=choice)
    [everybody], [own] = (client.annotation.quality("harmless", run) for run in ("", study.id))
    assert (everybody.answers, everybody.items, everybody.annotators) == (0, 0, ())
    assert (own.answers, own.items, own.ordinal.items, len(own.annotators)) == (2, 1, 1, 2)
    for run in ("", study.id):
        assert client.annotation.disagreements("harmless", run_id=run)[1] == 0
    with pytest.raises(Conflict, match="is of a study"):
        client.annotation.adjudicate("pair-0", "harmless", "a")
    assert client.datasets.export_run("preferences", study.id).rows == 2
    with pytest.raises(NotFound, match="nothing to export"):
        client.datasets.export_run("preferences")
    client.annotation.set_annotator("bo", "paused")
    assert client.datasets.export_run("preferences", study.id).rows == 1


def test_labels_of_who_is_shut_out_decide_no_study_and_count_again_with_them(server, tmp_path):
    studies, annotation = server.client.studies, server.client.annotation
    study = studies.create_study(TWO, objectives=["harmless"])
    draw(tmp_path, study.id)
    assert label(server.client, study.id, "harmless", 12) == 10
    annotation.set_annotator("ada", "paused", reason="answers without reading")
    opened = studies.get_study(study.id)
    assert (opened.state, opened.questions[0].done) == ("open", 0)
    [found] = studies.get_study_results(study.id).questions
    assert (found.labels, found.labelers, found.counted) == (0, 0, 0)
    assert server.client.preference.waiting("bo", "harmless", study.id).left == 12, "others are asked again"
    annotation.set_annotator("ada", "admitted")
    assert studies.get_study(study.id).questions[0].closed_because == "decided"


def test_nothing_is_known_before_the_first_label_and_a_study_of_identical_replies_asks_nobody(server, tmp_path):
    studies = server.client.studies
    study, empty = (studies.create_study(TWO, objectives=["harmless"]) for _ in range(2))
    draw(tmp_path, study.id)
    draw(tmp_path, empty.id, pairs=0)
    drawn = Store.open(tmp_path)
    drawn.stage_results.add(StageResult(run_id=empty.id, stage="study", counts={"pairs": 0, "identical": 7}))
    drawn.close()
    [duel] = studies.get_study_results(study.id).questions[0].duels
    assert (duel.win_rate.low, duel.win_rate.high, duel.preferred, duel.pairs) == (0, 1, "neither", 0)
    assert studies.get_study(empty.id).state == "closed"
    found = studies.get_study_results(empty.id)
    [nothing] = found.questions
    assert found.identical == 7, "as otherwise nothing would say why there is nothing"
    assert (nothing.closed_because, nothing.counted, nothing.strengths, nothing.length) == ("complete", 0, (), None)


def test_labelers_see_no_results_of_a_study_that_still_asks(tmp_path):
    file = tmp_path / "tokens.yaml"
    tokens = {scope: new_token(file, scope, (scope,)) for scope in ("label", "train")}
    config = ServeConfig(address=f"unix:{tmp_path}/s", data=tmp_path, only=WITHOUT_MODEL, tokens=file)
    with run_server(tmp_path) as open_server:
        add_policy(tmp_path)
        study = open_server.client.studies.create_study(TWO, objectives=["harmless"])
        draw(tmp_path, study.id)
    with started(config) as app:
        ada, boss = (CharterClient.connect(app.address, tokens[scope]) for scope in ("label", "train"))
        label(ada, study.id, "harmless", 3)
        with pytest.raises(Forbidden, match="still open"):
            ada.studies.get_study_results(study.id)
        with pytest.raises(Forbidden):
            ada.studies.close_study(study.id)
        assert boss.studies.get_study_results(study.id).questions[0].counted == 3
        boss.studies.close_study(study.id)
        assert ada.studies.get_study_results(study.id).questions[0].closed_because == "by hand"
        ada.close()
        boss.close()
