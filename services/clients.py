"""The Python client of all services."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from services.channel import Connection
from services.constitution_client import ConstitutionClient
from services.model_clients import CritiqueClient, PolicyClient, RewardClient
from services.preference_client import PreferenceClient
from services.server_client import ServerClient
from services.tls import ClientTls
from services.trainer_client import TrainerClient


class CharterClient:
    """A connection to a Charter server, with a client for each service, and one for what concerns constitutions."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self.address = connection.address
        self.policy = PolicyClient(connection)
        self.critique = CritiqueClient(connection)
        self.constitution = ConstitutionClient(connection)
        self.reward = RewardClient(connection)
        self.preference = PreferenceClient(connection)
        self.trainer = TrainerClient(connection)
        self.server = ServerClient(connection)

    @classmethod
    def connect(
        cls,
        address: str,
        token: str = "",
        timeout_seconds: float = 600.0,
        patience_seconds: float = 0.0,
        tls: ClientTls | None = None,
    ) -> CharterClient:
        """`host:port`, `https://host:port` or `unix:/path`. Connects with the first call, bounded by `timeout_seconds`.

        For `patience_seconds` a call is made again while its server is away or too busy; see `Connection`.
        """
        return cls(Connection(address, token, timeout_seconds, patience_seconds, tls))

    def until(self, unwanted: Callable[[], bool], run_id: str = "") -> CharterClient:
        """A client for one piece of work, on the same connection: patient only until that is unwanted."""
        return CharterClient(self._connection.until(unwanted, run_id))

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> CharterClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
