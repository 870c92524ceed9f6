"""Charter as others import it: `connect` to a server, or have one of your own with `local`.

`charter.records` are what clients take and give, `charter.errors` what they raise, `charter.aio` awaits their calls.
`charter.v1` holds the contracts' stubs, for those who want nothing else, and `charter.integrations` is for trainers
elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charter import aio, errors, records
    from rlhf_core.config.run import ModelConfig
    from services.client.client import CharterClient

__all__ = ["aio", "connect", "errors", "local", "records"]


def connect(
    address: str, *, token: str = "", timeout_seconds: float = 600.0, patience_seconds: float = 0.0
) -> CharterClient:
    """Return a client of the server at `host:port`, `https://host:port` or `unix:/path`; it is a context manager.

    Args:
        address: Where the server is; the first call connects.
        token: The bearer token; empty means that of CHARTER_TOKEN, if any.
        timeout_seconds: How long one call may take.
        patience_seconds: How long a call is made again while its server is away or too busy.

    Raises:
        InvalidInput: what can be no address or no token.
    """
    from services.client.client import CharterClient

    return CharterClient.connect(
        address, token or os.environ.get("CHARTER_TOKEN", ""), timeout_seconds, patience_seconds
    )


@contextmanager
def local(data: str | Path = "charter-data", model: str | ModelConfig | None = "sandbox") -> Iterator[CharterClient]:
    """Give a client of a server inside this process, on a data folder, while the block lasts; it carries out runs.

    Args:
        data: The folder, made if it is not there.
        model: `sandbox`, `smollm2`, a model's folder, a GGUF file, or a Hugging Face id; or a `ModelConfig`, with
            its device, threads and so on. None loads no model: what is stored is there at once, and nothing is
            generated, scored or trained.

    Raises:
        InvalidInput: a folder or a model that cannot be used.
    """
    from rlhf_core.config.run import ModelConfig
    from services.client.client import CharterClient
    from services.embedded import embedded_server

    chosen = ModelConfig(base_model=model) if isinstance(model, str) else model
    with embedded_server(Path(data), chosen) as address, CharterClient.connect(address) as client:
        yield client


def __getattr__(name: str) -> ModuleType:
    # So that the stubs alone need neither records nor clients.
    if name in ("aio", "errors", "records"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'; it has {', '.join(__all__)}")
