"""Short ids, tags, what is going on, and deletion, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from charter.v1 import trainer_pb2

from rlhf_core.errors import Conflict, InvalidInput, NotFound, RequestReused
from tests.services.run_server import CONFIG, RunServer, run_server


@pytest.fixture
def server(tmp_path) -> Iterator[RunServer]:
    with run_server(tmp_path) as found:
        yield found


def test_a_part_of_an_id_and_a_name_stand_for_the_run_in_every_method(server):
    run = server.client.trainer.create_run(CONFIG, display_name="kl sweep", tags={"sweep": "kl"})
    for name in (run.short_id, f"runs/{run.short_id}", "kl sweep"):
        assert server.client.trainer.get_run(name).id == run.id
    assert server.client.trainer.pause_run(run.short_id).status == "PAUSED"
    assert server.client.trainer.update_run(run.short_id, note="n").note == "n"
    assert [event.run_id for event in server.client.trainer.watch_run(run.short_id)] == [run.id] * 2
    following = CONFIG.model_copy(update={"from_run": run.short_id, "start_at": "ppo"})
    later = server.client.trainer.create_run(following)
    assert f'"from_run":"{run.id}"' in later.config, "what is stored is the whole id"
    with pytest.raises(NotFound, match='did you mean "kl sweep"') as unknown:
        server.client.trainer.get_run("kl swep")
    assert "charter " not in str(unknown.value), "a caller of gRPC has no command line"


def test_runs_are_listed_by_tag_page_by_page(server):
    for number in range(3):
        server.client.trainer.create_run(CONFIG, tags={"sweep": "kl", "seed": str(number)})
    server.client.trainer.create_run(CONFIG)
    page = server.client.trainer.list_runs(2, tags=["sweep=kl"])
    rest = server.client.trainer.list_runs(2, page.next_page_token, tags=["sweep=kl"])
    assert [run.tags["seed"] for run in (*page.runs, *rest.runs)] == ["2", "1", "0"]
    with pytest.raises(InvalidInput, match="page_token"):
        server.client.trainer.list_runs(2, page.next_page_token, tags=["sweep"])


@pytest.mark.parametrize(
    ("tags", "field"),
    [({"a b": "c"}, "tags"), ({"a": "x" * 201}, "tags.a"), ({f"k{n}": "" for n in range(21)}, "tags")],
)
def test_a_tag_that_is_not_allowed_makes_no_run(server, tags, field):
    with pytest.raises(InvalidInput) as refused:
        server.client.trainer.create_run(CONFIG, tags=tags)
    assert refused.value.field == field
    assert server.client.trainer.list_runs().runs == []


def test_a_run_is_deleted_once_and_only_when_it_has_stopped(server):
    [run_id] = server.create()
    with pytest.raises(Conflict, match="is QUEUED; cancel it first"):
        server.client.trainer.delete_run(run_id)
    server.client.trainer.cancel_run(run_id)
    plan = server.client.trainer.delete_run(run_id, validate_only=True)
    assert server.client.trainer.get_run(run_id).id == run_id, "it was only tried"
    first = server.client.trainer.delete_run(run_id, request_id="once")
    assert first == plan and first.rows["runs"] == 1
    assert server.client.trainer.delete_run(run_id, request_id="once") == first
    with pytest.raises(NotFound):
        server.client.trainer.delete_run(run_id)
    with pytest.raises(RequestReused):
        server.client.trainer.delete_run("other", request_id="once")


def test_an_enum_is_named_as_the_contract_names_it(server):
    with pytest.raises(InvalidInput, match=r"states\[0\]: 99 is not a known value; allowed: .*RUN_STATE_CANCELLED"):
        server.ask("ListRuns", states=[99])
    with pytest.raises(InvalidInput, match="not given; allowed: RUN_STATE_QUEUED, RUN_STATE_RUNNING"):
        server.ask("ListRuns", states=[0])


def test_the_wire_says_what_is_going_on(server):
    [run_id] = server.create()
    assert server.ask("GetRun", run_id=run_id).run.status == trainer_pb2.RUN_STATUS_QUEUED
    assert server.ask("GetRun", run_id=run_id).run.short_id == run_id[-6:]
