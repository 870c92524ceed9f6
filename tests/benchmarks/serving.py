"""A server process with the sandbox model, two reward models and all that a PPO run starts from; and its callers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import rlhf_core.sandbox
from rlhf_core.config import ModelConfig, RunConfig
from rlhf_core.constitution.load import builtin_text, parse_constitution
from rlhf_core.constitution.schema import Constitution
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.reward_model import RewardModel
from rlhf_core.run_records import NormPack, PolicyVersion, RewardModelVersion, StageResult
from rlhf_core.store.store import Store
from services.limits import Limits
from services.process import serve
from services.serve_config import ServeConfig

MODEL = ModelConfig(threads=int(os.environ.get("OMP_NUM_THREADS", "2")))
POLICY = "bench-policy"


class Served(NamedTuple):
    address: str
    run_id: str
    """Of a run whose reward models, scale and tuned policy another run can start from."""
    reward_models: tuple[str, ...]
    process: subprocess.Popen[str]


@contextmanager
def served(calls: int = 512) -> Iterator[Served]:
    """While the block lasts; so many calls may be at work at once."""
    with tempfile.TemporaryDirectory(prefix="charter-bench-") as folder:
        run_id, models = _fill(Path(folder))
        command = [sys.executable, "-m", "tests.benchmarks.serving", folder, str(calls)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, "the server did not start"
            yield Served(address, run_id, models, process)
        finally:
            process.terminate()
            process.wait(60)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them do not exceed."""
    return sorted(values)[max(0, -(-len(values) * round(share * 1000) // 1000) - 1)]


def _fill(data: Path) -> tuple[str, tuple[str, ...]]:
    """A store with what a run would have trained. Weights as they begin cost the same as trained ones."""
    constitution = parse_constitution(builtin_text("household"), "household")
    backbone = Backbone.load(str(Path(rlhf_core.sandbox.__file__).parent / "model"), MODEL)
    store = Store.open(data)
    store.add_constitution(constitution.hash, constitution.id, builtin_text("household"), "household")
    run = store.create_run("pipeline", RunConfig().model_dump_json(), constitution.hash, "bench")
    store.cancel_run(run.id)
    backbone.add_adapter("policy", seed=1)
    digest = _stored(store, lambda folder: backbone.save_adapter("policy", folder))
    store.add_policy_version(
        PolicyVersion(id=POLICY, run_id=run.id, stage="sft", parent="base", base_model=backbone.name, artifact=digest)
    )
    models = {
        name: _reward_model(store, run.id, backbone, name, seed, constitution)
        for seed, name in enumerate(constitution.objective_names)
    }
    store.add_norm_pack(_norm_pack(run.id, models))
    for result in (
        StageResult(run_id=run.id, stage="sft", policy_version=POLICY),
        StageResult(run_id=run.id, stage="reward", reward_models=models),
        StageResult(run_id=run.id, stage="norm_pack", norm_pack="bench-pack"),
    ):
        store.add_stage_result(result)
    store.close()
    return run.id, tuple(models.values())


def _stored(store: Store, save: Callable[[Path], None]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder))
        return store.artifacts.put_folder(Path(folder))


def _reward_model(
    store: Store, run_id: str, backbone: Backbone, objective: str, seed: int, constitution: Constitution
) -> str:
    model = RewardModel.create(backbone, objective, objective, members=3, seed=seed)
    version = RewardModelVersion(
        id=f"bench-{objective}",
        run_id=run_id,
        objective=objective,
        base_model=backbone.name,
        artifact=_stored(store, model.save),
        constitution_hash=constitution.hash,
        pairs=1,
        human_pairs=0,
        accuracy=0.5,
        accuracy_n=1,
    )
    store.add_reward_model(version)
    return version.id


def _norm_pack(run_id: str, models: dict[str, str]) -> NormPack:
    count = len(models)
    return NormPack(
        id="bench-pack",
        run_id=run_id,
        policy_version=POLICY,
        objectives=tuple(models),
        reward_models=tuple(models.values()),
        mean=(0.0,) * count,
        sd=(1.0,) * count,
        quantiles=((0.0,) * 6,) * count,
        correlation=tuple(tuple(float(i == j) for j in range(count)) for i in range(count)),
        length_slope=(0.0,) * count,
        mean_length=12.0,
        n=16,
    )


def _serve(data: str, calls: str) -> None:
    limits = Limits(calls=int(calls), calls_per_client=int(calls))
    config = ServeConfig(address="127.0.0.1:0", data=Path(data), model=MODEL, limits=limits)
    serve(config, lambda address: print(address, flush=True))


if __name__ == "__main__":
    _serve(*sys.argv[1:])
