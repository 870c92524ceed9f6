"""Ratings, rankings and marked faults over a real socket: what is taken, what is refused, and where it goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from charter.v1 import assessment_pb2, assessment_pb2_grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from rlhf_core.data.loaders import load_labels
from rlhf_core.data.reward_examples import LabelledPair, Ranking, Rating
from rlhf_core.errors import Forbidden, InvalidInput, NotFound, RequestReused
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.store.store import Store
from services.client.assessment import AssessmentClient, Fault
from services.rpc.labelling.assessment import AssessmentService
from tests.services.run_server import RunServer, run_server

ASKED = Prompt.of("How do I dry cups?", tags=("kitchen",))
MINE: dict[str, Any] = {"objective": "helpful", "labeler": "ana"}


def replies(asked: Prompt = ASKED, name: str = "") -> list[Sample]:
    return [
        Sample(id=f"{name}{side}", prompt=asked, response=f"Reply {side} 🫖 on drying.", policy_version="base")
        for side in "abc"
    ]


@pytest.fixture
def server(tmp_path) -> Iterator[RunServer]:
    store = Store.open(tmp_path)
    for number in range(3):
        a, b, c = replies(Prompt.of(f"How do I dry cup {number}?"), f"{number}")
        store.comparisons.add([Comparison.of(a, b, "")])
        store.samples.add([c])
    store.close()
    with run_server(tmp_path) as started:
        yield started


@pytest.fixture
def client(server) -> AssessmentClient:
    return server.client.assessments


def ask(server: RunServer, method: str, **fields: Any) -> Any:
    stub = assessment_pb2_grpc.AssessmentServiceStub(server.connection.channel)
    return server.connection.call(getattr(stub, method), getattr(assessment_pb2, f"{method}Request")(**fields))


def test_what_comes_next_is_held_and_each_form_has_its_own(client):
    held = [client.upcoming(who, "helpful", "rating", count=4, lease_seconds=60) for who in ("ana", "bo")]
    assert [each.left for each in held] == [6, 6]
    ids = [item.id for each in held for item in each.items]
    assert len(ids) == len(set(ids)) == 6
    ranked = client.upcoming("ana", "helpful", "ranking", count=9)
    assert ranked.left == 3 and all(len(item.samples) == 3 for item in ranked.items)
    assert all(item.id == sample.prompt.id for item in ranked.items for sample in item.samples)


def test_every_form_is_stored_as_it_was_given_once_and_taken_back(client):
    rated = client.submit("rating", ["0a"], rating=6, reason="dry", request_id="one", **MINE)
    assert (rated.rating, rated.item_id, rated.labeler, rated.reason) == (6, "0a", "human:ana", "dry")
    assert client.submit("rating", ["0a"], rating=6, reason="dry", request_id="one", **MINE) == rated
    with pytest.raises(RequestReused):
        client.submit("rating", ["0a"], rating=5, request_id="one", **MINE)
    ranked = client.submit("ranking", ["0c", "0a", "0b"], ranks=[4, 1, 4], **MINE)
    assert (ranked.sample_ids, ranked.ranks) == (("0c", "0a", "0b"), (2, 1, 2))
    assert client.submit("ranking", ["1c", "1a", "1b"], all_bad=True, **MINE).all_bad
    assert client.submit("spans", ["0b"], faults=[], **MINE).spans == ()
    skipped = client.submit("rating", ["0b"], **MINE)
    assert (skipped.skipped, skipped.rating) == (True, None)
    found = list(client.list_assessments())
    assert [one.form for one in found] == ["rating", "ranking", "ranking", "spans", "rating"]
    assert found[0] == rated and rated.created_at
    assert client.undo("ana", request_id="back") == client.undo("ana", request_id="back") == skipped
    assert list(client.list_assessments(form="rating")) == [rated]
    assert client.undo("bo") is None


def test_a_marked_fault_says_which_words_break_which_principle(client):
    harm = {"objective": "harmless", "labeler": "ana"}
    text = "Reply b 🫖 on drying."
    marked = client.submit("spans", ["0b"], faults=[Fault(6, 9, "no-fumes"), Fault(8, 9, "no-fumes")], **harm)
    assert [(span.text, span.principle_id) for span in marked.spans] == [("b 🫖", "no-fumes"), ("🫖", "no-fumes")]
    assert all(text[span.start : span.end] == span.text and span.principle_hash for span in marked.spans)
    assert marked.constitution_hash


def test_replies_that_are_brought_along_are_stored_with_their_assessment(client, server):
    stored = client.submit("ranking", replies(), ranks=[1, 2, 3], validate_only=True, **MINE)
    with pytest.raises(NotFound, match="no sample 'a' in the store"):
        client.submit("rating", ["a"], rating=1, **MINE)
    assert client.submit("ranking", replies(), ranks=[1, 2, 3], **MINE).item_id == stored.item_id == ASKED.id
    assert client.submit("rating", ["a"], rating=1, **MINE).rating == 1
    answer = ask(server, "ListAssessments", with_samples=True, page_size=1)
    assert [sample.id for sample in answer.samples] == ["a", "b", "c"] and answer.next_page_token


def test_a_reply_that_is_brought_along_under_the_id_of_another_is_refused(client):
    changed = replies()[0].model_copy(update={"id": "0a"})
    with pytest.raises(InvalidInput, match="the store has another reply under '0a'") as caught:
        client.submit("rating", [changed], rating=1, **MINE)
    assert caught.value.field == "samples[0].id"


@pytest.mark.parametrize(("form", "ids", "said", "field", "told"), [
    ("RATING", ["0a"], {"rating": 8}, "rating", "rating: 8; allowed: 1 to 7"),
    ("RATING", ["0a"], {"rating": 0}, "rating", "rating: 0; allowed: 1 to 7"),
    ("RATING", ["0a"], {}, "answer", "answer: not given; allowed: rating, skip"),
    ("RATING", ["0a"], {"all_bad": True}, "all_bad", "all_bad is no answer to a rating; allowed: rating, skip"),
    ("RATING", ["0a"], {"skip": False}, "skip", "skip: false; allowed: true"),
    ("RATING", ["0a", "0b"], {"rating": 3}, "samples", "2 replies; allowed: 1"),
    ("RATING", [], {"rating": 3}, "sample_ids", "give either the ids of samples, or samples"),
    ("UNSPECIFIED", ["0a"], {"rating": 3}, "form", "form: not given"),
    ("RANKING", ["0a"], {"skip": True}, "samples", "1 replies; allowed: 2 to 10"),
    ("RANKING", ["0a", "1b"], {"skip": True}, "samples", "they answer different prompts"),
    ("RANKING", ["0a", "0a"], {"skip": True}, "samples", "two of them are the same text"),
    ("RANKING", ["0a", "0b"], {"ranks": {"ranks": [1]}}, "ranks.ranks", "1 ranks of 2 replies"),
    ("RANKING", ["0a", "0b"], {"ranks": {"ranks": [0, 1]}}, "ranks.ranks", "ranks: 0; allowed: from 1"),
    ("SPANS", ["0a"], {"faults": {"spans": [{"start": 3, "end": 3}]}}, "faults.spans[0]", "3 to 3 of a reply of 20"),
    ("SPANS", ["0a"], {"faults": {"spans": [{"end": 21}]}}, "faults.spans[0]", "allowed: from 0 to 20"),
    ("SPANS", ["0a"], {"faults": {"spans": [{"end": 2, "principle_id": "no-fume"}]}},
     "faults.spans[0].principle_id", "no principle 'no-fume' serves 'helpful'"),
    ("SPANS", ["0a"], {"faults": {"spans": [{"end": 2}] * 101}}, "faults.spans", "101 items; allowed: at most 100"),
])  # fmt: skip
def test_what_is_wrong_with_an_assessment_is_named_and_nothing_is_stored(server, form, ids, said, field, told):
    with pytest.raises(InvalidInput) as caught:
        ask(server, "SubmitAssessment", form=f"ASSESSMENT_FORM_{form}", sample_ids=ids, **MINE, **said)
    assert caught.value.field == field and told in str(caught.value)
    assert ask(server, "ListAssessments").assessments == []


@pytest.mark.parametrize(("method", "fields", "field"), [
    ("NextAssessment", {"form": 1, "count": -1}, "count"),
    ("NextAssessment", {"form": 1, "lease": {"seconds": 3601}}, "lease"),
    ("NextAssessment", {"form": 9}, "form"),
    ("NextAssessment", {"form": 1, "objective": "kindness"}, "objective"),
    ("SubmitAssessment", {"form": 1, "sample_ids": ["0a"], "rating": 1, "objective": "kindness"}, "objective"),
    ("SubmitAssessment", {"form": 1, "sample_ids": ["0a"], "rating": 1, "labeler": "ai:judge"}, "labeler"),
])  # fmt: skip
def test_a_request_that_makes_no_sense_is_refused(server, method, fields, field):
    with pytest.raises(InvalidInput) as caught:
        ask(server, method, **(MINE | fields))
    assert caught.value.field == field


def test_assessments_come_page_by_page_with_the_fields_that_are_asked_for(server, client):
    given = [client.submit("rating", [f"{n}{side}"], rating=4, **MINE).id for n in range(3) for side in "ab"]
    seen, token = [], ""
    while True:
        mask = FieldMask(paths=["id"])
        answer = ask(server, "ListAssessments", page_size=4, page_token=token, read_mask=mask)
        assert all(not one.item_id for one in answer.assessments)
        seen += [one.id for one in answer.assessments]
        token = answer.next_page_token
        if not token:
            break
    assert seen == given


def test_a_page_of_long_replies_ends_early(server, client, monkeypatch):
    given = [client.submit("rating", [f"{n}a"], rating=4, **MINE).id for n in range(3)]
    monkeypatch.setattr("services.rpc.labelling.assessment.MAX_PAGE_BYTES", 10)
    first = ask(server, "ListAssessments", with_samples=True)
    assert [one.id for one in first.assessments] == given[:1] and len(first.samples) == 1
    second = ask(server, "ListAssessments", with_samples=True, page_token=first.next_page_token)
    assert [one.id for one in second.assessments] == given[1:2]


def test_progress_counts_every_form_since_a_time(server, client):
    client.submit("rating", ["0a"], rating=4, **MINE)
    client.submit("rating", ["0b"], **MINE)
    client.submit("ranking", ["0a", "0b"], ranks=[1, 2], **MINE)
    client.submit("spans", ["0a"], faults=[], **MINE)
    client.undo("ana")
    pair = server.client.preference.next_comparison("ana", "harmless")
    server.client.preference.submit_preference(pair.id, objective="harmless", labeler="ana", choice="a")
    found = ask(server, "GetProgress", labeler="ana")
    assert (found.pairs, found.ratings, found.rankings, found.spans) == (1, 2, 1, 0)
    assert ask(server, "GetProgress", labeler="ana", since=Timestamp(seconds=10**10)).ratings == 0
    assert ask(server, "GetProgress", labeler="bo").pairs == 0


def test_ratings_and_rankings_are_exported_as_label_files_that_charter_reads(server, client, tmp_path):
    client.submit("ranking", replies(), ranks=[2, 1, 2], **MINE)
    client.submit("ranking", ["0a", "0b", "0c"], all_bad=True, **MINE)
    client.submit("rating", ["a"], rating=7, **MINE)
    client.submit("rating", ["b"], **MINE)
    client.submit("spans", ["b"], faults=[Fault(0, 5, "no-fumes")], objective="harmless", labeler="ana")
    found = {}
    for content in ("ratings", "rankings", "spans"):
        file = tmp_path / f"{content}.jsonl"
        file.write_bytes(b"".join(server.client.datasets.export_run(content).pieces))
        found[content] = file
    [rated] = load_labels(found["ratings"])
    assert isinstance(rated, Rating) and (rated.reply, rated.rating) == (replies()[0].response, 7)
    assert rated.prompt.tags == ("kitchen",)
    ranked, *even = load_labels(found["rankings"])
    assert isinstance(ranked, Ranking)
    assert (ranked.replies, ranked.ranks) == (tuple(each.response for each in replies()), (2, 1, 2))
    assert len(even) == 3 and all(isinstance(pair, LabelledPair) and pair.tied for pair in even)
    row = json.loads(found["spans"].read_text())
    assert (row["response"], row["faults"][0]["text"]) == (replies()[1].response, "Reply")
    assert row["faults"][0]["principle"] == "no-fumes" and row["lineage"]["labeler"] == "human:ana"
    client.submit("rating", ["a"], rating=2, objective="harmless", labeler="ana")
    with pytest.raises(InvalidInput, match="of several objectives"):
        server.client.datasets.export_run("ratings")
    assert server.client.datasets.export_run("ratings", objective="harmless").rows == 1


def test_who_is_shut_out_gets_no_replies_and_is_not_exported(server, client):
    for name in ("ana", "bo"):
        client.submit("rating", ["0a"], rating=7, objective="helpful", labeler=name)
    client.submit("spans", ["0a"], faults=[Fault(0, 5, "no-fumes")], objective="harmless", labeler="bo")
    server.client.annotation.set_annotator("bo", "paused")
    with pytest.raises(Forbidden, match="bo gets nothing more to label"):
        client.upcoming("bo", "helpful", "rating")
    assert server.client.datasets.export_run("ratings").rows == 1
    with pytest.raises(NotFound, match="nothing to export"):
        server.client.datasets.export_run("spans")


def test_every_method_of_the_contract_is_carried_out():
    methods = assessment_pb2.DESCRIPTOR.services_by_name["AssessmentService"].methods
    assert {method.name for method in methods} == {name for name in vars(AssessmentService) if name[0].isupper()}
