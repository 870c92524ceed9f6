"""The rules of the contract on runs, over a real socket: names, pages, masks, request ids, etags, and what is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc
import pytest
from charter.v1 import trainer_pb2, trainer_pb2_grpc
from google.protobuf.field_mask_pb2 import FieldMask

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import CharterError, Conflict, InvalidInput, NotFound, NoWorker, RequestReused, Stale
from services.client.client import CharterClient
from services.client.connection import Connection
from services.embedded import embedded_server
from services.wire.paging import page_of
from tests.services.run_server import CONFIG, RunServer, run_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunServer]:
    with run_server(tmp_path_factory.mktemp("server")) as found:
        yield found


def test_a_run_is_found_by_its_name_as_by_its_id(server):
    [run_id] = server.create()
    by_name = server.ask("GetRun", name=f"runs/{run_id}").run
    assert by_name == server.ask("GetRun", run_id=run_id).run == server.ask("GetRun", run_id=f"runs/{run_id}").run
    assert by_name.name == f"runs/{run_id}" and by_name.id == run_id


@pytest.mark.parametrize(
    ("run", "field"),
    [
        ({}, "run.name"),
        ({"name": "run-1"}, "run.name"),
        ({"id": "policyVersions/policy-1"}, "run.id"),
        ({"name": "runs/run-1", "id": "run-2"}, "run.name"),
    ],
)
def test_an_update_of_what_is_no_run_names_the_field_within_it(server, run, field):
    with pytest.raises(InvalidInput) as caught:
        server.ask("UpdateRun", run=run)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "name"),
        ({"name": "run-1"}, "name"),
        ({"name": "rewardModels/run-1"}, "name"),
        ({"run_id": "policyVersions/policy-1"}, "run_id"),
        ({"name": "runs/run-1", "run_id": "run-2"}, "name"),
        ({"name": "runs/"}, "name"),
    ],
)
def test_what_is_no_runs_name_is_refused(server, fields, field):
    for method in ("GetRun", "CancelRun", "PauseRun", "ResumeRun", "SetRunWeights", "GetReport"):
        with pytest.raises(InvalidInput) as caught:
            server.ask(method, **fields)
        assert caught.value.field == field


def test_pages_hold_every_run_once_though_runs_come_meanwhile(server):
    made = server.create(5)
    before = [run.id for run in server.client.trainer.list_runs(1000).runs]
    seen, token = [], ""
    while True:
        page = server.ask("ListRuns", page_size=2, page_token=token)
        seen += [run.id for run in page.runs]
        assert len(page.runs) <= 2
        if not (token := page.next_page_token):
            break
        server.create()
    assert seen == before and set(made) <= set(seen)


def test_the_size_may_change_from_page_to_page_and_is_cut_to_the_most(server):
    server.create(4)
    first = server.ask("ListRuns", page_size=1)
    rest = server.ask("ListRuns", page_size=2**31 - 1, page_token=first.next_page_token)
    assert first.runs[0].id not in [run.id for run in rest.runs] and rest.next_page_token == ""


@pytest.mark.parametrize("token", ["1", "3", "AAAA", "é", "=" * 40, "x" * 500])
def test_a_token_that_no_list_gave_is_refused(server, token):
    with pytest.raises(InvalidInput, match="begin again without a token") as caught:
        server.ask("ListRuns", page_token=token)
    assert caught.value.field == "page_token"


def test_a_token_is_of_one_query_and_of_one_list_and_cannot_be_altered(server):
    server.create(3)
    token = server.ask("ListRuns", page_size=1, states=["RUN_STATE_QUEUED"]).next_page_token
    assert server.ask("ListRuns", page_size=1, states=["RUN_STATE_QUEUED"], page_token=token).runs
    for fields in ({}, {"states": ["RUN_STATE_PAUSED"]}, {"states": ["RUN_STATE_QUEUED", "RUN_STATE_PAUSED"]}):
        with pytest.raises(InvalidInput):
            server.ask("ListRuns", page_token=token, **fields)
    with pytest.raises(InvalidInput):
        list(_preferences(server, token))
    altered = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]
    with pytest.raises(InvalidInput):
        server.ask("ListRuns", states=["RUN_STATE_QUEUED"], page_token=altered)


def _preferences(server: RunServer, token: str):
    from charter.v1 import preference_pb2, preference_pb2_grpc

    stub = preference_pb2_grpc.PreferenceServiceStub(server.connection.channel)
    yield server.connection.call(stub.ListPreferences, preference_pb2.ListPreferencesRequest(page_token=token))


@pytest.mark.parametrize("place", [-1, 2**63, 10**40])
def test_a_token_made_up_for_a_place_that_no_list_has_is_refused(server, place):
    request = trainer_pb2.ListRunsRequest()
    forged = page_of(request, default=50).token(place)
    with pytest.raises(InvalidInput, match="begin again without a token"):
        server.ask("ListRuns", page_token=forged)


def test_a_token_outlives_the_server(tmp_path):
    with run_server(tmp_path) as server:
        made = server.create(3)
        token = server.ask("ListRuns", page_size=1).next_page_token
    with run_server(tmp_path) as server:
        assert [run.id for run in server.ask("ListRuns", page_token=token).runs] == [made[1], made[0]]


def test_a_negative_size_and_an_unknown_state_are_refused(server):
    for fields, field in (
        ({"page_size": -1}, "page_size"),
        ({"states": [0]}, "states[0]"),
        ({"states": [99]}, "states[0]"),
    ):
        with pytest.raises(InvalidInput) as caught:
            server.ask("ListRuns", **fields)
        assert caught.value.field == field


def test_a_read_mask_leaves_only_what_it_names(server):
    [run_id] = server.create()
    mask = FieldMask(paths=["name", "state", "create_time.seconds"])
    run = server.ask("GetRun", run_id=run_id, read_mask=mask).run
    assert {field.name for field, _ in run.ListFields()} == {"name", "state", "create_time"}
    assert run.create_time.seconds > 0 and run.create_time.nanos == 0
    listed = server.ask("ListRuns", read_mask=mask).runs[0]
    assert listed == run
    assert server.ask("GetRun", run_id=run_id, read_mask=FieldMask(paths=["*"])).run.config_json
    with pytest.raises(InvalidInput, match='did you mean "state"') as caught:
        server.ask("ListRuns", read_mask=FieldMask(paths=["sttate", "name.x"]))
    assert caught.value.field == "read_mask" and len(caught.value.violations) == 2


def test_an_update_changes_what_its_mask_names(server):
    run = server.client.trainer.create_run(CONFIG, display_name="first", note="mine")
    new = {"id": run.id, "display_name": "second", "note": "", "state": "RUN_STATE_FAILED"}
    changed = server.ask("UpdateRun", run=new, update_mask=FieldMask(paths=["note"])).run
    assert (changed.display_name, changed.note, changed.state) == ("first", "", trainer_pb2.RUN_STATE_QUEUED)
    assert server.ask("UpdateRun", run=new).run.display_name == "second"
    for paths, text in ((["state"], "cannot be changed"), (["displayname"], "did you mean"), (["etag"], "cannot")):
        with pytest.raises(InvalidInput, match=text) as caught:
            server.ask("UpdateRun", run=new, update_mask=FieldMask(paths=paths))
        assert caught.value.field == "update_mask"
    for wrong in ({"display_name": "x" * 81}, {"note": "x" * 4001}, {"display_name": "a\nb"}):
        with pytest.raises(InvalidInput) as caught:
            server.ask("UpdateRun", run={"id": run.id, **wrong})
        assert caught.value.field == f"run.{next(iter(wrong))}"


def test_a_stale_etag_changes_nothing_and_is_aborted(server):
    [run_id] = server.create()
    old = server.client.trainer.get_run(run_id).etag
    assert server.ask("PauseRun", run_id=run_id, etag=old).run.state == trainer_pb2.RUN_STATE_PAUSED
    changes: dict[str, dict[str, object]] = {
        "CancelRun": {"run_id": run_id, "etag": old},
        "PauseRun": {"run_id": run_id, "etag": old},
        "ResumeRun": {"run_id": run_id, "etag": old},
        "UpdateRun": {"run": {"id": run_id, "etag": old, "note": "x"}},
    }
    for method, fields in changes.items():
        with pytest.raises(Stale, match="read it again"):
            server.ask(method, **fields)
    run = server.client.trainer.get_run(run_id)
    assert (run.state, run.note) == ("PAUSED", "")
    with pytest.raises(grpc.RpcError) as caught:
        server.stub.CancelRun(trainer_pb2.CancelRunRequest(run_id=run_id, etag=old))
    assert caught.value.code() == grpc.StatusCode.ABORTED
    assert server.client.trainer.cancel_run(run_id, etag=run.etag).state == "CANCELLED"


def test_a_request_sent_again_does_nothing_twice_even_after_a_restart(tmp_path):
    with run_server(tmp_path) as server:
        first = server.ask("CreateRun", config_json="{}", request_id="make").run.id
        server.ask("PauseRun", run_id=first, request_id="p")
        server.ask("ResumeRun", run_id=first, request_id="r")
        server.ask("PauseRun", run_id=first, request_id="p2")
    with run_server(tmp_path) as server:
        assert server.ask("CreateRun", config_json="{}", request_id="make").run.id == first
        assert server.ask("ResumeRun", run_id=first, request_id="r").run.state == trainer_pb2.RUN_STATE_PAUSED
        assert len(server.client.trainer.list_runs().runs) == 1
        assert server.ask("ResumeRun", run_id=first, request_id="r2").run.state == trainer_pb2.RUN_STATE_QUEUED


@pytest.mark.parametrize(
    ("method", "first", "other"),
    [
        ("CreateRun", {"config_json": "{}"}, {"config_json": '{"seed": 5}'}),
        ("CreateRun", {"config_json": "{}"}, {"config_json": "{}", "display_name": "x"}),
        ("PauseRun", {}, {"etag": "another"}),
        ("UpdateRun", {"note": "a"}, {"note": "b"}),
    ],
)
def test_a_request_id_with_another_body_is_an_error(server, method, first, other):
    [run_id] = server.create()

    def fields(given: dict[str, object]) -> dict[str, object]:
        if method == "UpdateRun":
            return {"run": {"id": run_id, **given}}
        return given if method == "CreateRun" else {"run_id": run_id, **given}

    request_id = f"{method}-{other}"
    server.ask(method, request_id=request_id, **fields(first))
    count = len(server.client.trainer.list_runs(1000).runs)
    with pytest.raises(RequestReused) as caught:
        server.ask(method, request_id=request_id, **fields(other))
    assert "take a new request_id" in str(caught.value)
    with pytest.raises(grpc.RpcError) as raw:
        request = getattr(trainer_pb2, f"{method}Request")(request_id=request_id, **fields(other))
        getattr(server.stub, method)(request)
    assert raw.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert len(server.client.trainer.list_runs(1000).runs) == count
    with pytest.raises(InvalidInput):
        server.ask(method, request_id="r" * 201, **fields(first))


def test_what_is_only_tried_changes_nothing_and_says_what_would_be(server):
    [run_id] = server.create()
    before = server.client.trainer.get_run(run_id)
    assert server.ask("CancelRun", run_id=run_id, validate_only=True, request_id="t").run.state == 6
    assert server.ask("PauseRun", run_id=run_id, validate_only=True).run.state == 3
    tried = server.ask("UpdateRun", run={"id": run_id, "note": "tried"}, validate_only=True).run
    assert tried.note == "tried" and tried.etag != before.etag
    would = server.ask("CreateRun", display_name="not yet", validate_only=True).run
    assert (would.id, would.name, would.etag, would.display_name) == ("", "", "", "not yet")
    assert server.client.trainer.get_run(run_id) == before
    assert server.client.trainer.list_runs(1).runs[0].id == run_id
    server.client.trainer.cancel_run(run_id, request_id="t")
    with pytest.raises(Conflict):
        server.ask("PauseRun", run_id=run_id, validate_only=True)
    with pytest.raises(NotFound, match="no run 'run-99'"):
        server.ask("CancelRun", run_id="run-99", validate_only=True)


def test_a_server_whose_runs_nobody_carries_out_takes_none(tmp_path):
    with embedded_server(tmp_path, None) as address, CharterClient.connect(address) as client:
        for validate_only in (True, False):
            with pytest.raises(NoWorker, match="with all services"):
                client.trainer.create_run(CONFIG, validate_only=validate_only)
        assert client.trainer.list_runs().runs == []
        connection = Connection(address)
        with pytest.raises(grpc.RpcError) as caught:
            trainer_pb2_grpc.TrainerServiceStub(connection.channel).CreateRun(trainer_pb2.CreateRunRequest())
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        connection.close()


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda c: c.list_runs(page_token="x"), r"^page_token: .*; repeat the filters of the first page"),
        (lambda c: c.get_run("run-99"), r"^no run 'run-99' in the store; (known: |there are no runs yet)"),
        (
            lambda c: c.create_run(RunConfig(weights={"helpfull": 1.0})),
            r"^weights\.helpfull: .*the constitution has: helpful, harmless",
        ),
    ],
)
def test_an_error_is_one_line_with_its_field_and_what_to_do(server, ask: Callable, told: str):
    with pytest.raises(CharterError, match=told) as caught:
        ask(server.client.trainer)
    assert "\n" not in str(caught.value)
