"""A server without a model that takes in runs, and ways to call it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from charter.v1 import trainer_pb2, trainer_pb2_grpc

from rlhf_core.config.run import RunConfig
from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process
from services.client.client import CharterClient
from services.client.connection import Connection
from services.embedded import embedded_server

CONFIG = RunConfig(constitution="household")


class RunServer:
    """A server without a model on a folder, and two ways to call it."""

    def __init__(self, address: str):
        self.client = CharterClient.connect(address, timeout_seconds=30)
        self.connection = Connection(address, timeout_seconds=30)
        self.stub = trainer_pb2_grpc.TrainerServiceStub(self.connection.channel)

    def create(self, count: int = 1) -> list[str]:
        return [self.client.trainer.create_run(CONFIG).id for _ in range(count)]

    def ask(self, method: str, **fields: object) -> Any:
        """One call by the method's name and its request's fields; raises what the client would."""
        request = getattr(trainer_pb2, f"{method}Request")(**fields)
        return self.connection.call(getattr(self.stub, method), request)

    def close(self) -> None:
        self.connection.close()
        self.client.close()


@contextmanager
def run_server(data: Path) -> Iterator[RunServer]:
    """A server that takes in runs, as if a worker were there: they stay in the queue."""
    store = Store.open(data)
    store.workers.sign_in(this_process())
    store.close()
    with embedded_server(data, None) as address:
        server = RunServer(address)
        try:
            yield server
        finally:
            server.close()
