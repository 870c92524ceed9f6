"""The same server inside this process: on a Unix socket, in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_core.config.feedback import FeedbackConfig
from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import InvalidInput
from services.app import App
from services.server.config import ALL, WITHOUT_MODEL, ServeConfig

if TYPE_CHECKING:
    from services.worker import Pipeline

SOCKET = "charter.sock"
MAX_PATH = 90
"""Bytes that a socket's path may have on every system."""


@contextmanager
def embedded_server(
    data: Path,
    model: ModelConfig | None,
    *,
    feedback: FeedbackConfig | None = None,
    works: bool = True,
    pipeline: Pipeline | None = None,
) -> Iterator[str]:
    """Run a server on the data folder while the block lasts, and yield its address; with `works` it carries out runs.

    Without a model only runs and preferences are served, and no run is carried out: quick to start.
    Raises what the user got wrong, such as a model that is not there.
    """
    with socket_path(data) as path:
        config = ServeConfig(
            address=f"unix:{path}",
            data=data,
            model=model or ModelConfig(),
            feedback=feedback or FeedbackConfig(),
            only=ALL if model else WITHOUT_MODEL,
            works=works,
            # Whoever reaches this server's socket could read the files anyway.
            roots=None,
        )
        app = App(config, pipeline)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="charter-server", daemon=True)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(app.start(), loop).result()
            try:
                yield app.address
            finally:
                asyncio.run_coroutine_threadsafe(app.stop(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


@contextmanager
def socket_path(data: Path) -> Iterator[Path]:
    """Yield a socket's path in the data folder, or in a temporary one where that path would be too long for a socket.

    Each process has its own name, so that two may work on one folder.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"data: '{data}' cannot be made a folder: {error.strerror}", "data") from None
    path = data.absolute() / f"{os.getpid()}-{SOCKET}"
    if len(os.fsencode(path)) <= MAX_PATH:
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
        return
    with tempfile.TemporaryDirectory(prefix="charter-") as folder:
        yield Path(folder) / SOCKET
