"""One client of services that have a process each."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlhf_core.errors import InvalidInput, Unavailable
from services.app import App
from services.cli.main import app as cli
from services.client.client import CharterClient, addresses_of
from services.server.config import ServeConfig


def test_addresses_are_told_apart_from_lists_of_them():
    assert addresses_of("localhost:50051") == {"": "localhost:50051"}
    assert addresses_of("unix:/tmp/policy=1,a.sock") == {"": "unix:/tmp/policy=1,a.sock"}
    assert addresses_of("https://host:1") == {"": "https://host:1"}
    assert addresses_of("policy=a:1, trainer=https://b:2") == {"policy": "a:1", "trainer": "https://b:2"}


def test_a_name_that_no_service_has_is_refused_with_those_that_there_are():
    with pytest.raises(InvalidInput, match="no service is called 'poet'; allowed: policy, critique"):
        CharterClient.connect("poet=a:1")
    with pytest.raises(InvalidInput, match="empty"):
        CharterClient.connect("policy=")


def test_each_service_is_asked_where_it_is(tmp_path: Path):
    def look(preference: str, trainer: str) -> None:
        both = f"preference={preference},trainer={trainer}"
        with CharterClient.connect(both) as client:
            assert client.trainer.list_runs().runs == [] and list(client.preference.list_preferences()) == []
            again = client.until(lambda: True)
            assert again.trainer.list_runs().runs == [] and list(again.preference.list_preferences()) == []
            assert client.address_of("charter.v1.TrainerService") == client.address_of("trainer") == trainer
            assert client.address_of("policy") == preference
        with CharterClient.connect(trainer) as client, pytest.raises(Unavailable, match="does not offer"):
            list(client.preference.list_preferences())
        for service in ("Preference", "Trainer"):
            listed = CliRunner().invoke(cli, ["call", f"charter.v1.{service}Service", "--address", both])
            assert listed.exit_code == 0 and f"charter.v1.{service}Service/" in listed.output

    async def scenario() -> None:
        apps = [App(ServeConfig(address="127.0.0.1:0", data=tmp_path, only=(n,))) for n in ("preference", "trainer")]
        for each in apps:
            await each.start()
        await asyncio.to_thread(look, *(each.address for each in apps))
        for each in apps:
            await each.stop()

    asyncio.run(scenario())
