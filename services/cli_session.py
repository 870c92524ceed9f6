"""How a verb reaches a server: the one at --address, or one of its own on the data folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlhf_core.config import ModelConfig
from rlhf_core.errors import NotFound
from rlhf_core.records import Run
from services.clients import CharterClient

LAST = "last"


@contextmanager
def open_client(
    address: str, token: str, data: Path, model: ModelConfig | None = None, *, works: bool = False
) -> Iterator[CharterClient]:
    """A client of the server at `address`, or of an embedded one on `data`; only with `works` does that one take runs up.

    Without `model` the embedded server loads the one that the newest run of the data folder used.
    """
    from services.embedded import embedded

    with embedded(data) as client:
        yield client


def find_run(client: CharterClient, run_id: str) -> Run:
    """The run of that id; `last` is the newest one."""
    if run_id != LAST:
        return client.trainer.get_run(run_id)
    newest = client.trainer.list_runs(1).runs
    if not newest:
        raise NotFound("no runs yet; start one with: charter demo")
    return newest[0]
