"""`charter console` as a process: pages on a data folder, without a model and without a port for gRPC."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.store.store import Store
from services.cli.main import app
from tests.services.cli.test_cli_serve import MAIN, environment


def test_the_pages_are_there_at_once_and_ctrl_c_ends_them(tmp_path: Path):
    with closing(Store.open(tmp_path)) as store:
        run = store.runs.create("pipeline", "{}", "k", "", "mine")
    command = [sys.executable, "-c", MAIN, "console", "127.0.0.1:0", "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        found = re.fullmatch(r"console on (http://127\.0\.0\.1:\d+); stop with Ctrl-C\n", process.stdout.readline())
        assert found
        page = httpx2.get(f"{found[1]}/runs", timeout=30)
        assert page.status_code == 200 and run.short_id in page.text and "mine" in page.text
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert not list(tmp_path.glob("*.sock"))


@pytest.mark.parametrize(
    ("address", "made", "error", "told"),
    [
        ("127.0.0.1:0", False, NotFound, "no data folder"),
        ("0.0.0.0:0", True, InvalidInput, "can be reached from other machines"),
        ("nowhere", True, InvalidInput, "nowhere"),
    ],
)
def test_a_wrong_console_is_told(tmp_path: Path, address, made, error, told):
    data = tmp_path / "data"
    if made:
        Store.open(data).close()
    failed = CliRunner().invoke(app, ["console", address, "--data", str(data)])
    assert isinstance(failed.exception, error) and told in str(failed.exception)
