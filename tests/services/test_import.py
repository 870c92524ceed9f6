"""`import charter`: what a program of one's own writes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import charter
import pytest
from charter.records import Prompt


def test_a_local_server_without_a_model_is_there_at_once_and_knows_its_runs(tmp_path):
    with charter.local(tmp_path / "data", model=None) as client:
        assert client.trainer.list_runs().runs == []
    assert (tmp_path / "data" / "charter.db").is_file()


def test_errors_are_charters_own_and_name_the_field():
    with pytest.raises(charter.errors.InvalidInput, match="address: 'nowhere' is none") as found:
        charter.connect("nowhere")
    assert found.value.field == "address"


@pytest.mark.usefixtures("one_try")
def test_a_server_that_is_not_there_is_unavailable(tmp_path):
    with charter.connect(f"unix:{tmp_path}/none.sock") as client, pytest.raises(charter.errors.Unavailable):
        client.trainer.list_runs()


def test_the_token_of_the_environment_is_the_default(monkeypatch):
    monkeypatch.setenv("CHARTER_TOKEN", "broken\n")
    with pytest.raises(charter.errors.InvalidInput, match="token: holds characters that no token has"):
        charter.connect("localhost:50051")


def test_the_stubs_alone_need_no_other_part_of_charter():
    code = "import sys, charter.v1.policy_pb2; print([n for n in sys.modules if n[:9] in ('rlhf_core', 'services.')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_name_that_is_not_there_is_told_with_those_that_are():
    misspelt = "conect"
    with pytest.raises(AttributeError, match="no attribute 'conect'; it has aio, connect, errors, local, records"):
        getattr(charter, misspelt)


def test_calls_are_awaited_and_the_loop_goes_on_meanwhile(served):
    async def both():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        samples = await charter.aio.call(served.client.policy.generate, [Prompt.of("wash")], n=2, max_tokens=4)
        ticking.cancel()
        return samples, ticks

    samples, ticks = asyncio.run(both())
    assert len(samples) == 2 and ticks > 10


def test_many_calls_wait_at_once_whatever_the_machine():
    together = threading.Barrier(100)

    async def all_of_them():
        return await asyncio.gather(*(charter.aio.call(together.wait, 20) for _ in range(100)))

    assert sorted(asyncio.run(all_of_them())) == list(range(100))


def test_pieces_come_one_by_one_and_leaving_early_ends_the_call(served):
    async def first_and_all():
        pieces = [piece async for piece in charter.aio.each(served.client.policy.generate_stream, Prompt.of("wash"))]
        stream = charter.aio.each(served.client.policy.generate_stream, Prompt.of("wash"))
        first = await anext(stream)
        await stream.aclose()
        return pieces, first

    pieces, first = asyncio.run(first_and_all())
    assert pieces[-1].sample is not None
    assert "".join(piece.text for piece in pieces) == pieces[-1].sample.response
    assert first.text == pieces[0].text


def test_errors_of_awaited_calls_are_those_of_the_call(served):
    with pytest.raises(charter.errors.NotFound, match="run-nobody"):
        asyncio.run(charter.aio.call(served.client.trainer.get_run, "run-nobody"))
