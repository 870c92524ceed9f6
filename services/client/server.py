"""The client of ServerService: what a server is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from charter.v1 import server_pb2, server_pb2_grpc

from services.client.connection import Connection
from services.wire import enums


class ServedModel(NamedTuple):
    """A model with its role, and where it runs: `local`, or an endpoint's address."""

    role: str
    model: str
    place: str


class ServerLimits(NamedTuple):
    """What a request may ask for; 0 where no service of the server has that limit."""

    max_message_bytes: int
    max_concurrent_calls: int
    max_length: int
    default_max_tokens: int
    max_n: int
    max_page_size: int
    max_concurrent_calls_per_client: int
    max_text_characters: int
    max_name_characters: int
    max_items: int
    max_responses: int
    max_waiting_rows: int
    max_dataset_bytes: int


class ServerFacts(NamedTuple):
    version: str
    api_versions: tuple[str, ...]
    services: tuple[str, ...]
    versions: Mapping[str, str]
    """Of what Charter runs on, by name."""
    models: tuple[ServedModel, ...]
    device: str
    limits: ServerLimits
    default_constitution: str
    carries_out_runs: bool
    """Whether somebody takes runs from this server's queue now."""


class ServerClient:
    def __init__(self, connection: Connection):
        self._connection = connection
        self._stub = server_pb2_grpc.ServerServiceStub(connection.channel)

    def get_info(self) -> ServerFacts:
        info = self._connection.call(self._stub.GetInfo, server_pb2.GetInfoRequest()).info
        return ServerFacts(
            version=info.version,
            api_versions=tuple(info.api_versions),
            services=tuple(info.services),
            versions=dict(info.versions),
            models=tuple(ServedModel(**enums.fields(model)) for model in info.models),
            device=info.device,
            limits=ServerLimits(**enums.fields(info.limits)),
            default_constitution=info.default_constitution,
            carries_out_runs=info.carries_out_runs,
        )
