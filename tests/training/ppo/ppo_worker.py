"""PPO runs in processes of their own, for the test of `kill -9`: one left alone, one killed at random moments.

python -m tests.training.ppo.ppo_worker MODEL FOLDER KIND SEED

Imports once, then forks a process per attempt; prints, as JSON, the snapshot ids of both runs after every step.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import torch

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.inference.own_sampler import OwnSampler
from rlhf_core.inference.remote_sampler import RemoteSampler
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.policy import Policy
from rlhf_core.records.models import Checkpoint
from rlhf_core.records.samples import Demonstration
from rlhf_core.store.store import Store
from rlhf_core.training.ppo.ptx import Replay
from rlhf_core.training.ppo.trainer import PpoStep, train_ppo
from tests.records import norm_pack
from tests.training.conftest import PROMPTS, Rule
from tests.training.published_ppo import plain_ppo

KILLS = 3
SETTINGS = {
    "steps": 4,
    "prompts_per_step": 8,
    "minibatch_size": 4,
    "learning_rate": 3e-3,
    "kl_target": 0.5,
    "lr_schedule": "cosine",
    "ptx_coef": 0.3,
    "ptx_batch_size": 2,
    "max_update_kl": 0.5,
    "dial": {"combine": "constrained", "floors": {"high": 0.5}},
}
KINDS = {
    "lora": {},
    "full": {"tune": "full"},
    "grpo": {"advantage": "grpo", "samples_per_prompt": 2},
    "rloo": {"advantage": "rloo", "samples_per_prompt": 2, "ptx_coef": 1.0, "tune": "full"},
    "rollouts": {"overlap": "rollouts"},
}
SHOWN = [Demonstration(prompt=prompt, response="dust it", source="revision") for prompt in PROMPTS[:5]]
PACK = norm_pack(
    objectives=("low", "high"),
    reward_models=("low", "high"),
    mean=(4.0, 4.0),
    sd=(1.5, 1.5),
    correlation=((1.0, 0.2), (0.2, 1.0)),
)


def train(model: Path, folder: Path, kind: str) -> None:
    """Go on from the last snapshot in the folder, or begin, and leave a snapshot after every step."""
    torch.set_num_threads(1)
    config = plain_ppo(**(SETTINGS | KINDS[kind]))
    backbone = Backbone.load(str(model), ModelConfig(base_model=str(model), lora=LoraConfig(rank=4, alpha=8)))
    backbone.adapters.add("reference", 0)
    if config.tune == "full":
        backbone.adapters.add_dense("policy", "reference")
    else:
        backbone.adapters.copy("reference", "policy")
    policy = Policy(backbone, "policy", PACK.objectives, "reference")
    store = Store.open(folder)
    run = store.runs.create("ppo", "{}", "constitution", "the-run").id
    saved = store.checkpoints.latest(run, "ppo")
    begin = store.artifacts.get_folder(saved.artifact) if saved else None
    rules, weights = (Rule("low", "P"), Rule("high", "d")), {"low": 1.0, "high": 1.0}
    replay = Replay.begin(policy.backbone, SHOWN, config, 0)
    with sampler_of(backbone, folder, config) as sampler:
        given = policy, rules, PACK, PROMPTS, weights, config, 8, 0, begin, replay
        for step in train_ppo(*given, sampler=sampler):
            if step is not None:
                keep(store, run, step)


@contextmanager
def sampler_of(backbone: Backbone, folder: Path, config: PpoConfig) -> Iterator[RemoteSampler | None]:
    """A process that writes beside this one, where the kind wants one."""
    if config.overlap == "none":
        yield None
        return
    model = ModelConfig(base_model=backbone.path, lora=LoraConfig(rank=4, alpha=8), threads=1)
    with closing(OwnSampler(backbone, model, folder / "sampler")) as process:
        yield RemoteSampler(process, backbone, folder / "sampler", 0.1)


def keep(store: Store, run: str, step: PpoStep) -> None:
    with tempfile.TemporaryDirectory() as folder:
        step.state.save(Path(folder))
        artifact = store.artifacts.put_folder(Path(folder))
    store.checkpoints.add(Checkpoint(run_id=run, stage="ppo", step=step.metrics.step, artifact=artifact))


def attempt(work: Callable[[], None], kill_after: float | None = None) -> bool:
    """Do the work in a process of its own, killed after some seconds; whether it was done."""
    process = os.fork()
    if process == 0:
        work()
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1] == 0


def snapshots(folder: Path) -> list[str]:
    store = Store.open(folder)
    run = store.runs.create("ppo", "{}", "constitution", "the-run").id
    result = [store.checkpoints.at(run, "ppo", step) for step in range(1, SETTINGS["steps"] + 1)]
    return [one.artifact if one else "" for one in result]


def main(model: Path, folder: Path, kind: str, seed: int) -> None:
    started = time.monotonic()
    assert attempt(lambda: train(model, folder / "straight", kind))
    seconds, dice = time.monotonic() - started, random.Random(seed)
    killed = 0
    while killed < KILLS and not attempt(
        lambda: train(model, folder / "killed", kind), dice.uniform(0.05, 0.5) * seconds
    ):
        killed += 1
    if killed == KILLS:
        assert attempt(lambda: train(model, folder / "killed", kind))
    result = {name: snapshots(folder / name) for name in ("straight", "killed")}
    print(json.dumps(result | {"kills": killed}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
