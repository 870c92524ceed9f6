"""What people get wrong on the command line: one line that says so, exit code 2, and nothing left behind."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from rlhf_core.errors import InvalidInput
from rlhf_core.records.runs import Run
from services.cli import main
from services.cli.refresh import next_round
from services.client.connection import Connection
from services.embedded import embedded_server
from services.process import check_page
from services.server.config import ServerConfig


@pytest.fixture
def charter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`charter(words)` runs a command in an empty folder; gives the exit code and what it complains of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARTER_ADDRESS", raising=False)

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main.main(words)
        return int(ended.value.code or 0), capsys.readouterr().err

    return run


@pytest.mark.parametrize("verb", [["runs"], ["watch"], ["refresh"], ["report"], ["label"], ["gc"], ["pause", "last"]])
def test_a_verb_that_looks_at_a_store_makes_none(charter, tmp_path: Path, verb: list[str]):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for data, told in (("nowhere", "no data folder 'nowhere'"), ("file", "'file'"), ("empty", "no runs in folder")):
        code, said = charter(*verb, "--data", data)
        assert (code, said.count("\n")) == (2, 1) and told in said
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "file"]


def test_a_comparison_of_constitutions_makes_no_store_either(charter, tmp_path: Path):
    assert charter("constitution", "diff", "household", "assistant", "--data", str(tmp_path)) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", ["file", "file/below", "/proc/below"])
def test_a_data_folder_that_cannot_be_made_is_named(charter, tmp_path: Path, data: str):
    (tmp_path / "file").write_text("")
    code, said = charter("demo", "--data", data)
    assert code == 2 and said.startswith(f"error: data: '{data}' cannot be made a folder")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["runs", "--address", "localhost"], "write it as host:port"),
        (["runs", "--address", ":"], "write it as host:port"),
        (["runs", "--address", "localhost:99999"], "write it as host:port"),
        (["runs", "--address", "http://localhost:50051"], "write it as host:port"),
        (["runs", "--address", "localhost:1", "--token", "zwölf"], "token: holds characters that no token has"),
        (["runs", "--address", "localhost:1", "--token", "a\nb"], "token: holds characters that no token has"),
        (["runs", "--address", "\udcff:1"], "argument 3: '\\udcff:1' is not text in UTF-8"),
        (["health", "--address", "policy=a:1,trainer=b:2"], "ask each one"),
        (["token", "new", "ci", "--scope", "read", "--days", "99999999"], "--days"),
        (["serve", "--socket", "s", "--port", "1"], "leave out --host and --port"),
        (["serve", "--only", "trainer", "--host", "::", "--port", "0"], "address: [::] can be reached"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(charter, words: list[str], told: str):
    code, said = charter(*words)
    assert code == 2 and told in said
    assert "Traceback" not in said and "unexpected" not in said


def test_stdin_that_is_no_text_is_the_callers_mistake(charter, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="utf-8"))
    assert charter("generate", "-") == (2, "error: stdin: not text in UTF-8\n")


@pytest.mark.parametrize(
    "address", ["unix:/tmp/s", "localhost:1", "[::1]:1", "https://a", "https://a:2/", "https://[::1]"]
)
def test_an_address_may_be_written_in_each_of_these_ways(address: str):
    Connection(address, "a token of words").close()


def test_overrides_that_do_not_go_with_the_run_are_the_users_mistake():
    config = '{"ppo": {"kl_in": "loss", "kl_estimator": "k2"}}'
    run = Run(id="run-1", kind="pipeline", state="SUCCEEDED", config=config)
    assert next_round(run, ["ppo.kl_estimator=k3"]).ppo.kl_estimator == "k3"
    with pytest.raises(InvalidInput, match="ppo: kl_in 'loss' needs kl_estimator k2 or k3"):
        next_round(run, ["ppo.kl_estimator=k1"])


def test_a_verb_that_fails_leaves_no_socket_behind(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), embedded_server(tmp_path, None):
        raise ZeroDivisionError
    assert not list(tmp_path.glob("*.sock"))


def test_the_page_of_metrics_stays_on_this_machine_unless_all_is_open():
    check_page("127.0.0.1:9464", insecure=False)
    check_page("0.0.0.0:9464", insecure=True)
    with pytest.raises(InvalidInput, match="asks for no token") as caught:
        check_page("0.0.0.0:9464", insecure=False)
    assert caught.value.field == "metrics"
    with pytest.raises(ValueError, match="write it as host:port"):
        ServerConfig(metrics="unix:/tmp/page")
