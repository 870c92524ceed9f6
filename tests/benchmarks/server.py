"""The process behind `served`: `python -m tests.benchmarks.server FOLDER SETTINGS` fills a store and serves it.

It prints the id of the run that it made with its reward models, and then its addresses over gRPC and HTTP.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any
from zlib import crc32

import rlhf_core.sandbox
from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.load import builtin_text, parse_constitution
from rlhf_core.errors import CharterError, Exhausted
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.models import NormPack, PolicyVersion, RewardModelVersion, Score
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Sample
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.sandbox.sandbox import Sandbox
from rlhf_core.store.store import Store
from services.http.calls import Asked
from services.http.rewards import Rewards
from services.process import serve
from services.server.config import HttpConfig, ServeConfig
from services.server.limits import Limits
from services.serving import executor
from services.serving.reward_model_cache import RewardShelf
from tests.benchmarks.serving import MODEL, POLICY, Settings

REPLIES = 64
"""Of the reference policy, which a run's monitors compare with."""


def fill(data: Path, name: str) -> tuple[str, list[str]]:
    """A store with what a run would have trained, of one reward model for each objective of a built-in constitution.

    Weights as they begin cost the same as trained ones.
    """
    constitution = parse_constitution(builtin_text(name), name)
    backbone = Backbone.load(str(Path(rlhf_core.sandbox.__file__).parent / "model"), MODEL)
    store = Store.open(data)
    store.constitutions.add(constitution.hash, constitution.id, builtin_text(name), name)
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
    size = len(models)
    return NormPack(
        id="bench-pack",
        run_id=run_id,
        policy_version=POLICY,
        objectives=tuple(models),
        reward_models=tuple(models.values()),
        mean=(0.0,) * size,
        sd=(1.0,) * size,
        quantiles=((0.0,) * 6,) * size,
        correlation=tuple(tuple(float(i == j) for j in range(size)) for i in range(size)),
        length_slope=(0.0,) * size,
        mean_length=12.0,
        n=16,
    )


def failing(every: int) -> None:
    """Let each reward model fail on one reply in so many, and tell one call in so many to wait."""
    score, plain, calls = RewardShelf.score, Rewards.plain, count()

    def scored(self: RewardShelf, samples: Sequence[Sample], versions: Sequence[str]) -> list[Score]:
        for version in versions:
            if any(crc32(f"{version}{sample.response}".encode()) % every == 0 for sample in samples):
                raise CharterError(f"{version} gives no answer")
        return score(self, samples, versions)

    async def answered(self: Rewards, asked: Asked) -> dict[str, Any]:
        if next(calls) % every == every - 1:
            raise Exhausted("the judge is busy", retry_seconds=0.1)
        return await plain(self, asked)

    RewardShelf.score, Rewards.plain = scored, answered


def main(folder: str, settings: str) -> None:
    data, asked = Path(folder), Settings(**json.loads(settings))
    if asked.fails_every:
        failing(asked.fails_every)
    if not asked.rests:
        executor.REST_SECONDS = math.inf
    print(json.dumps(fill(data, asked.constitution)), flush=True)
    limits = Limits(calls=asked.calls, calls_per_client=asked.calls)
    http = HttpConfig(address="127.0.0.1:0")
    config = ServeConfig(address="127.0.0.1:0", data=data, model=MODEL, limits=limits, http=http)
    serve(config, lambda at: print(at.grpc, at.http, sep="\n", flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
