"""A server with its HTTP edge on a free port: two reward models, a scale, and a run one of whose models is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

from rlhf_core.config.run import ModelConfig, RunConfig
from rlhf_core.records.runs import StageResult
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from services.server.config import HttpConfig, ServeConfig
from tests.records import norm_pack, reward_model
from tests.services.apps import started

BROKEN = "reward-broken"


class Edge(NamedTuple):
    """The edge, a client of it, and of the same server over gRPC."""

    url: str
    http: httpx2.Client
    grpc: CharterClient
    run: str
    """What is scored by where a request names no run."""
    broken_run: str
    """Its model of `harmless` cannot be loaded."""


@pytest.fixture(scope="session")
def edge(
    tmp_path_factory: pytest.TempPathFactory, model_config: ModelConfig, trained: Callable[[Path], str]
) -> Iterator[Edge]:
    data = tmp_path_factory.mktemp("edge")
    run = trained(data)
    broken = break_one(data, tmp_path_factory.mktemp("heads"), model_config)
    config = ServeConfig(
        address=f"unix:{data}/s",
        data=data,
        model=model_config,
        works=False,
        http=HttpConfig(address="127.0.0.1:0", run=run),
    )
    with (
        started(config) as app,
        httpx2.Client(base_url=app.http_address, timeout=60) as http,
        CharterClient.connect(app.address, timeout_seconds=60) as client,
    ):
        yield Edge(app.http_address, http, client, run, broken)


def break_one(data: Path, folder: Path, model: ModelConfig) -> str:
    """A run of whose two reward models one has a file that is none."""
    store = Store.open(data)
    (folder / "reward_heads.safetensors").write_bytes(b"no tensors")
    base = Path(model.base_model).name
    run = store.runs.create("pipeline", RunConfig().model_dump_json(), store.runs.page(1)[0][0].constitution_hash, "b")
    store.runs.cancel(run.id)
    artifact = store.artifacts.put_folder(folder)
    store.reward_models.add(
        reward_model(id=BROKEN, run_id=run.id, objective="harmless", base_model=base, artifact=artifact)
    )
    models = {"helpful": "reward-helpful", "harmless": BROKEN}
    store.norm_packs.add(norm_pack(id="pack-2", run_id=run.id, reward_models=tuple(models.values())))
    store.stage_results.add(StageResult(run_id=run.id, stage="reward", reward_models=models))
    store.stage_results.add(StageResult(run_id=run.id, stage="norm_pack", norm_pack="pack-2"))
    store.close()
    return run.id
