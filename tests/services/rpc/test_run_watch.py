"""Watching a run over a real socket: every event once, heartbeats while nothing happens, and an end that says why."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from charter.v1 import trainer_pb2, trainer_pb2_grpc

from rlhf_core.errors import InvalidInput
from services.client import trainer
from services.client.client import CharterClient
from tests.services.run_server import RunServer, run_server

PAUSED, QUEUED, CANCELLED = (
    trainer_pb2.RUN_STATE_PAUSED,
    trainer_pb2.RUN_STATE_QUEUED,
    trainer_pb2.RUN_STATE_CANCELLED,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunServer]:
    with run_server(tmp_path_factory.mktemp("server")) as found:
        yield found


def watch(server: RunServer, run_id: str, **fields: object) -> Iterator[trainer_pb2.WatchRunResponse]:
    return server.connection.stream(server.stub.WatchRun, trainer_pb2.WatchRunRequest(run_id=run_id, **fields))


def states(answers: list[trainer_pb2.WatchRunResponse]) -> list[str]:
    return [json.loads(answer.event.body_json)["state"] for answer in answers if answer.HasField("event")]


def test_a_watch_ends_when_the_run_is_paused_and_says_so(server):
    [run_id] = server.create()
    server.ask("PauseRun", run_id=run_id)
    answers = list(watch(server, run_id))
    assert states(answers) == ["QUEUED", "PAUSED"]
    assert not answers[-1].HasField("event") and answers[-1].run.state == PAUSED
    assert [event.sequence for event in server.client.trainer.watch_run(run_id)] == [1, 2]


def test_a_watch_through_a_pause_says_so_at_once_and_goes_on(server):
    [run_id] = server.create()
    answers = watch(server, run_id, through_pauses=True)
    assert next(answers).event.sequence == 1
    server.ask("PauseRun", run_id=run_id)
    assert next(answers).event.sequence == 2
    begun = time.monotonic()
    assert next(answers).run.state == PAUSED
    assert time.monotonic() - begun < 5
    server.ask("ResumeRun", run_id=run_id)
    assert next(answers).event.sequence == 3
    server.ask("PauseRun", run_id=run_id)
    assert next(answers).event.sequence == 4 and next(answers).run.state == PAUSED
    server.ask("CancelRun", run_id=run_id)
    rest = list(answers)
    assert states(rest) == ["CANCELLED"] and rest[-1].run.state == CANCELLED


@pytest.mark.slow
def test_a_heartbeat_holds_the_run_while_nothing_happens(server):
    [run_id] = server.create()
    answers = watch(server, run_id, after_sequence=1, heartbeat_interval={"seconds": 1})
    begun = time.monotonic()
    beats = [next(answers) for _ in range(2)]
    assert 1.9 < time.monotonic() - begun < 10
    assert all(beat.run.state == QUEUED and not beat.HasField("event") for beat in beats)
    answers.close()


def test_a_watch_goes_on_after_the_last_sequence_and_repeats_nothing(server):
    [run_id] = server.create()
    for _ in range(3):
        server.ask("PauseRun", run_id=run_id)
        server.ask("ResumeRun", run_id=run_id)
    server.ask("CancelRun", run_id=run_id)
    for after in range(9):
        found = [
            answer.event.sequence for answer in watch(server, run_id, after_sequence=after) if answer.event.sequence
        ]
        assert found == list(range(after + 1, 9))


def test_a_lost_connection_is_taken_up_after_the_last_event(short_folder):
    seen: list[int] = []
    with run_server(short_folder) as server:
        [run_id] = server.create()
        client = CharterClient.connect(server.client.address)
        watching = client.trainer.watch_run(run_id)
        thread = threading.Thread(target=lambda: seen.extend(event.sequence for event in watching))
        thread.start()
        while not seen:
            time.sleep(0.05)
    with run_server(short_folder) as again:
        again.ask("PauseRun", run_id=run_id)
        thread.join(timeout=20)
        assert not thread.is_alive()
    client.close()
    assert seen == [1, 2]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"after_sequence": -1}, "after_sequence"),
        ({"after_sequence": 2}, "after_sequence"),
        ({"heartbeat_interval": {"nanos": 10}}, "heartbeat_interval"),
        ({"heartbeat_interval": {"seconds": 3601}}, "heartbeat_interval"),
    ],
)
def test_a_watch_that_makes_no_sense_is_refused(server, fields, field):
    [run_id] = server.create()
    with pytest.raises(InvalidInput) as caught:
        next(watch(server, run_id, **fields))
    assert caught.value.field == field


class Forgetful(trainer_pb2_grpc.TrainerServiceServicer):
    """Tells the first event and then nothing; whoever asks again for what came after it is told the second."""

    def __init__(self):
        self.asked: list[tuple[int, int]] = []
        self.over = threading.Event()

    def WatchRun(self, request, context):
        self.asked.append((request.after_sequence, request.heartbeat_interval.seconds))
        event = trainer_pb2.RunEvent(run_id="run-1", sequence=request.after_sequence + 1, kind="state", body_json="{}")
        event.create_time.GetCurrentTime()
        yield trainer_pb2.WatchRunResponse(event=event)
        if not request.after_sequence:
            self.over.wait(60)


def test_a_server_that_falls_silent_is_asked_again_for_what_came_after(monkeypatch):
    monkeypatch.setattr(trainer, "SILENCE_SECONDS", 0.5)
    forgetful, server = Forgetful(), grpc.server(ThreadPoolExecutor(2))
    trainer_pb2_grpc.add_TrainerServiceServicer_to_server(forgetful, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with CharterClient.connect(f"127.0.0.1:{port}") as client:
        assert [event.sequence for event in client.trainer.watch_run("run-1")] == [1, 2]
    assert forgetful.asked == [(0, 5), (1, 5)], "a heartbeat every 5 s is asked for, or silence would mean nothing"
    forgetful.over.set()
    server.stop(0)
