"""The same sampler against a real vLLM server, in an environment of its own: its wire, its log-probs, its adapters.

CHARTER_TEST_VLLM names the python of that environment (docs/operations.md says how to make one on CPUs), and
CHARTER_TEST_VLLM_MODEL a base model; without it a tiny one is made.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.config.sampler import SamplerConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.inference.remote_sampler import RemoteSampler, connect
from rlhf_core.inference.vllm_http import Adapter, VllmServer
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import make_batch
from rlhf_core.models.logprobs import response_logprobs
from rlhf_core.models.policy import Policy
from rlhf_core.records.samples import Prompt
from rlhf_core.training.ppo.trainer import train_ppo
from tests.conftest import save_tokenizer
from tests.processes import free_ports
from tests.training.conftest import Rule, pack_for
from tests.training.published_ppo import plain_ppo

PYTHON = os.environ.get("CHARTER_TEST_VLLM", "")
RULES: Any = (Rule("low", "P"), Rule("high", "d"))
START_SECONDS, TOKENS = 300, 24

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="CHARTER_TEST_VLLM names no python that has vllm"),
]


def save_base(folder: Path) -> None:
    """A llama of two layers with heads of 64, which vLLM's kernels for CPUs read; smaller ones they do not."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=264,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        initializer_range=0.15,
        eos_token_id=256,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    save_tokenizer(folder)


@contextmanager
def serving(base: Path, log: Path, *options: str) -> Iterator[str]:
    """Run a server on a free port; yields its address once it answers."""
    (port,) = free_ports(1)
    # `vllm serve` looks for a package of the name vllm, which the builds for CPUs do not have.
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(base)]
    command += ["--port", str(port), "--host", "127.0.0.1"]
    command += ["--enable-lora", "--max-loras", "2", "--dtype", "float32", "--max-model-len", "192", *options]
    own = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    hidden = ("PYTHONPATH", "VIRTUAL_ENV")
    environ = {key: value for key, value in os.environ.items() if key not in hidden} | own
    with log.open("wb") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file, env=environ, start_new_session=True)
    try:
        address, end = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
        while not _answers(address):
            assert server.poll() is None and time.monotonic() < end, log.read_text()[-4000:]
            time.sleep(0.5)
        yield address
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/health").status_code == 200
    except httpx2.TransportError:
        return False


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if given := os.environ.get("CHARTER_TEST_VLLM_MODEL"):
        return Path(given)
    folder = tmp_path_factory.mktemp("base")
    save_base(folder)
    return folder


def policy_of(base: Path) -> Policy:
    backbone = Backbone.load(str(base), ModelConfig(base_model=str(base), lora=LoraConfig(rank=8, alpha=16)))
    backbone.adapters.add("reference", 0)
    with torch.no_grad():
        for i, weight in enumerate(backbone.adapters.parameters("reference")):
            weight.add_(0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(i)))
    backbone.adapters.copy("reference", "policy")
    return Policy(backbone, "policy", ("low", "high"), "reference")


def gaps(policy: Policy, sampler: RemoteSampler) -> torch.Tensor:
    """Differences of the log-probs of an adapter's samples, there and here; tells what it took."""
    backbone = policy.backbone
    given = sampler.hand_over_adapter("policy", 1)
    prompts = [backbone.render(Prompt.of(f"Say {i} nice things.").messages) for i in range(8)]
    started = time.perf_counter()
    written = sampler.write(given.version, prompts, 2, 0.7, TOKENS, seed=5)
    seconds = time.perf_counter() - started
    again = sampler.write(given.version, prompts[:2], 2, 0.7, TOKENS, seed=5)
    same = [a.tokens == b.tokens for a, b in zip(written, again, strict=False)]
    batch = make_batch(backbone, [ids for ids in prompts for _ in range(2)], [reply.tokens for reply in written])
    with backbone.adapters.using("policy"):
        here = response_logprobs(backbone, batch, 0.7)[batch.mask == 1]
    there = torch.tensor([logprob for reply in written for logprob in reply.logprobs])
    gap, tokens = (here - there).abs(), len(there)
    print(f"\nhand-over: {given.bytes:,} bytes in {given.seconds:.3f} s; {tokens} tokens in {seconds:.1f} s: ", end="")
    print(f"{tokens / seconds:.0f} a second; log-probs differ by {gap.mean():.1e}, at most {gap.max():.1e}; ", end="")
    print(f"rows asked for again that came out alike: {sum(same)} of {len(same)}")
    return gap


def test_a_real_server_samples_what_is_learned_here(base, tmp_path, monkeypatch):
    policy, loads = policy_of(base), list[str]()
    load = VllmServer._load

    async def counted(self, client, adapter) -> None:
        loads.append(adapter.name)
        await load(self, client, adapter)

    monkeypatch.setattr(VllmServer, "_load", counted)
    with serving(base, tmp_path / "log", "--logprobs-mode", "processed_logprobs") as address:
        sampler = connect(SamplerConfig(address=address), policy.backbone, tmp_path / "adapters")
        sampler.check()
        gap = gaps(policy, sampler)
        assert gap.mean() < 1e-3 and gap.max() < 0.05

        version = sampler.hand_over_adapter("policy", 2).version
        sampler.server.unload(version.name)
        before = len(loads)
        assert len(sampler.write(version, [[1, 2, 3]], 2, 0.7, 4, seed=0)) == 2
        assert loads[before:] and set(loads[before:]) == {version.name}, "the server had forgotten it"

        with pytest.raises(InvalidInput, match="cannot load the adapter"):
            sampler.server.load(Adapter("nowhere", tmp_path / "nowhere"))
        with pytest.raises(InvalidInput, match="reads 192 tokens"):
            sampler.write(version, [[1] * 160], 1, 0.7, 64, seed=0)
        sampler.close()

        config = plain_ppo(steps=2, prompts_per_step=8, minibatch_size=8, epochs=1, temperature=0.7)
        prompts = [Prompt.of(f"Say {i}.") for i in range(8)]
        sampler = connect(SamplerConfig(address=address), policy.backbone, tmp_path / "ppo")
        weights = {"low": 1.0, "high": 1.0}
        pack = pack_for(policy, RULES)
        units = train_ppo(policy, RULES, pack, prompts, weights, config, 16, 0, sampler=sampler)
        for step in filter(None, units):
            told = {name: value for name, value in step.metrics.values.items() if name.startswith("sampler/")}
            print(step.metrics.step, {name: float(f"{value:.3g}") for name, value in told.items()})
            assert abs(told["sampler/ratio"] - 1) < 0.01 and told["sampler/truncated"] == 0
        sampler.close()


def test_a_real_server_that_tells_other_log_probs_is_refused(base, tmp_path):
    with serving(base, tmp_path / "log") as address:
        sampler = connect(SamplerConfig(address=address), policy_of(base).backbone, tmp_path / "adapters")
        with pytest.raises(InvalidInput, match="processed_logprobs"):
            sampler.check()
