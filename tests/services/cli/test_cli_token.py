"""`charter token` and the flags of `charter serve` that it goes with."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from rlhf_core.errors import CharterError, Forbidden
from services.cli import main
from services.client.client import CharterClient
from services.security.tokens import Tokens


def charter(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main.main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_a_token_is_printed_once_listed_without_itself_and_revoked(tmp_path, capsys):
    file = tmp_path / "tokens.yaml"
    assert charter("token", "new", "ci", "--scope", "read", "--scope", "train", "--days", "30", "--file", file) == 0
    token = capsys.readouterr().out.strip()
    assert Tokens(file).caller(f"Bearer {token}").scopes == ("read", "train")
    assert charter("token", "list", "--file", file) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("ci: read, train since ") and ", until " in shown and token not in shown
    assert charter("token", "revoke", "ci", "--file", file) == 0
    assert charter("token", "revoke", "ci", "--file", file) == 2
    assert "no token 'ci'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new", "ci", "--scope", "lable"], "unknown scope 'lable', did you mean 'label'?"),
        (["new", "a b", "--scope", "read"], "'a b' is not allowed"),
        (["new", "ci", "--role", "reveiwer"], "unknown role 'reveiwer', did you mean 'reviewer'?"),
        (["new", "ci", "--role", "admin", "--scope", "read"], "give either"),
        (["new", "ci"], "give either --scope, which may be repeated, or --role"),
        (["list"], "charter token new NAME"),
    ],
)
def test_a_wrong_token_command_is_told_without_a_traceback(tmp_path, capsys, arguments, said):
    assert charter("token", *arguments, "--file", tmp_path / "t.yaml") == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


@pytest.mark.slow
def test_a_server_started_with_the_file_asks_for_its_tokens(tmp_path, capsys):
    file, path = tmp_path / "tokens.yaml", tmp_path / "s"
    charter("token", "new", "ann", "--scope", "label", "--file", file)
    token = capsys.readouterr().out.strip()
    arguments = ["serve", "--only", "preference,trainer", "--socket", str(path), "--tokens", str(file)]
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from services.cli.main import main; main()",
            *arguments,
            "--data",
            str(tmp_path / "d"),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None and b"serving on unix:" in process.stdout.readline()
        with CharterClient.connect(f"unix:{path}", token) as client:
            assert client.trainer.list_runs().runs == []
            with pytest.raises(Forbidden, match="CancelRun needs train"):
                client.trainer.cancel_run("x")
        with CharterClient.connect(f"unix:{path}") as client, pytest.raises(CharterError, match="token"):
            client.trainer.list_runs()
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_an_open_address_without_protection_is_refused_before_anything_is_loaded(tmp_path, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ("serve", "--only", "trainer", "--host", "0.0.0.0", "--port", str(port), "--data", tmp_path / "d")
    assert charter(*arguments) == 2
    assert "--insecure" in capsys.readouterr().err
