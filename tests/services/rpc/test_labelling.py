"""People at work: pairs ahead, leases, sides, and what labelers go by. Over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from charter.v1 import preference_pb2, preference_pb2_grpc, server_pb2, server_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from rlhf_core.constitution.load import builtin_text, parse_constitution
from rlhf_core.errors import InvalidInput
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.seeding import UNIFORM_SLICE, is_swapped, uniform_draw
from rlhf_core.store.store import Store
from services.client.connection import Connection
from services.security.tokens import new_token
from services.server.config import WITHOUT_MODEL, ServeConfig
from services.wire.samples import comparison_to_message
from tests.services.apps import serving
from tests.services.run_server import run_server
from tests.services.test_contract_lists import Labels

MINUTE = Duration(seconds=60)


def pairs(count: int) -> list[Comparison]:
    made = []
    for number in range(count):
        prompt = Prompt.of(f"How do I dry cup {number}?")
        made.append(
            Comparison.of(
                *(
                    Sample(id=f"dry-{s}{number}", prompt=prompt, response=f"by {s}", policy_version="base")
                    for s in "ab"
                ),
                "",
            )
        )
    return made


@pytest.fixture
def labels(tmp_path) -> Iterator[Labels]:
    store = Store.open(tmp_path)
    store.comparisons.add(pairs(20))
    store.close()
    with run_server(tmp_path) as server:
        yield Labels(server)


def ahead(labels: Labels, count: int, labeler: str = "ana", **fields: object) -> list[str]:
    answer = labels.ask("NextComparison", labeler=labeler, objective="helpful", count=count, **fields)
    return [shown.comparison.id for shown in answer.shown]


def test_pairs_ahead_are_those_that_labelling_one_by_one_would_show(labels):
    """With every fifth from the uniform slice, as one by one."""
    before = ahead(labels, 20)
    one_by_one = []
    for _ in range(20):
        answer = labels.ask("NextComparison", labeler="ana", objective="helpful")
        one_by_one.append(answer.comparison.id)
        assert [shown.comparison.id for shown in answer.shown] == one_by_one[-1:]
        given = {"objective": "helpful", "labeler": "ana", "choice": "CHOICE_A"}
        labels.ask("SubmitPreference", comparison_id=one_by_one[-1], **given)
    assert before == one_by_one and len(set(before)) == 20
    assert uniform_draw(before[4]) < UNIFORM_SLICE and uniform_draw(before[0]) >= UNIFORM_SLICE
    assert ahead(labels, 20) == []


def test_what_is_handed_out_can_be_answered_whoever_stored_it_first(tmp_path):
    """The pair came with a run under another constitution, and is asked about under the server's own."""
    text = builtin_text("household").replace("helpful", "novelty")
    law = parse_constitution(text, "novelty")
    store = Store.open(tmp_path)
    store.constitutions.add(law.hash, law.id, text, "")
    run = store.runs.create("label", "{}", law.hash, "r")
    store.runs.cancel(run.id)
    store.comparisons.add([pairs(1)[0].model_copy(update={"run_id": run.id})])
    store.close()
    with run_server(tmp_path) as server:
        labels = Labels(server)
        [pair] = ahead(labels, 1)
        given = {"comparison_id": pair, "labeler": "ana", "choice": "CHOICE_A"}
        for objective in ("helpful", "novelty"):
            assert labels.ask("SubmitPreference", objective=objective, **given).preference.comparison_id == pair
        with pytest.raises(InvalidInput, match="unknown objective 'kind'"):
            labels.ask("SubmitPreference", objective="kind", **given)


