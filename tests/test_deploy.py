"""deploy/: its files by schema, by linter, and against the code. Its commands run in services/test_separate."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from services.cli.run_config import load_config, load_server_config
from services.server.config import ALL, WITH_MODEL, ServeConfig, ServerConfig
from tests.processes import ROLES, ROOT, compose, entrypoint

DEPLOY = ROOT / "deploy"


def dockerfile() -> str:
    return (DEPLOY / "Dockerfile").read_text()


def keys(model: type[BaseModel]) -> set[str]:
    """Of the model and all sections in it."""
    found = set(model.model_fields)
    for field in model.model_fields.values():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= keys(kind)
    return found


def lines_of(key: str, text: str) -> list[int]:
    return [number for number, line in enumerate(text.splitlines()) if re.match(rf"\s*{key}:", line)]


def test_the_compose_file_is_one_by_its_schema():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run([*command, str(DEPLOY / "compose.yaml")], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_the_schema_finds_a_mistake(tmp_path: Path):
    wrong = tmp_path / "compose.yaml"
    wrong.write_text((DEPLOY / "compose.yaml").read_text().replace("restart: unless-stopped", "restarts: always"))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(wrong)]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_the_linter_of_dockerfiles_finds_nothing():
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("hadolint is not to be had on this platform")
    found = subprocess.run([linter, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_each_service_has_a_process_that_comes_back_and_they_share_one_volume():
    services = compose()["services"]
    assert tuple(services) == ROLES == ALL
    for name, service in services.items():
        assert service["command"] == [name]
        assert service["volumes"] == ["data:/data"] and service["environment"]["CHARTER_SERVER__DATA"] == "/data"
        assert service["restart"] == "unless-stopped"
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    trainer = services["trainer"]["environment"]
    for name in WITH_MODEL:
        assert trainer[f"CHARTER_SERVER__ENDPOINTS__{name.upper()}"] == f"{name}:50051"


def test_a_process_has_time_to_drain_before_it_is_killed():
    config = load_server_config(str(DEPLOY / "server.yaml"), {})
    for service in compose()["services"].values():
        given = int(service["stop_grace_period"].removesuffix("s"))
        assert given > config.pause_seconds + config.grace_seconds


def test_the_environment_of_every_process_makes_a_valid_configuration():
    for service in compose()["services"].values():
        config = load_server_config(str(DEPLOY / "server.yaml"), service["environment"])
        assert config.address == "0.0.0.0:50051" and str(config.data) == "/data"
        assert load_config(str(DEPLOY / "run.yaml"), environ=service["environment"]).model.threads == 2


def test_the_image_takes_its_role_as_an_argument_and_runs_as_nobody_special():
    assert entrypoint()[:2] == ["charter", "serve"] and entrypoint()[-1] == "--only"
    users = re.findall(r"^USER (.*)$", dockerfile(), re.MULTILINE)
    assert users and users[-1].isdecimal() and int(users[-1]) > 0
    # Nothing is installed or copied by that user.
    assert not re.search(r"^(RUN|COPY) ", dockerfile().rpartition("USER ")[2], re.MULTILINE)


def test_what_the_image_copies_is_there():
    copied = re.findall(r"^COPY (.*) \S+$", dockerfile(), re.MULTILINE)
    assert copied
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name


def test_the_server_file_holds_the_defaults_and_every_key():
    assert load_server_config(str(DEPLOY / "server.yaml"), {}) == ServerConfig()
    text = (DEPLOY / "server.yaml").read_text()
    assert [key for key in sorted(keys(ServerConfig)) if not lines_of(key, text)] == []


@pytest.mark.parametrize("name", ["server.yaml", "run.yaml"])
def test_every_key_at_the_top_of_a_file_has_a_comment_within_three_lines_above(name: str):
    lines = (DEPLOY / name).read_text().splitlines()
    tops = [number for number, line in enumerate(lines) if re.match(r"\w+:", line)]
    bare = [lines[number] for number in tops if not any("#" in line for line in lines[max(0, number - 3) : number])]
    assert bare == []


def test_a_wrong_key_of_the_server_file_is_told_with_its_place(tmp_path: Path):
    file = tmp_path / "server.yaml"
    file.write_text("address: 127.0.0.1:0\nendpoints:\n  polcy: policy:50051\n")
    with pytest.raises(ValueError, match=r"server.yaml:3:3 endpoints.polcy: unknown key 'polcy', did you mean"):
        load_server_config(str(file), {})
    with pytest.raises(ValueError, match="'nowhere' is not an address; write it as host:port"):
        load_server_config(None, {"CHARTER_SERVER__ENDPOINTS__REWARD": "nowhere"})


def test_a_run_is_carried_out_only_where_all_that_it_asks_is_here_or_has_an_address():
    def works(**given: object) -> bool:
        return ServeConfig.model_validate(given).carries_out_runs

    elsewhere = {"policy": "a:1", "critique": "a:1", "reward": "a:1"}
    assert works()
    assert not works(only=["trainer"])
    assert works(only=["trainer"], endpoints=elsewhere)
    assert works(only=["trainer", "reward"], endpoints={**elsewhere, "reward": None})
    assert not works(only=["trainer"], endpoints={**elsewhere, "reward": None})
    assert not works(only=["trainer"], endpoints=elsewhere, works=False)
    assert not works(only=["policy", "critique", "reward"])
