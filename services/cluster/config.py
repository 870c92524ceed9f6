"""What `charter cluster up` asks of a Ray cluster: the processes, what each reserves, and Serve's own configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import Field

from rlhf_core.config.base import Settings
from rlhf_core.config.feedback import FeedbackConfig
from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import InvalidInput
from services.cluster.calls import servicer_functions
from services.server.config import WITH_MODEL, WITHOUT_MODEL, ServeConfig, ServerConfig
from services.wire.metadata import SERVE_APPLICATION

_, APPLICATION = SERVE_APPLICATION
BUILD = f"{__package__}.processes:build"
"""By the package's own name, which a wheel changes."""
FRONT, WORKER = "front", "worker"
SECRETS: dict[str, Any] = {"server": {"store"}, "token": True}
"""What the nodes' environment may give instead: CHARTER_STORE and CHARTER_TOKEN."""
STOP_SECONDS = 10.0
"""What a process gets beyond the times of its own to stop."""


class Reserved(NamedTuple):
    """What one process reserves of the node that it runs on."""

    cpus: float
    gpus: int

    @property
    def resources(self) -> dict[str, float]:
        """By the names that Ray has for them."""
        return {"CPU": self.cpus} | ({"GPU": float(self.gpus)} if self.gpus else {})


class Cluster(Settings):
    """The processes of one installation on Ray."""

    server: ServerConfig = ServerConfig()
    """Of every process; where it listens and what it offers is said by its role."""
    model: ModelConfig = ModelConfig()
    feedback: FeedbackConfig = FeedbackConfig()
    constitution: str = ""
    token: str = ""
    port: int = Field(default=9000, ge=1, lt=2**16)
    """Where Serve's proxy takes gRPC on every node."""
    workers: int = Field(default=1, ge=1)
    """Processes that carry out runs, each one at a time."""
    replicas: int = Field(default=1, ge=1)
    """Processes of each service with a model."""
    learners: int | None = Field(default=None, ge=1, le=4096)
    """Processes in which each run trains, as a Ray Train job; None leaves it to the run, 1 trains in its worker."""
    cpus: float | None = Field(default=None, ge=0)
    """What each process reserves; None: as many as the model has threads, and 1 without a model."""

    def process(self, role: str, address: str, asked: str = "") -> ServeConfig:
        """Return what a process of this role is; a worker finds the services with a model at the address `asked`."""
        others: dict[str, tuple[str, ...]] = {FRONT: WITHOUT_MODEL, WORKER: ("trainer",)}
        only = others.get(role, (role,))
        endpoints = {name: asked or None for name in WITH_MODEL}
        own = {"address": address, "only": only, "works": role == WORKER, "endpoints": endpoints, "token": self.token}
        parts = {"model": self.model, "feedback": self.feedback, "constitution": self.constitution}
        return ServeConfig.model_validate({**self.server.model_dump(), **own, **parts})

    def copies(self, role: str) -> int:
        """Return how many processes there are of a role."""
        return {FRONT: 1, WORKER: self.workers}.get(role, self.replicas)

    def reserved(self, role: str) -> Reserved:
        """Return what one process of a role reserves."""
        threads = 1 if role == FRONT else self.model.threads
        return Reserved(threads if self.cpus is None else self.cpus, int(role != FRONT and self.model.device == "cuda"))

    @property
    def learner(self) -> Reserved:
        """What one learner reserves: its threads, as `learner.threads` has them by default."""
        threads = max(1, self.model.threads // (self.learners or 1))
        return Reserved(threads if self.cpus is None else self.cpus, int(self.model.device == "cuda"))

    @property
    def together(self) -> Counter[Reserved]:
        """How often as much must be free on one node: for a process, or for a worker and the learners of its run."""
        found: Counter[Reserved] = Counter()
        for role in (*WITH_MODEL, FRONT):
            found[self.reserved(role)] += self.copies(role)
        learners = self.learners if self.learners and self.learners > 1 else 0
        worker, learner = self.reserved(WORKER), self.learner
        whole = Reserved(worker.cpus + learners * learner.cpus, worker.gpus + learners * learner.gpus)
        found[whole] += self.workers
        return found

    def on_node(self, environ: Mapping[str, str]) -> Cluster:
        """Fill in what the environment of a node knows and the configuration leaves out. Raises as `check_open`."""
        store = self.server.store or environ.get("CHARTER_STORE", "")
        artifacts = self.server.artifacts or environ.get("CHARTER_ARTIFACTS", "")
        places = {"store": store, "artifacts": artifacts, "data": self.server.data.absolute()}
        server = self.server.model_copy(update=places)
        whole = self.model_copy(update={"server": server, "token": self.token or environ.get("CHARTER_TOKEN", "")})
        # Here again: what Serve is given may come of `--dry-run`, which prints no token, or of a RayService.
        check_open(whole)
        return whole

    def stop_seconds(self, role: str) -> float:
        """Return how long a process may take to stop; the front carries out no run that would have to be put back."""
        pause = self.server.pause_seconds if role == WORKER else 0.0
        return pause + self.server.grace_seconds + STOP_SECONDS


def check_open(cluster: Cluster) -> None:
    """Refuse, by an InvalidInput, processes without tokens: Serve's proxy listens on all addresses of a node."""
    if not (cluster.token or cluster.server.tokens or cluster.server.insecure):
        raise InvalidInput(
            "token: every node answers whoever reaches its port; give --token, or --insecure to ask for none", "token"
        )


def serve_application(cluster: Cluster, secrets: bool) -> dict[str, Any]:
    """Write the application as Serve's configuration file has it; without `secrets` the nodes' environment has them."""
    left_out = {} if secrets else SECRETS
    args = cluster.model_dump(mode="json", exclude_defaults=True, exclude=left_out)
    return {"name": APPLICATION, "route_prefix": f"/{APPLICATION}", "import_path": BUILD, "args": args}


def serve_config(cluster: Cluster, secrets: bool = True) -> dict[str, Any]:
    """Write Serve's whole configuration: what `serve deploy` takes, and a RayService as its `serveConfigV2`."""
    return {
        "proxy_location": "EveryNode",
        "grpc_options": {"port": cluster.port, "grpc_servicer_functions": list(servicer_functions())},
        "applications": [serve_application(cluster, secrets)],
    }