def test_two_labelers_never_hold_the_same_pair_however_many_ask_at_once(labels):
    names = [f"p{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        held = list(pool.map(lambda name: ahead(labels, 3, name, lease=MINUTE), names))
    everything = [pair for each in held for pair in each]
    assert len(everything) == len(set(everything)) == 20
    assert [ahead(labels, 3, name, lease=MINUTE) for name in names] == held


def test_a_lease_ends_with_its_time_or_its_label_and_binds_only_who_asks_with_one(labels):
    brief = ahead(labels, 20, "ana", lease=Duration(nanos=1000))
    assert len(brief) == 20
    first, *rest = ahead(labels, 20, "bo", lease=MINUTE)
    assert ahead(labels, 20, "ana", lease=MINUTE) == []
    assert labels.ask("NextComparison", labeler="ana", objective="helpful", lease=MINUTE).remaining == 20
    assert len(ahead(labels, 20, "ana")) == 20
    labels.ask("SubmitPreference", comparison_id=first, objective="helpful", labeler="bo", choice="CHOICE_TIE")
    assert ahead(labels, 20, "ana", lease=MINUTE) == [first]
    assert set(ahead(labels, 20, "bo", lease=MINUTE)) == set(rest)
    other = labels.ask("NextComparison", labeler="ana", objective="harmless", count=20, lease=MINUTE)
    assert len(other.shown) == 20, "a lease is of one objective"


def test_the_side_is_told_kept_with_the_label_and_unknown_where_nobody_says(labels):
    answer = labels.ask("NextComparison", labeler="human:ana", objective="helpful", count=20)
    assert [shown.swapped for shown in answer.shown] == [
        is_swapped("human:ana", shown.comparison.id) for shown in answer.shown
    ]
    assert {shown.swapped for shown in answer.shown} == {True, False}
    for number, swapped in enumerate((True, False, None)):
        labels.submit(number, swapped=swapped)
    kept = labels.ask("ListPreferences").preferences
    assert [one.swapped if one.HasField("swapped") else None for one in kept] == [True, False, None]


def test_a_step_back_takes_the_label_that_it_names(labels):
    first, second = labels.submit(1), labels.submit(2)
    which = {"labeler": "ana", "comparison_id": f"comparisons/{first.comparison_id}", "objective": "helpful"}
    assert not labels.ask("UndoPreference", **{**which, "objective": "harmless"}).HasField("preference")
    assert labels.ask("UndoPreference", **which, validate_only=True).preference == first
    assert labels.ask("UndoPreference", **which, request_id="x").preference == first
    assert labels.ask("UndoPreference", **which, request_id="x").preference == first
    assert [label.id for label in labels.ask("ListPreferences").preferences] == [second.id]


def test_labels_given_since_a_time_are_counted(labels):
    for number in range(3):
        labels.submit(number)
    labels.submit(0, objective="harmless")
    labels.ask("UndoPreference", labeler="ana")
    hour = timedelta(hours=1)
    for since, count in ((None, 3), (datetime.now(UTC) - hour, 3), (datetime.now(UTC) + hour, 0)):
        stamp = Timestamp()
        if since:
            stamp.FromDatetime(since)
        asked = {"labeler": "ana", "objective": "helpful", "since": stamp if since else None}
        assert labels.ask("NextComparison", **asked).given == count


def test_a_count_or_a_lease_that_makes_no_sense_is_refused(labels):
    never = Timestamp(seconds=10**12)
    for fields in ({"count": -1}, {"lease": Duration()}, {"lease": Duration(seconds=3601)}, {"since": never}):
        with pytest.raises(InvalidInput) as caught:
            ahead(labels, **({"count": 1} | fields))
        assert caught.value.field == next(iter(fields))


def test_a_pair_that_is_brought_along_is_never_taken_for_another_of_the_same_id(labels):
    stored, other = pairs(1)[0], pairs(2)[1]
    given = {"objective": "helpful", "labeler": "ana", "choice": "CHOICE_A"}
    reused = other.model_copy(update={"id": "new", "a": other.a.model_copy(update={"response": "other words"})})
    for wrong in (stored.swap(), reused):
        with pytest.raises(InvalidInput, match="has other replies") as caught:
            labels.ask("SubmitPreference", comparison=comparison_to_message(wrong), **given)
        assert caught.value.field == "comparison.id"
    assert not labels.ask("ListPreferences").preferences
    answer = labels.ask("SubmitPreference", comparison=comparison_to_message(stored), **given)
    assert answer.preference.comparison_id == stored.id


def test_guidelines_are_the_words_of_a_run_s_constitution_and_need_no_model(tmp_path):
    with run_server(tmp_path) as server:
        [run] = server.create()
        found = [Labels(server).ask("GetGuidelines", run_id=asked).constitution for asked in ("", run)]
    assert [each.id for each in found] == ["household", "household"]
    assert [each.name for each in found[0].objectives] == ["helpful", "harmless"]
    assert {name for each in found[0].principles for name in each.serves} == {"helpful", "harmless"}


def test_a_server_tells_a_caller_whom_it_takes_it_for(tmp_path):
    file = tmp_path / "tokens.yaml"
    token = new_token(file, "ana", ("label",))

    def look(address: str, token: str = "") -> server_pb2.Caller:
        connection = Connection(address, token, timeout_seconds=30)
        stub = server_pb2_grpc.ServerServiceStub(connection.channel)
        caller = connection.call(stub.GetInfo, server_pb2.GetInfoRequest()).caller
        connection.close()
        return caller

    seen = []
    config = ServeConfig(address=f"unix:{tmp_path}/s", data=tmp_path, only=WITHOUT_MODEL, tokens=file)
    serving(config, lambda address: seen.append(look(address, token)))
    serving(config.model_copy(update={"tokens": None}), lambda address: seen.append(look(address)))
    assert [(caller.name, list(caller.scopes)) for caller in seen] == [
        ("ana", ["label"]),
        ("", ["annotate", "read", "label", "review", "train", "admin"]),
    ]


def test_what_a_labeler_brings_comes_into_no_run_and_under_no_id_of_other_words(tmp_path):
    file = tmp_path / "tokens.yaml"
    tokens = {"ana": new_token(file, "ana", ("label",)), "tom": new_token(file, "tom", ("train", "label"))}
    text = builtin_text("household")
    law = parse_constitution(text, "household")
    store = Store.open(tmp_path)
    store.constitutions.add(law.hash, law.id, text, "")
    run = store.runs.create("label", "{}", law.hash, "r")
    store.runs.cancel(run.id)
    store.close()

    def bring(address: str, name: str, pair: Comparison) -> None:
        connection = Connection(address, tokens[name], timeout_seconds=30)
        stub = preference_pb2_grpc.PreferenceServiceStub(connection.channel)
        message = comparison_to_message(pair)
        message.run_id = message.a.run_id = message.b.run_id = run.id
        given = {"objective": "helpful", "labeler": name, "choice": "CHOICE_A"}
        connection.call(stub.SubmitPreference, preference_pb2.SubmitPreferenceRequest(comparison=message, **given))
        message.a.id, message.b.id, message.id = "new-a", "new-b", ""
        message.a.prompt.id = message.b.prompt.id = Prompt.of("What is two and two?").id
        if name == "ana":
            with pytest.raises(InvalidInput, match="is no id of these words; allowed: prompt-"):
                request = preference_pb2.SubmitPreferenceRequest(comparison=message, **given)
                connection.call(stub.SubmitPreference, request)
        connection.close()

    def both(address: str) -> None:
        for name, pair in zip(tokens, pairs(2), strict=True):
            bring(address, name, pair)

    config = ServeConfig(address=f"unix:{tmp_path}/s", data=tmp_path, only=WITHOUT_MODEL, tokens=file)
    serving(config, both)
    store = Store.open(tmp_path)
    anas, toms = (pair.id for pair in pairs(2))
    assert [pair.id for pair in store.comparisons.of_run(run.id)] == [toms]
    assert store.comparisons.get(anas).run_id == ""
    assert {label.comparison_id for label in store.preferences.find()} == {anas, toms}
    store.close()
