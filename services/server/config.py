"""What one server process offers, where, and which other processes it works with."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

from rlhf_core.config.base import Settings
from rlhf_core.config.feedback import FeedbackConfig
from rlhf_core.config.labelling import LabellingConfig
from rlhf_core.config.run import ModelConfig
from services.security.tls import TlsConfig
from services.server.limits import Limits
from services.telemetry.logs import LogFormat, LogLevel

ServiceName = Literal["policy", "critique", "reward", "preference", "trainer"]
ALL: tuple[ServiceName, ...] = get_args(ServiceName)
WITH_MODEL: tuple[ServiceName, ...] = ("policy", "critique", "reward")
WITHOUT_MODEL: tuple[ServiceName, ...] = ("preference", "trainer")
MODELS: dict[ServiceName, tuple[str, ...]] = {
    "policy": ("policy",),
    "critique": ("critic", "judge"),
    "reward": ("reward",),
    "trainer": ("training",),
}
"""The models behind each service, as health knows them: `model:critic`."""

SERVER = "charter.v1.ServerService"
"""What every process offers."""
POLICY = "charter.v1.PolicyService"

DATASETS = "charter.v1.DatasetService"
EXPLORATION = "charter.v1.ExplorationService"
STUDIES = "charter.v1.StudyService"
WITH_RUNS = (DATASETS, EXPLORATION, STUDIES)
"""What every process offers that takes in runs, which name datasets and make samples; a study is a run."""
ASSESSMENTS = "charter.v1.AssessmentService"
ANNOTATION = "charter.v1.AnnotationService"
WITH_LABELS = (ASSESSMENTS, ANNOTATION)
"""What every process offers that takes people's labels."""


def offered(only: Collection[ServiceName]) -> list[str]:
    """Return the full names of the services that these stand for, in their usual order."""
    names = [f"charter.v1.{name.capitalize()}Service" for name in ALL if name in only]
    with_runs = WITH_RUNS if "trainer" in only else ()
    return [*names, *with_runs, *(WITH_LABELS if "preference" in only else ())]


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if text.startswith("unix:/") or (host and colon and port.isdecimal() and 0 < int(port) < 2**16):
        return text
    raise ValueError(f"'{text}' is not an address; write it as host:port or unix:/path")


ServiceAddress = Annotated[str, AfterValidator(_address)]


def _page(text: str) -> str:
    if text.startswith("unix:"):
        raise ValueError(f"'{text}' is a socket; write it as host:port")
    return _address(text)


PageAddress = Annotated[str, AfterValidator(_page)]


class Endpoints(Settings):
    """Where the services are that a run's worker asks; null means this process."""

    policy: ServiceAddress | None = None
    critique: ServiceAddress | None = None
    reward: ServiceAddress | None = None

    def of(self, name: ServiceName) -> str:
        """Return the address of a service; empty where it is in this process."""
        return getattr(self, name) or ""


class HttpConfig(Settings):
    """The HTTP edge, beside gRPC in the same process, with the same tokens, encryption and limits."""

    address: str | None = None
    """host:port (port 0 takes a free one); None serves none. Needs the extra `http`."""
    run: str = ""
    """The run whose reward models score where a request names none, by its id; none: each request must name one."""


class ConsoleConfig(Settings):
    """The console: pages for people, beside gRPC in the same process, with the same tokens, encryption and limits."""

    address: str | None = None
    """host:port (port 0 takes a free one); None serves none. Needs the extra `console`."""
    hosts: tuple[str, ...] = ()
    """Other names by which browsers reach it, such as that of a proxy; a name that is not known is refused."""


class ServerConfig(Settings):
    """The process itself: what deploy/server.yaml may say."""

    address: str = "127.0.0.1:50051"
    """host:port (port 0 takes a free one) or unix:/path."""
    data: Path = Path("charter-data")
    """Folder of the store, its artifacts and the runs' reports; the same one for all processes of a host."""
    store: str = ""
    """postgresql://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE, for processes of many hosts; empty: where the data folder's
    store is, or else a SQLite file in it."""
    artifacts: str = ""
    """A URL that fsspec knows, such as s3://BUCKET/PATH; empty: where the data folder's are, or else in it."""
    only: tuple[ServiceName, ...] = Field(default=ALL, min_length=1)
    """The services to offer; with preferences come assessments and what measures labels, with the trainer datasets."""
    endpoints: Endpoints = Endpoints()
    works: bool = True
    """Carry out runs, where the trainer is offered and each service with a model is here or has an endpoint."""
    patience_seconds: float = Field(default=600, ge=0)
    """How long a run waits for one of its endpoints that does not answer, before it fails."""
    grace_seconds: float = Field(default=10, ge=0)
    """How long calls at work may take to finish once the process is told to stop."""
    pause_seconds: float = Field(default=60, ge=0)
    """How long a run at work may take to reach its next step then, where it is put back into the queue."""
    http: HttpConfig = HttpConfig()
    console: ConsoleConfig = ConsoleConfig()
    labelling: LabellingConfig = LabellingConfig()
    metrics: PageAddress | None = None
    """host:port of the page /metrics for Prometheus. It tells no text, and asks for no token: so it stays on this
    machine, unless `insecure` allows more."""
    traces: bool = False
    """Send traces by OpenTelemetry to where its own environment variables say; needs the extra `otel`."""
    log_format: LogFormat = "text"
    log_level: LogLevel = "warning"
    """From `info` on every call is a line."""
    tls: TlsConfig = TlsConfig()
    tokens: Path | None = None
    """File of the tokens that calls must carry, each with its scopes; none asks for no token."""
    roots: tuple[Path, ...] | None = (Path("."),)
    """Folders whose files a run may name as its data; None means all that this process can read."""
    limits: Limits = Limits()
    reflects: bool | None = None
    """Describe the methods to whoever asks; None means only where no other machine reaches the address."""
    insecure: bool = False
    """Allow addresses that other machines can reach: the services' without TLS or tokens, and that of the metrics."""


class ServeConfig(ServerConfig):
    """The process and what it computes with."""

    model: ModelConfig = ModelConfig()
    feedback: FeedbackConfig = FeedbackConfig()
    constitution: str = ""
    """The default one: a built-in name, or a file to follow; none means that of the base model."""
    token: str = ""
    """A token that may do everything, beside those of `tokens`; this process shows it to its endpoints too."""

    @property
    def carries_out_runs(self) -> bool:
        """Whether a run that is queued here finds all that it needs."""
        elsewhere = {name for name in WITH_MODEL if self.endpoints.of(name)}
        return self.works and "trainer" in self.only and set(WITH_MODEL) <= {*self.only, *elsewhere}

    @property
    def models(self) -> tuple[str, ...]:
        """The models that this process loads or asks, as health knows them."""
        loading = {*self.only} - (set() if self.carries_out_runs else {"trainer"})
        return tuple(model for name in ALL if name in loading for model in MODELS.get(name, ()))
