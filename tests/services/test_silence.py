"""A stream whose server says nothing any more."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from rlhf_core.errors import Unavailable
from services.channel import Connection


class Talker:
    """Sends numbers, and then nothing until its caller goes."""

    address = ""

    def __init__(self, count: int):
        self.count = count
        self.left = threading.Event()

    def talk(self, _: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self.left.set)
        for number in range(self.count):
            yield str(number).encode()
        self.left.wait(60)


@pytest.fixture
def talker():
    talker = Talker(3)
    server = grpc.server(ThreadPoolExecutor(2))
    handlers = {"Talk": grpc.unary_stream_rpc_method_handler(talker.talk)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Talker", handlers),))
    talker.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield talker
    server.stop(0)


def answers(talker: Talker, silence_seconds: float) -> Iterator[bytes]:
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
