"""Stages whose samples another server writes: a real HTTP server in vLLM's shapes, the same tiny model behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlhf_core.config.run import LoraConfig, RunConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.inference import vllm_http
from rlhf_core.records.base import Stage
from rlhf_core.stages.context import Context, RunStopped
from rlhf_core.stages.elsewhere.remote_samples import Patience, ppo_sampler, sampling
from rlhf_core.stages.ppo import ppo_stage
from tests.local_sampler import LocalSampler
from tests.stages.test_ppo_stage import PROMPTS, at_work
from tests.vllm_server import Asked, TinyVllm, running

__all__ = ["at_work"]


@pytest.fixture
def server(tiny_model) -> Iterator[TinyVllm]:
    with running(TinyVllm(tiny_model())) as server:
        yield server


@pytest.fixture
def served(at_work: Callable[..., Context], server: TinyVllm) -> Callable[..., Context]:
    """`served(ppo settings)` is a context whose samples the server writes."""

    def context(**ppo: object) -> Context:
        ctx = at_work(**ppo)
        sampler = ctx.config.model.sampler.model_copy(update={"address": server.address})
        model = ctx.config.model.model_copy(update={"sampler": sampler})
        return ctx._replace(config=ctx.config.model_copy(update={"model": model}))

    return context


def texts(samples) -> list[tuple[str, bool, int]]:
    return [(sample.response, sample.finished, sample.tokens) for sample in samples]


@pytest.mark.parametrize("version", ["base", "sft-1"])
def test_a_stages_samples_are_those_that_this_process_would_write(served, version):
    ctx = served()
    asked = {"n": 2, "temperature": 0.7, "max_tokens": 6, "seed": 3}
    with sampling(ctx, ["norm_pack"]) as there:
        samples = there.tools.sampler.generate(PROMPTS[:3], policy_version=version, **asked)
    adapter = "sft" if version == "sft-1" else version
    own = LocalSampler(ctx.tools.backbone).generate(PROMPTS[:3], policy_version=adapter, **asked)
    assert texts(samples) == texts(own)
    assert [sample.logprob for sample in samples] == pytest.approx([sample.logprob for sample in own], abs=1e-4)
    assert {sample.policy_version for sample in samples} == {version}


def test_what_the_server_was_given_is_taken_back_at_the_end(served, server):
    ctx = served()
    with sampling(ctx, ["ppo"]) as there:
        there.tools.sampler.generate(PROMPTS[:1], policy_version="sft-1")
        assert server.loaded
    assert not server.loaded
    assert not list((ctx.tools.runs_folder / ctx.run.id).rglob("*.safetensors"))


def test_an_attempt_that_has_lost_its_lease_takes_nothing_from_the_one_that_has_it(served, server):
    lost = served()
    now = lost._replace(run=lost.run.model_copy(update={"fence": lost.run.fence + 1}))
    with sampling(now, ["ppo"]) as there:
        with sampling(lost, ["ppo"]) as gone:
            for each in (gone, there):
                before = each.tools.sampler.generate(PROMPTS[:1], policy_version="sft-1")
        server.restart()
        assert there.tools.sampler.generate(PROMPTS[:1], policy_version="sft-1") == before


def test_so_it_is_when_the_run_is_stopped(served, server):
    stopped = False
    ctx = served()._replace(should_stop=lambda: stopped)
    with pytest.raises(RunStopped), sampling(ctx, ["ppo"]) as there:
        there.tools.sampler.generate(PROMPTS[:1], policy_version="sft-1")
        stopped = True
        there.tools.sampler.generate(PROMPTS[:1], policy_version="sft-1")
    assert not server.loaded


def test_the_ppo_stage_learns_from_what_the_server_writes(served, server, desk):
    ctx = served(steps=2, prompts_per_step=4)
    ppo_stage(ctx)
    samples = desk.store.samples.of_run(ctx.run.id, stage="ppo")
    assert len(samples) == 8
    assert {sample.policy_version.rsplit("-", 1)[0] for sample in samples} == {"policy-0", "policy-1"}
    assert len(server.of("completions")) == 8 and not server.loaded


def test_rows_that_are_written_ahead_are_stored_with_what_their_policy_is_behind(served, server, desk):
    ctx = served(steps=3, prompts_per_step=4, overlap="rollouts")
    ppo_stage(ctx)
    samples = desk.store.samples.of_run(ctx.run.id, stage="ppo")
    assert [sample.staleness for sample in samples] == [0] * 4 + [1] * 8
    assert len(server.of("completions")) == 12 and not server.loaded
    assert not list((ctx.tools.runs_folder / ctx.run.id).rglob("*.safetensors"))


def test_a_stage_that_was_stopped_amid_overlap_goes_on_to_the_same_policy(served, desk):
    straight = ppo_stage(served(overlap="rollouts"))
    ctx = served(overlap="rollouts")
    with pytest.raises(RunStopped):
        ppo_stage(ctx._replace(should_stop=lambda: True))
    resumed = ppo_stage(ctx)
    one, other = (desk.store.policy_versions.get(result.policy_version) for result in (straight, resumed))
    assert one.artifact == other.artifact


@pytest.mark.parametrize(("threads", "overlap", "notes"), [(2, "rollouts", 1), (1, "rollouts", 0), (2, "none", 0)])
def test_two_processes_that_do_not_fit_on_the_cores_are_told_of(at_work, desk, monkeypatch, threads, overlap, notes):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    ctx = at_work(overlap=overlap)
    model = ctx.config.model.model_copy(update={"threads": threads})
    ctx = ctx._replace(config=ctx.config.model_copy(update={"model": model}))
    with ppo_sampler(ctx, "ppo", ctx.config.ppo) as sampler:
        assert (sampler is None) == (overlap == "none")
    told = [note for note in desk.notes if "share 2 cores" in note]
    assert len(told) == notes and all("model.threads=1 leaves each its own" in note for note in told)


@pytest.mark.slow
def test_a_process_of_the_runs_own_writes_ahead_where_no_server_is_named(at_work, desk):
    ctx = at_work(overlap="rollouts")
    lora = LoraConfig(rank=4, alpha=8)
    model = ctx.config.model.model_copy(update={"base_model": ctx.tools.backbone.path, "lora": lora, "threads": 1})
    ctx = ctx._replace(config=ctx.config.model_copy(update={"model": model}))
    ppo_stage(ctx)
    samples = desk.store.samples.of_run(ctx.run.id, stage="ppo")
    assert [sample.staleness for sample in samples] == [0] * 6 + [1] * 12
    assert {sample.policy_version.rsplit("-", 1)[0] for sample in samples} == {"policy-0", "policy-1"}


def test_a_run_that_samples_nothing_or_here_asks_no_server(served, at_work, server):
    cases: list[tuple[Context, Stage]] = [(served(), "sft"), (at_work(), "ppo")]
    for ctx, stage in cases:
        with sampling(ctx, [stage]) as same:
            assert same is ctx
    assert not server.asked


def test_a_run_that_is_stopped_waits_for_no_server(served):
    ctx = served()._replace(should_stop=lambda: True)
    with pytest.raises(RunStopped), sampling(ctx, ["label"]):
        pass


@pytest.mark.parametrize("overlap", ["none", "rollouts"])
def test_a_run_that_is_asked_to_stop_waits_only_so_long_for_a_server_that_says_nothing(
    served, server: TinyVllm, monkeypatch, overlap: str
):
    monkeypatch.setattr(vllm_http, "FORGET_SECONDS", 0.3)
    over = threading.Event()

    def says_nothing(asked: Asked) -> None:
        if asked.path == "/v1/completions":
            over.wait(60)

    server.fails = says_nothing
    stopped = served(overlap=overlap)._replace(should_stop=lambda: True)
    sampler = stopped.config.model.sampler.model_copy(update={"timeout_seconds": 0.5})
    model = stopped.config.model.model_copy(update={"sampler": sampler})
    stopped = stopped._replace(config=stopped.config.model_copy(update={"model": model}))
    started = time.monotonic()
    try:
        with pytest.raises(RunStopped):
            ppo_stage(stopped)
    finally:
        over.set()
    assert time.monotonic() - started < 30


def test_a_run_that_is_asked_to_stop_waits_on_while_rows_come(served, monkeypatch):
    ctx = served()._replace(should_stop=lambda: True)
    limit, now = ctx.config.model.sampler.timeout_seconds, 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    rows = {"last": now}
    patience = Patience(ctx, lambda: rows["last"])
    for _ in range(3):
        patience()
        now += 0.9 * limit
        rows["last"] = now
    now += 1.1 * limit
    with pytest.raises(RunStopped):
        patience()


def test_weights_that_are_no_adapter_are_refused_by_their_settings():
    with pytest.raises(ValueError, match=r"model.sampler.address is 'http://h:8000' and ppo.tune is 'full'; allowed"):
        RunConfig.model_validate({"model": {"sampler": {"address": "http://h:8000"}}, "ppo": {"tune": "full"}})
    with pytest.raises(ValueError, match="'h:8000' is not an address"):
        RunConfig.model_validate({"model": {"sampler": {"address": "h:8000"}}})


def test_a_version_without_an_adapter_is_refused(served, desk, tmp_path: Path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "weights").write_text("all")
    ctx = served()
    artifact = desk.store.artifacts.put_folder(tmp_path / "full")
    desk.store.policy_versions.add(
        desk.store.policy_versions.get("sft-1").model_copy(update={"id": "full-1", "artifact": artifact})
    )
    with sampling(ctx, ["evaluate"]) as there, pytest.raises(InvalidInput, match="holds no low-rank adapter"):
        there.tools.sampler.generate(PROMPTS[:1], policy_version="full-1")
