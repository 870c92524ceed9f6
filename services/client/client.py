"""The Python client of all services."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import TracebackType

from rlhf_core.errors import InvalidInput
from services.client.annotation import AnnotationClient
from services.client.assessment import AssessmentClient
from services.client.connection import Connection
from services.client.constitution import ConstitutionClient
from services.client.critique import CritiqueClient
from services.client.dataset import DatasetClient
from services.client.exploration import ExplorationClient
from services.client.policy import PolicyClient
from services.client.preference import PreferenceClient
from services.client.reward import RewardClient
from services.client.server import ServerClient
from services.client.study import StudyClient
from services.client.trainer import TrainerClient
from services.security.tls import ClientTls

SERVICES = ("policy", "critique", "reward", "preference", "trainer")
BESIDE = {
    **{"dataset": "trainer", "exploration": "trainer", "study": "trainer"},
    **{"annotation": "preference", "assessment": "preference"},
}
"""Services that are where another one is: datasets, studies and what is asked of samples, where runs are taken in."""


class CharterClient:
    """A connection to a Charter server, with a client for each service, and one for what concerns constitutions."""

    def __init__(self, connection: Connection, elsewhere: Mapping[str, Connection] | None = None):
        """`elsewhere` are the services that have a connection of their own, by name."""
        self._connection, self._elsewhere = connection, dict(elsewhere or {})
        self.address = connection.address
        self.policy = PolicyClient(self._at("policy"))
        self.critique = CritiqueClient(self._at("critique"))
        self.constitution = ConstitutionClient(self._at("critique"))
        self.reward = RewardClient(self._at("reward"))
        self.preference = PreferenceClient(self._at("preference"))
        self.annotation = AnnotationClient(self._at("annotation"))
        self.assessments = AssessmentClient(self._at("assessment"))
        self.trainer = TrainerClient(self._at("trainer"))
        self.datasets = DatasetClient(self._at("dataset"))
        self.studies = StudyClient(self._at("study"))
        self.exploration = ExplorationClient(self._at("exploration"))
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
        """Connect to `host:port`, `https://host:port` or `unix:/path` with the first call.

        Connecting is bounded by `timeout_seconds`.

        Where each service has a process of its own, name them: `policy=host:50051,trainer=host:50055`; the first
        one is asked for services that are not named.
        For `patience_seconds` a call is made again while its server is away or too busy; see `Connection`.
        """
        at = addresses_of(address)
        open_ = {text: Connection(text, token, timeout_seconds, patience_seconds, tls) for text in set(at.values())}
        first, *_ = at.values()
        return cls(open_[first], {name: open_[text] for name, text in at.items() if name})

    def until(self, unwanted: Callable[[], bool], run_id: str = "") -> CharterClient:
        """Return a client for one piece of work, on the same connection: patient only until that is unwanted."""
        elsewhere = {name: each.until(unwanted, run_id) for name, each in self._elsewhere.items()}
        return CharterClient(self._connection.until(unwanted, run_id), elsewhere)

    def address_of(self, service: str) -> str:
        """Return where a service is, by its short or its full name (`policy`, `charter.v1.PolicyService`)."""
        return self._at(service.rpartition(".")[2].removesuffix("Service").lower()).address

    def close(self) -> None:
        for connection in (self._connection, *self._elsewhere.values()):
            connection.close()

    def _at(self, service: str) -> Connection:
        return self._elsewhere.get(BESIDE.get(service, service), self._connection)

    def __enter__(self) -> CharterClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def addresses_of(text: str) -> dict[str, str]:
    """Read addresses by service, of `policy=host:50051,trainer=host:50055`; one address alone stands under no name.

    Raises InvalidInput for a name that no service has.
    """
    if not re.match(r"[\w-]+=", text):
        return {"": text}
    parts = (part.strip().partition("=") for part in text.split(","))
    found = {name: address for name, _, address in parts}
    for name in found:
        if name not in SERVICES:
            raise InvalidInput(f"address: no service is called '{name}'; allowed: {', '.join(SERVICES)}", "address")
    return found
