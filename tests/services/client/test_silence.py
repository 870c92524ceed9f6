"""A stream whose server says nothing any more."""

import socket
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from charter.v1 import critique_pb2, dataset_pb2, policy_pb2, preference_pb2, reward_pb2, server_pb2, trainer_pb2

from rlhf_core.errors import Unavailable
from services.client.connection import STREAMS, Connection
from services.client.stream_timeout import unless_silent


class Talker:
    """Sends numbers, and then nothing until its caller goes."""

    address = ""

    def __init__(self, count: int):
        self.count = count
        self.left = threading.Event()

    def talk(self, _: bytes, context: grpc.ServicerContext) -> Generator[bytes, None, None]:
        context.add_callback(self.left.set)
        for number in range(self.count):
            yield str(number).encode()
        self.left.wait(60)


def handlers_of(talker: Talker) -> grpc.GenericRpcHandler:
    handlers = {"Talk": grpc.unary_stream_rpc_method_handler(talker.talk)}
    return grpc.method_handlers_generic_handler("test.Talker", handlers)


@pytest.fixture
def talker():
    talker = Talker(3)
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handlers_of(talker),))
    talker.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield talker
    server.stop(0)


def answers(talker: Talker, silence_seconds: float) -> Generator[bytes, None, None]:
    connection = Connection(talker.address)
    yield from connection.stream(
        connection.channel.unary_stream("/test.Talker/Talk"), b"", silence_seconds=silence_seconds
    )


def test_a_stream_that_falls_silent_ends_as_unavailable_after_what_it_said(talker):
    heard, began = [], time.monotonic()
    with pytest.raises(Unavailable, match=r"nothing for 0\.5 s"):
        for answer in answers(talker, 0.5):
            heard.append(answer)
    assert heard == [b"0", b"1", b"2"]
    assert 0.5 < time.monotonic() - began < 20
    assert talker.left.wait(20), "the server is told that nobody listens any more"


def test_a_reader_who_takes_his_time_is_not_taken_for_a_silent_server(talker):
    reading = answers(talker, 0.5)
    first = next(reading)
    time.sleep(1.5)
    assert [first, next(reading), next(reading)] == [b"0", b"1", b"2"]
    reading.close()
    assert talker.left.wait(20)


class Deaf:
    """A call whose reader gRPC has forgotten: it neither goes on nor ends, not even when it is cancelled."""

    def __init__(self):
        self.ever = threading.Event()

    def __iter__(self) -> Generator[bytes, None, None]:
        yield b"0"
        self.ever.wait(60)


def test_a_stream_that_grpc_forgot_ends_as_unavailable_although_its_listener_never_returns():
    call, heard = Deaf(), []
    with pytest.raises(Unavailable):
        for answer in unless_silent(call, 0.5):
            heard.append(answer)
    assert heard == [b"0"]
    call.ever.set()


def test_whatever_a_stream_raises_reaches_its_reader_at_once():
    def broken() -> Generator[bytes, None, None]:
        yield b"0"
        raise ValueError("a message that is none")

    began = time.monotonic()
    with pytest.raises(ValueError, match="a message that is none"):
        list(unless_silent(broken(), 30))
    assert time.monotonic() - began < 20


def test_a_reader_who_leaves_takes_the_listener_along_even_where_answers_wait_for_room():
    before = threading.active_count()
    reading = unless_silent(iter(range(1000)), 5)
    assert next(reading) == 0
    reading.close()
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() == before


@pytest.mark.slow
def test_a_stream_whose_server_is_still_to_come_is_made_again_until_it_is_there():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    talker, began = Talker(1), time.monotonic()
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handlers_of(talker),))
    starting = threading.Timer(1.0, lambda: (server.add_insecure_port(f"127.0.0.1:{port}"), server.start()))
    starting.start()
    talker.address = f"127.0.0.1:{port}"
    assert next(answers(talker, 5)) == b"0"
    assert time.monotonic() - began > 1
    server.stop(0)


def test_grpc_itself_retries_no_method_that_answers_many_times():
    files = (critique_pb2, dataset_pb2, policy_pb2, preference_pb2, reward_pb2, server_pb2, trainer_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    streams = {(s.full_name, method.name) for s in services for method in s.methods if method.server_streaming}
    assert streams == set(STREAMS) and len(STREAMS) == 7
