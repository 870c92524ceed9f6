"""Calls to services that are still to come: told when to try again, and answered once they are there."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from charter.v1 import reward_pb2, reward_pb2_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from rlhf_core.errors import Loading
from services.client.connection import OPTIONS
from services.server.server import Server, Service
from services.wire.status import error_from_call

REWARD = "charter.v1.RewardService"


class Answering(reward_pb2_grpc.RewardServiceServicer):
    async def Score(self, request, context):
        return reward_pb2.ScoreResponse(norm_pack="there")


async def opened(path) -> Server:
    server = Server(f"unix:{path}/s")
    await server.open([REWARD], [])
    return server


def test_a_call_while_the_model_loads_is_told_why_and_when_to_try_again(tmp_path):
    async def scenario() -> grpc.aio.AioRpcError:
        server = await opened(tmp_path)
        options = [("grpc.enable_retries", 0)]
        async with grpc.aio.insecure_channel(server.address, options=options) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await reward_pb2_grpc.RewardServiceStub(channel).Score(reward_pb2.ScoreRequest(), timeout=10)
        await server.close()
        return caught.value

    error = asyncio.run(scenario())
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    status = rpc_status.from_call(error)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status is not None and status.details[0].Unpack(info) and status.details[1].Unpack(retry)
    assert (info.reason, retry.retry_delay.seconds) == ("LOADING", 1)
    assert str(error_from_call(error, "here")) == "the model is being loaded; try again in a moment"
    assert type(error_from_call(error, "here")) is Loading


def test_a_client_that_calls_while_the_model_loads_is_answered_when_it_is_there(tmp_path):
    async def scenario() -> str:
        server = await opened(tmp_path)
        async with grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel:
            call = reward_pb2_grpc.RewardServiceStub(channel).Score(reward_pb2.ScoreRequest(), timeout=10)
            await asyncio.sleep(0.1)
            await server.offer([Service(REWARD, reward_pb2_grpc.add_RewardServiceServicer_to_server, Answering())])
            answer = await call
        await server.close()
        return answer.norm_pack

    assert asyncio.run(scenario()) == "there"
