"""The process behind `served`: `python -m tests.benchmarks.server FOLDER CALLS` fills a store and serves it.

It prints the id of the run that it made with its reward models, and then its addresses over gRPC and HTTP.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import rlhf_core.sandbox
from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.load import builtin_text, parse_constitution
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.models import NormPack, PolicyVersion, RewardModelVersion
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Sample
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.sandbox.sandbox import Sandbox
from rlhf_core.store.store import Store
from services.process import serve
from services.server.config import HttpConfig, ServeConfig
from services.server.limits import Limits
from tests.benchmarks.serving import MODEL, POLICY

REPLIES = 64
"""Of the reference policy, which a run's monitors compare with."""


def fill(data: Path) -> tuple[str, list[str]]:
    """A store with what a run would have trained. Weights as they begin cost the same as trained ones."""
    constitution = parse_constitution(builtin_text("household"), "household")
    backbone = Backbone.load(str(Path(rlhf_core.sandbox.__file__).parent / "model"), MODEL)
    store = Store.open(data)
    store.constitutions.add(constitution.hash, constitution.id, builtin_text("household"), "household")
    run = store.runs.create("pipeline", RunConfig().model_dump_json(), constitution.hash, "bench")
    store.runs.cancel(run.id)
    backbone.adapters.add("policy", seed=1)
    digest = _stored(store, lambda folder: backbone.adapters.save("policy", folder))
    store.policy_versions.add(
        PolicyVersion(id=POLICY, run_id=run.id, stage="sft", parent="base", base_model=backbone.name, artifact=digest)
    )
    models = {
        name: _reward_model(store, run.id, backbone, name, seed, constitution.hash)
        for seed, name in enumerate(constitution.objective_names)
    }
    store.norm_packs.add(_norm_pack(run.id, models))
    _add_replies(store, run.id)
    for result in (
        StageResult(run_id=run.id, stage="sft", policy_version=POLICY),
        StageResult(run_id=run.id, stage="reward", reward_models=models),
        StageResult(run_id=run.id, stage="norm_pack", norm_pack="bench-pack"),
    ):
        store.stage_results.add(result)
    store.close()
    return run.id, list(models.values())


def _stored(store: Store, save: Callable[[Path], None]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder))
        return store.artifacts.put_folder(Path(folder))


def _add_replies(store: Store, run_id: str) -> None:
    prompts = [prompt for prompt in Sandbox().prompts if prompt.split == "train"][:REPLIES]
    store.prompts.add(prompts)
    store.samples.add(
        [
            Sample(
                id=f"reply-{number}",
                prompt=prompt,
                response="Wipe it with a damp cloth and let it dry.",
                policy_version=POLICY,
                run_id=run_id,
                stage="norm_pack",
            )
            for number, prompt in enumerate(prompts)
        ]
    )


def _reward_model(
    store: Store, run_id: str, backbone: Backbone, objective: str, seed: int, constitution_hash: str
) -> str:
    model = RewardModel.create(backbone, objective, objective, members=3, seed=seed)
    version = RewardModelVersion(
        id=f"bench-{objective}",
        run_id=run_id,
        objective=objective,
        base_model=backbone.name,
        artifact=_stored(store, model.save),
        constitution_hash=constitution_hash,
        pairs=1,
        human_pairs=0,
        accuracy=0.5,
        accuracy_n=1,
    )
    store.reward_models.add(version)
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


def main(folder: str, calls: str) -> None:
    data = Path(folder)
    print(json.dumps(fill(data)), flush=True)
    limits = Limits(calls=int(calls), calls_per_client=int(calls))
    http = HttpConfig(address="127.0.0.1:0")
    config = ServeConfig(address="127.0.0.1:0", data=data, model=MODEL, limits=limits, http=http)
    serve(config, lambda at: print(at.grpc, at.http, sep="\n", flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
