"""What a server says of itself, over a real socket, with a model and without one."""

from __future__ import annotations

import platform
import sqlite3
from importlib.metadata import version

import grpc

from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process
from services.client.client import CharterClient
from services.embedded import embedded_server
from services.rpc.server import Loaded, server_info
from services.server.config import ALL, WITHOUT_MODEL, ServeConfig
from services.server.limits import Limits
from tests.services.run_server import run_server


def test_a_server_without_a_model_tells_versions_limits_and_services(tmp_path):
    with run_server(tmp_path) as server:
        info = server.client.server.get_info()
    assert (info.version, info.api_versions) == (version("charter-rlhf"), ("v1",))
    names = ("Preference", "Trainer", "Dataset", "Exploration", "Study", "Assessment", "Annotation")
    assert info.services == tuple(f"charter.v1.{name}Service" for name in names)
    assert info.versions == {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "grpcio": grpc.__version__,
        "protobuf": version("protobuf"),
    }
    assert (info.models, info.device, info.limits.max_length, info.limits.max_n) == ((), "", 0, 0)
    assert info.limits.max_page_size == 1000
    assert info.default_constitution == "household"


def test_every_bound_of_the_configuration_is_told(tmp_path):
    """Each by its own value, so that none can stand for another."""
    bounds = {name: 5001 + index for index, name in enumerate(Limits.model_fields)}
    config = ServeConfig(data=tmp_path, only=WITHOUT_MODEL, limits=Limits.model_validate(bounds))
    without = {value for _, value in server_info(config, None, "household").limits.ListFields()}
    assert set(bounds.values()) - without == {bounds["responses"], bounds["waiting_rows"]}
    loaded = Loaded("policy", "critic", ["judge"], 128)
    all_of_them = server_info(config.model_copy(update={"only": ALL}), loaded, "household").limits
    assert set(bounds.values()) < {value for _, value in all_of_them.ListFields()}
    assert all_of_them.max_name_characters == 1000


def test_whether_runs_are_carried_out_is_told_as_it_is_now(tmp_path):
    with run_server(tmp_path) as server:
        assert server.client.server.get_info().carries_out_runs
    store = Store.open(tmp_path)
    store.workers.sign_out(this_process())
    store.close()
    with embedded_server(tmp_path, None) as address, CharterClient.connect(address) as client:
        assert not client.server.get_info().carries_out_runs


def test_a_server_with_a_model_names_it_and_what_it_may_be_asked(served, model_config):
    info = served.client.server.get_info()
    assert [model.role for model in info.models] == ["policy", "critic", "judge"]
    assert {model.place for model in info.models} == {"local"}
    assert info.models[1].model == served.client.critique.feedback("household").critic_name
    assert {"torch", "transformers"} <= set(info.versions)
    assert (info.device, info.limits.max_length, info.limits.default_max_tokens, info.limits.max_n) == (
        "cpu",
        4096,
        model_config.max_tokens,
        256,
    )
    assert info.carries_out_runs
    older = served.client.policy.get_server_info()
    assert (older.version, older.services, older.max_length) == (info.version, info.services, 4096)
