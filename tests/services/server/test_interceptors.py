"""What stands before a method: every method of the contract has one, and what breaks in it is told as what it is."""

from __future__ import annotations

import asyncio

import grpc
import pytest
import torch
from charter.v1 import (
    critique_pb2_grpc,
    policy_pb2_grpc,
    preference_pb2_grpc,
    reward_pb2,
    reward_pb2_grpc,
    server_pb2_grpc,
    trainer_pb2_grpc,
)
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from services.rpc.critique import CritiqueService
from services.rpc.labelling.preference import PreferenceService
from services.rpc.policy import PolicyService
from services.rpc.reward import RewardService
from services.rpc.server import ServerService
from services.rpc.trainer import TrainerService
from services.server.server import ErrorInterceptor


@pytest.mark.parametrize(
    ("contract", "servicer"),
    [
        (critique_pb2_grpc.CritiqueServiceServicer, CritiqueService),
        (policy_pb2_grpc.PolicyServiceServicer, PolicyService),
        (preference_pb2_grpc.PreferenceServiceServicer, PreferenceService),
        (reward_pb2_grpc.RewardServiceServicer, RewardService),
        (server_pb2_grpc.ServerServiceServicer, ServerService),
        (trainer_pb2_grpc.TrainerServiceServicer, TrainerService),
    ],
)
def test_every_method_of_the_contract_is_implemented(contract, servicer):
    methods = [name for name in vars(contract) if name[0].isupper()]
    assert methods
    assert [name for name in methods if getattr(servicer, name) is getattr(contract, name)] == []


class WithoutKernel(reward_pb2_grpc.RewardServiceServicer):
    async def Score(self, request, context):
        torch.ones(1, device="meta").cpu()


def test_an_operation_that_a_device_lacks_is_our_error_and_not_a_missing_method(tmp_path):
    async def scenario() -> grpc.aio.AioRpcError:
        server = grpc.aio.server(interceptors=[ErrorInterceptor()])
        reward_pb2_grpc.add_RewardServiceServicer_to_server(WithoutKernel(), server)
        server.add_insecure_port(f"unix:{tmp_path}/s")
        await server.start()
        async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await reward_pb2_grpc.RewardServiceStub(channel).Score(reward_pb2.ScoreRequest(), timeout=10)
        await server.stop(None)
        return caught.value

    error = asyncio.run(scenario())
    assert error.code() == grpc.StatusCode.INTERNAL
    status, info = rpc_status.from_call(error), error_details_pb2.ErrorInfo()
    assert status is not None and status.details[0].Unpack(info)
    assert info.reason == "INTERNAL" and "meta" not in status.message
