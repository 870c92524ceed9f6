"""ServerService: what a server process is, for whoever wants to know before asking it for work."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import NamedTuple

import grpc
from charter.v1 import policy_pb2, server_pb2, server_pb2_grpc

from rlhf_core.config.feedback import BackendConfig
from rlhf_core.inference.sequence import MAX_N
from rlhf_core.store.databases.sqlite import engine
from services.security.callers import CALLER
from services.server.config import ServeConfig, offered
from services.server.limits import MAX_NAME
from services.serving.executor import Executor
from services.wire.paging import MAX_PAGE

API_VERSIONS = ("v1",)
LIBRARIES = ("grpcio", "protobuf")
WITH_MODEL = ("torch", "transformers")


class Loaded(NamedTuple):
    """The models of a process, as far as callers know them."""

    policy: str
    critic: str
    judges: Sequence[str]
    """The one judge, or all of a panel."""
    max_length: int
    """Longest prompt and response together, in tokens."""


class ServerService(server_pb2_grpc.ServerServiceServicer):
    def __init__(self, info: server_pb2.ServerInfo, carried_out: Callable[[], bool], io: Executor):
        """`carried_out` says whether anybody takes runs from the queue now."""
        self._info = info
        self._carried_out = carried_out
        self._io = io

    async def GetInfo(
        self, request: server_pb2.GetInfoRequest, context: grpc.aio.ServicerContext
    ) -> server_pb2.GetInfoResponse:
        name, scopes = CALLER.get()
        answer = server_pb2.GetInfoResponse(info=self._info, caller=server_pb2.Caller(name=name, scopes=scopes))
        answer.info.carries_out_runs = await self._io.run(self._carried_out)
        return answer


def server_info(config: ServeConfig, loaded: Loaded | None, default_constitution: str) -> server_pb2.ServerInfo:
    """Return all that does not change while the process lives."""
    return server_pb2.ServerInfo(
        version=version("charter-rlhf"),
        api_versions=API_VERSIONS,
        services=offered(config.only),
        versions=_versions(loaded is not None),
        models=_models(config, loaded) if loaded else (),
        device=config.model.device if loaded else "",
        limits=server_pb2.ServerLimits(
            max_message_bytes=config.limits.message_bytes,
            max_concurrent_calls=config.limits.calls,
            max_length=loaded.max_length if loaded else 0,
            default_max_tokens=config.model.max_tokens if loaded else 0,
            max_n=MAX_N if "policy" in config.only else 0,
            max_page_size=MAX_PAGE,
            max_concurrent_calls_per_client=config.limits.calls_per_client,
            max_text_characters=config.limits.text_characters,
            max_name_characters=MAX_NAME,
            max_items=config.limits.items,
            max_responses=config.limits.responses if "policy" in config.only else 0,
            max_waiting_rows=config.limits.waiting_rows if loaded else 0,
            max_dataset_bytes=config.limits.dataset_bytes if "trainer" in config.only else 0,
        ),
        default_constitution=default_constitution,
        carries_out_runs=config.carries_out_runs,
    )


def policy_info(info: server_pb2.ServerInfo, loaded: Loaded) -> policy_pb2.GetServerInfoResponse:
    """Return the same facts, in the words of PolicyService."""
    return policy_pb2.GetServerInfoResponse(
        version=info.version,
        api_versions=info.api_versions,
        services=info.services,
        base_model=loaded.policy,
        device=info.device,
        max_length=info.limits.max_length,
        max_tokens=info.limits.default_max_tokens,
        max_message_bytes=info.limits.max_message_bytes,
        default_constitution=info.default_constitution,
        info=info,
    )


def _versions(with_model: bool) -> Mapping[str, str]:
    libraries = {name: version(name) for name in (*LIBRARIES, *(WITH_MODEL if with_model else ()))}
    return {"python": platform.python_version(), "sqlite": engine().version, **libraries}


def _models(config: ServeConfig, loaded: Loaded) -> list[server_pb2.ServedModel]:
    models = [server_pb2.ServedModel(role="policy", model=loaded.policy, place="local")]
    if "critique" in config.only:
        judges = zip(loaded.judges, config.feedback.judges().values(), strict=True)
        served = [("critic", loaded.critic, config.feedback.critic), *(("judge", *judge) for judge in judges)]
        models += [
            server_pb2.ServedModel(role=role, model=name, place=_place(backend)) for role, name, backend in served
        ]
    return models


def _place(config: BackendConfig) -> str:
    return str(config.endpoint.base_url) if config.served_name else "local"
