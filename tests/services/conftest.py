"""A real server on a Unix socket, with a tiny random model, two reward models and a pipeline of a few steps."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from rlhf_core.config.run import LoraConfig, ModelConfig, RunConfig
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.models import NormPack, PolicyVersion, RewardModelVersion
from rlhf_core.records.runs import Run, StageResult, StepMetrics
from rlhf_core.records.samples import Prompt
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.stages.context import RunStopped, Toolbox
from rlhf_core.store.store import Store
from services.client import connection
from services.client.client import CharterClient
from services.embedded import embedded_server
from tests.conftest import save_model, save_tokenizer

HOUSEHOLD = "household"
SLOW_SEED = 7
"""A run of this seed takes its steps slowly."""


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's, so that a server that is started there again has its address."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def model_config(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    """A tiny model whose context is long enough for critiques."""
    folder = tmp_path_factory.mktemp("tiny-long")
    save_model(folder, "llama", context=4096)
    save_tokenizer(folder)
    lora = LoraConfig(rank=4, alpha=8)
    return ModelConfig(base_model=str(folder), threads=1, max_tokens=8, feedback_tokens=12, lora=lora)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, model_config: ModelConfig) -> Callable[[Path], str]:
    """Puts what a run would have trained into a new store; the function returns that run's id."""
    backbone = Backbone.load(model_config.base_model, model_config)
    folder = tmp_path_factory.mktemp("trained")
    backbone.adapters.add("policy", seed=1)
    for index, parameter in enumerate(backbone.adapters.parameters("policy")):
        parameter.data.normal_(std=0.3, generator=_generator(index))
    backbone.adapters.save("policy", folder / "policy")
    for seed, objective in enumerate(("helpful", "harmless")):
        RewardModel.create(backbone, objective, objective, members=2, seed=seed).save(folder / objective)

    def fill(data: Path) -> str:
        store = Store.open(data)
        run = store.runs.create("pipeline", RunConfig().model_dump_json(), _known_constitution(store), "made-earlier")
        claimed = store.runs.claim("elsewhere:1:1", 3600)
        assert claimed is not None
        digest = store.artifacts.put_folder(folder / "policy")
        store.policy_versions.add(
            PolicyVersion(
                id="policy-1", run_id=run.id, stage="sft", parent="base", base_model=backbone.name, artifact=digest
            )
        )
        models = {name: _add_reward_model(store, run.id, backbone.name, name, folder) for name in OBJECTIVES}
        store.norm_packs.add(_norm_pack(run.id, models))
        store.stage_results.add(StageResult(run_id=run.id, stage="reward", reward_models=models))
        store.stage_results.add(StageResult(run_id=run.id, stage="norm_pack", norm_pack="pack-1"))
        store.stage_results.add(StageResult(run_id=run.id, stage="sft", policy_version="policy-1"))
        store.runs.release(run.id, claimed.fence, "SUCCEEDED")
        store.close()
        return run.id

    return fill


OBJECTIVES = ("helpful", "harmless")


def _generator(seed: int):
    import torch

    return torch.Generator().manual_seed(seed)


def _known_constitution(store: Store) -> str:
    from rlhf_core.constitution.load import builtin_text, parse_constitution

    text = builtin_text(HOUSEHOLD)
    constitution = parse_constitution(text, HOUSEHOLD)
    store.constitutions.add(constitution.hash, constitution.id, text, HOUSEHOLD)
    return constitution.hash


def _add_reward_model(store: Store, run_id: str, base_model: str, objective: str, folder: Path) -> str:
    version = RewardModelVersion(
        id=f"reward-{objective}",
        run_id=run_id,
        objective=objective,
        base_model=base_model,
        artifact=store.artifacts.put_folder(folder / objective),
        constitution_hash="",
        pairs=10,
        human_pairs=1,
        accuracy=0.5,
        accuracy_n=4,
    )
    store.reward_models.add(version)
    return version.id


def _norm_pack(run_id: str, models: dict[str, str]) -> NormPack:
    return NormPack(
        id="pack-1",
        run_id=run_id,
        policy_version="policy-1",
        objectives=tuple(models),
        reward_models=tuple(models.values()),
        mean=(1.0, -1.0),
        sd=(2.0, 4.0),
        quantiles=((0.0,) * 6,) * 2,
        correlation=((1.0, 0.0), (0.0, 1.0)),
        length_slope=(0.0, 0.0),
        mean_length=8.0,
        n=16,
    )


def few_steps(
    run: Run, store: Store, tools: Toolbox, report: Callable[[str, str], None], should_stop: Callable[[], bool]
) -> None:
    """A pipeline that asks every service once, then takes eight steps, resuming after the last one reported."""
    config = RunConfig.model_validate_json(run.config)
    if config.seed == 13:
        raise ZeroDivisionError("a mistake of ours")
    report("stage", json.dumps({"stage": "sft", "state": "started"}))
    samples = tools.sampler.generate([Prompt.of("How do I dust a shelf?")], policy_version="base", max_tokens=4)
    scores = tools.scorer.score(samples, ["reward-helpful"])
    assert tools.on_device(lambda: len(scores)) == 1
    done = {json.loads(e.body)["step"] for e in store.events.of_run(run.id) if e.kind == "metrics"}
    for step in range(len(done) + 1, 9):
        report("metrics", StepMetrics(stage="sft", step=step, steps=8, values={"loss": 1 / step}).model_dump_json())
        if config.seed == SLOW_SEED:
            time.sleep(0.1)
        if should_stop():
            raise RunStopped("asked to stop")
    folder = tools.runs_folder / run.id
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps({"seed": config.seed}))


@pytest.fixture
def one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of this process gives up a server that is away at once, where its tries are not what is tested."""
    monkeypatch.setattr(connection, "OPTIONS", (*connection.OPTIONS, ("grpc.enable_retries", 0)))
    monkeypatch.setattr(connection, "STREAM_PATIENCE_SECONDS", 0.0)


class Served:
    """A server, ways to reach it, and what it holds."""

    def __init__(self, address: str, data: Path, run_id: str):
        self.address, self.data, self.run_id = address, data, run_id
        self.client = CharterClient.connect(address, timeout_seconds=30)
        self.channel = grpc.insecure_channel(address)


@pytest.fixture(scope="session")
def served(
    tmp_path_factory: pytest.TempPathFactory, model_config: ModelConfig, trained: Callable[[Path], str]
) -> Iterator[Served]:
    data = tmp_path_factory.mktemp("data")
    run_id = trained(data)
    with embedded_server(data, model_config, pipeline=few_steps) as address:
        started = Served(address, data, run_id)
        yield started
        started.channel.close()
        started.client.close()
