"""A Ray cluster by the address of its dashboard, which Ray's own client of Serve and KubeRay speak to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from rlhf_core.errors import InvalidInput, Unavailable

EXTRA = "pip install -e '.[ray]' in the project's folder"


class Node(NamedTuple):
    """A machine of the cluster that is alive, and all that it has."""

    name: str
    address: str
    resources: dict[str, float]


class Told(BaseModel):
    """What Ray says of itself; newer versions may say more."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Replica(Told):
    """A process of a deployment."""

    replica_id: str
    state: str
    pid: int | None = None
    node_ip: str | None = None


class Deployment(Told):
    """The processes of a role."""

    name: str
    status: str
    message: str = ""
    replicas: tuple[Replica, ...] = ()


class Application(Told):
    """An application of Serve; `deployed_app_config` is how it was asked for, if by configuration."""

    status: str
    message: str = ""
    deployments: dict[str, Deployment] = Field(default_factory=dict)
    deployed_app_config: dict[str, Any] | None = None


class Grpc(Told):
    """What Serve's gRPC proxies were started with."""

    port: int = 9000
    grpc_servicer_functions: tuple[str, ...] = ()


class Serving(Told):
    """All that Serve runs on the cluster; before it is started there is nothing."""

    proxy_location: str | None = None
    grpc_options: Grpc | None = None
    applications: dict[str, Application] = Field(default_factory=dict)


class RayDashboard:
    """The cluster's dashboard."""

    def __init__(self, address: str):
        """Connect. Raises InvalidInput for what is no such address, and without Ray; Unavailable where nobody is."""
        if not re.fullmatch(r"https?://[^/\s]+", address.rstrip("/")):
            raise InvalidInput(
                f"--ray: '{address}' is no dashboard's address; allowed: http://HOST:8265, as `ray start --head` says",
                "ray",
            )
        try:  # an optional package
            from ray.dashboard.modules.serve.sdk import ServeSubmissionClient  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise InvalidInput(f"--ray: needs a package: {error}", "ray", hint=EXTRA) from None
        self._address = address.rstrip("/")
        with self._asked():
            self._client = ServeSubmissionClient(self._address)

    def nodes(self) -> list[Node]:
        """List the machines that are alive, which is at least one."""
        from ray.util.state import list_nodes  # pyright: ignore[reportMissingImports]

        with self._asked():
            found = list_nodes(self._address, filters=[("state", "=", "ALIVE")], limit=10_000)
        if not found:
            raise Unavailable(f"--ray: no node of the cluster at {self._address} is alive yet")
        return [Node(node.node_name, node.node_ip, dict(node.resources_total)) for node in found]

    def serving(self) -> Serving:
        """Tell what Serve runs."""
        with self._asked():
            return Serving.model_validate(self._client.get_serve_details())

    def deploy(self, config: dict[str, Any]) -> None:
        """Have Serve run exactly the applications of a configuration, of those that came by one."""
        with self._asked():
            self._client.deploy_applications(config)

    def shut_down(self) -> None:
        """End Serve with all that it runs."""
        with self._asked():
            self._client.delete_applications()

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Say in one line what Ray's client meets while it asks."""
        from ray.exceptions import AuthenticationError  # pyright: ignore[reportMissingImports]
        from ray.util.state.exception import RayStateApiException  # pyright: ignore[reportMissingImports]

        try:
            yield
        except AuthenticationError:
            hint = "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN give it"
            raise InvalidInput(f"--ray: the cluster at {self._address} asks for a token", "ray", hint=hint) from None
        except (OSError, RuntimeError, RayStateApiException) as error:
            reason = str(error).strip().splitlines()[0]
            raise Unavailable(f"--ray: no Ray cluster answers at {self._address}: {reason}") from None
