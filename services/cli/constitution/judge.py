"""Reaching a judge from the command line: a server's, or one of this process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from services.cli.preflight import check_model, check_other_models
from services.cli.run_config import load_config
from services.cli.session import config_of_folder, open_client
from services.client.client import CharterClient


@contextmanager
def open_judge(file: str, overrides: Sequence[str], address: str, token: str, data: Path) -> Iterator[CharterClient]:
    """Open a client of the server at `address`, or else of an embedded one with the judge that the configuration names.

    No configuration means that of the newest run of `data`; where `data` is not there, nothing is left behind.
    """
    with ExitStack() as stack:
        if address:
            yield stack.enter_context(CharterClient.connect(address, token))
            return
        config = load_config(file or None, overrides) if file or overrides else config_of_folder(data)
        check_model(config.model)
        check_other_models(config.feedback)
        folder = data if data.is_dir() else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="charter-")))
        yield stack.enter_context(open_client("", "", folder, config.model, feedback=config.feedback))
