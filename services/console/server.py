"""The console: pages on which people label, look on and decide. A client of the services, never of the store."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from rlhf_core.errors import CharterError
from services.console.backend import Backend
from services.console.comparison import Comparison
from services.console.constitution import Constitution
from services.console.datasets import Datasets
from services.console.exploration import Exploration
from services.console.faults import Faults
from services.console.guard import Guard
from services.console.labelling import Labelling
from services.console.pages import HERE, Pages
from services.console.policies import Policies
from services.console.runs import Runs
from services.console.sign_in import SignIn
from services.http.listener import Listener
from services.security.tls import TlsConfig
from services.server.config import ConsoleConfig
from services.server.limits import Limits
from services.server.server import is_local

FIELD = "console.address"
LOCAL = ("localhost", "127.0.0.1", "[::1]")


class Console:
    """The console on its listener's address, which answers from `open` on; calls wait for no model."""

    def __init__(self, config: ConsoleConfig, tls: TlsConfig, limits: Limits, may_be_open: bool, target: str):
        """`target` is where this process's own gRPC server is reached. Raises InvalidInput for an address that
        is taken, none, or open to others where it may not be."""
        address = config.address or ""
        self._backend = Backend(target)
        app = _application(self._backend, _hosts(address, config.hosts), limits.dataset_bytes)
        self.listener = Listener(app, address, tls, limits.calls, may_be_open, FIELD)

    async def close(self) -> None:
        await self.listener.close()
        await self._backend.close()


def _application(backend: Backend, hosts: tuple[str, ...], upload_bytes: int) -> Starlette:
    pages = Pages(backend)
    kinds = (SignIn, Labelling, Faults, Runs, Comparison, Exploration, Policies, Constitution, Datasets)
    subjects = [kind(pages, backend) for kind in kinds]
    return Starlette(
        routes=[
            Route("/", pages.home),
            *(route for subject in subjects for route in subject.routes()),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
            Middleware(Guard, upload_bytes=upload_bytes),
        ],
        exception_handlers={CharterError: pages.failed, HTTPException: pages.failed},
    )


def _hosts(address: str, named: tuple[str, ...]) -> tuple[str, ...]:
    """The names by which a browser may ask. Where no token is asked for, another site's name could lead here too."""
    if not is_local(address):
        return named or ("*",)
    return (*LOCAL, address.rpartition(":")[0], *named)
