"""The PPO stage on a tiny model: its knobs reach the loop, and what it publishes can be loaded and resumed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlhf_core.evaluation.plots.style import LIGHT, draw_curves
from rlhf_core.evaluation.report.record import Report
from rlhf_core.evaluation.run_summary import curves
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import make_batch
from rlhf_core.models.policy import Policy
from rlhf_core.records.base import Stage
from rlhf_core.records.models import PolicyVersion
from rlhf_core.records.runs import StageResult, StepMetrics
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.stages.context import Context, RunStopped
from rlhf_core.stages.ppo import ppo_stage
from rlhf_core.stages.prompts import ppo_prompts, prompts_of
from rlhf_core.stages.told_steps import told_steps
from rlhf_core.training.ppo.trainer import PpoStep, train_ppo
from tests.records import norm_pack, reward_model
from tests.stages.conftest import Desk, NumberJudge
from tests.training.published_ppo import PLAIN

OBJECTIVES = ("helpful", "harmless")
TINY = {"steps": 3, "prompts_per_step": 6, "minibatch_size": 4, "epochs": 1, "checkpoint_every": 1, "eval_every": 10}
PROMPTS = tuple(Prompt.of(f"ask {i}", split="train" if i < 9 else "heldout") for i in range(12))


def publish(desk: Desk, backbone: Backbone, folder: Path) -> dict[Stage, StageResult]:
    """What the stages before PPO would have left in the store."""
    backbone.adapters.add("sft", 1)
    with torch.no_grad():  # a new adapter would be the base, and no test could tell the two apart
        for parameter in backbone.adapters.parameters("sft"):
            parameter.add_(0.02)
    backbone.adapters.save("sft", folder / "sft")
    artifacts, versions = desk.store.artifacts, {}
    policy = artifacts.put_folder(folder / "sft")
    desk.store.policy_versions.add(
        PolicyVersion(id="sft-1", run_id="r", stage="sft", parent="base", base_model="base", artifact=policy)
    )
    for seed, name in enumerate(OBJECTIVES):
        RewardModel.create(backbone, name, name, members=2, seed=seed).save(folder / name)
        version = reward_model(id=f"reward-{name}", objective=name, artifact=artifacts.put_folder(folder / name))
        version = version.model_copy(update={"base_model": backbone.name})
        desk.store.reward_models.add(version)
        versions[name] = version.id
    desk.store.norm_packs.add(norm_pack(reward_models=tuple(versions.values())))
    heard = Sample(
        id="heard", prompt=PROMPTS[0], response="dust the shelf", policy_version="sft-1", run_id="r", stage="norm_pack"
    )
    desk.store.prompts.add([heard.prompt])
    desk.store.samples.add([heard])
    return {
        "sft": StageResult(run_id="r", stage="sft", policy_version="sft-1"),
        "reward": StageResult(run_id="r", stage="reward", reward_models=versions),
        "norm_pack": StageResult(run_id="r", stage="norm_pack", norm_pack="pack"),
    }


@pytest.fixture
def at_work(desk: Desk, tiny_model: Callable[[], Backbone], tmp_path: Path) -> Callable[..., Context]:
    """`at_work(ppo settings)` is a context that is ready for the stage; all share one store and one backbone."""
    backbone = tiny_model()
    results = publish(desk, backbone, tmp_path / "made")
    for name in OBJECTIVES:
        backbone.adapters.delete(name)
    shown = tmp_path / "shown.jsonl"
    shown.write_text("\n".join(json.dumps({"prompt": f"ask {i}", "response": "dust it"}) for i in range(4)))

    def context(**ppo: object) -> Context:
        config = {
            "kind": "ppo",
            "ppo": PLAIN | TINY | ppo,
            "model": {"max_tokens": 6},
            "data": {"demonstrations": str(shown)},
        }
        ctx = desk.context(NumberJudge(), config)
        world: Any = SimpleNamespace(
            prompts=PROMPTS, gold=SimpleNamespace(score=lambda *_: dict.fromkeys(OBJECTIVES, 0.0))
        )
        tools = ctx.tools._replace(
            backbone=backbone, base_of=lambda _: backbone, on_device=lambda unit: unit(), world=world
        )
        ctx.results.update(results)
        return ctx._replace(tools=tools)

    return context


KNOBS: dict[str, dict[str, object]] = {
    "lora": {},
    "full": {"tune": "full"},
    "rloo": {"advantage": "rloo", "samples_per_prompt": 2, "kl_in": "loss", "kl_estimator": "k3"},
    "replay": {"ptx_coef": 0.5, "ptx_batch_size": 2, "micro_batch_size": 2, "max_update_kl": 0.5},
}


def test_ppo_asks_prompts_that_critique_did_not_where_it_is_told_to_and_some_are_left(desk, at_work):
    ctx = at_work(unseen_prompts=True, steps=2)
    asked = prompts_of(ctx, "train")
    ctx.results["critique"] = StageResult(run_id=ctx.run.id, stage="critique")
    made = {"response": "dust", "policy_version": "base", "run_id": ctx.run.id, "stage": "critique"}
    rows = [Sample(id=f"critique-{prompt.id}", prompt=prompt, **made) for prompt in asked]
    desk.store.samples.add(rows[:-1])
    ppo_stage(ctx)
    drawn = {sample.prompt.id for sample in desk.store.samples.of_run(ctx.run.id, stage="ppo")}
    assert drawn == {asked[-1].id}
    desk.store.samples.add(rows[-1:])
    assert {prompt.id for prompt in ppo_prompts(ctx)} == {prompt.id for prompt in asked}
    assert any("so PPO asks them again" in note for note in desk.notes)


def test_a_step_from_which_ppo_goes_on_has_been_told(desk, at_work):
    """Killed while it tells the second step: the step is made again, and every step is told once with its samples."""
    ctx, told = at_work(), itertools.count(1)

    def report(kind: str, body: str) -> None:
        if kind == "metrics" and next(told) == 2:
            raise KeyboardInterrupt
        desk.store.events.append(ctx.run.id, kind, body)

    with pytest.raises(KeyboardInterrupt):
        ppo_stage(ctx._replace(report=report))
    assert len(desk.store.samples.of_run(ctx.run.id, stage="ppo")) == 6
    ppo_stage(ctx._replace(report=report))
    assert [one.step for one in told_steps(desk.store, ctx.run.id)] == [1, 2, 3]
    assert len(desk.store.samples.of_run(ctx.run.id, stage="ppo")) == 18


@pytest.mark.parametrize("name", KNOBS)
def test_the_stage_publishes_a_policy_that_loads_and_stores_every_sample(desk, at_work, name):
    ctx = at_work(**KNOBS[name])
    result, backbone = ppo_stage(ctx), ctx.tools.backbone
    version = desk.store.policy_versions.get(result.policy_version)
    backbone.adapters.load("published", desk.store.artifacts.get_folder(version.artifact))
    assert backbone.adapters.names == ("sft", "published")
    samples = desk.store.samples.of_run(ctx.run.id, stage="ppo")
    assert len(samples) == result.counts["samples"] == 3 * 6 * (2 if name == "rloo" else 1)
    with backbone.adapters.using("sft"):
        before = backbone.hidden(*backbone.pad_left([[5, 6, 7]]), 1)
    with backbone.adapters.using("published"):
        assert (backbone.hidden(*backbone.pad_left([[5, 6, 7]]), 1) - before).abs().max() > 1e-6


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_the_kl_is_measured_from_the_fine_tuned_policy_not_from_the_policy_itself(at_work, monkeypatch, tune):
    prompt, response = [5, 6, 7], [11, 12, 256]
    result: list[tuple[float, float]] = []

    def trained(policy: Policy, *rest: Any) -> Iterator[PpoStep | None]:
        yield from train_ppo(policy, *rest)
        batch = make_batch(policy.backbone, [prompt], [response])
        now, reference = policy.evaluate(batch).logprobs, policy.reference_logprobs(batch)
        result.append((now.sum().item(), reference.sum().item()))

    monkeypatch.setattr("rlhf_core.stages.ppo.train_ppo", trained)
    ctx = at_work(tune=tune, learning_rate=3e-2)
    kl: list[float] = []

    def report(kind: str, body: str) -> None:
        kl.extend([json.loads(body)["values"]["kl"]] if kind == "metrics" else [])

    ppo_stage(ctx._replace(report=report))
    backbone = ctx.tools.backbone
    with torch.no_grad(), backbone.adapters.using("sft"):
        labels = torch.tensor([[-100] * len(prompt) + response])
        fine_tuned = -3 * backbone.model(torch.tensor([prompt + response]), labels=labels).loss.item()
    ((now, reference),) = result
    assert reference == pytest.approx(fine_tuned, abs=1e-3) and abs(now - fine_tuned) > 0.1
    assert kl[0] == pytest.approx(0, abs=1e-4) and min(kl[1:]) > 0.5


def test_ppo_trains_on_training_prompts_alone_and_is_watched_on_held_out_ones(desk, at_work):
    ctx = at_work(steps=1, prompts_per_step=12, minibatch_size=12)
    watched: list[Prompt] = []

    def score(prompt: Prompt, _: str) -> dict[str, float]:
        watched.append(prompt)
        return dict.fromkeys(OBJECTIVES, 0.0)

    world: Any = SimpleNamespace(prompts=PROMPTS, gold=SimpleNamespace(score=score))
    ppo_stage(ctx._replace(tools=ctx.tools._replace(world=world)))
    trained = {sample.prompt.id for sample in desk.store.samples.of_run(ctx.run.id, stage="ppo")}
    assert trained == {prompt.id for prompt in PROMPTS[:9]}
    assert {prompt.id for prompt in watched} == {prompt.id for prompt in PROMPTS[9:]}


def test_the_report_draws_what_the_stage_tells_of_its_steps(desk, at_work):
    ctx = at_work(eval_every=1)
    rows: list[StepMetrics] = []

    def report(kind: str, body: str) -> None:
        rows.extend([StepMetrics.model_validate_json(body)] if kind == "metrics" else [])

    ppo_stage(ctx._replace(report=report))
    result = Report.model_construct(objectives=OBJECTIVES, curves=curves(rows))
    figure = draw_curves(result, LIGHT)
    assert figure is not None and [axis.get_title(loc="left") or axis.get_title() for axis in figure.axes] == [
        "Reward, weighted",
        "KL from the reference",
        "Reward models",
        "Gold, held out",
    ]


@pytest.mark.parametrize(("temperature", "notes"), [(1.0, 0), (0.7, 1)])
def test_a_scale_of_another_temperature_than_the_rollouts_is_noted(desk, at_work, temperature, notes):
    ppo_stage(at_work(steps=1, temperature=temperature))
    told = [note for note in desk.notes if "scale of scores" in note]
    assert len(told) == notes
    assert all("measured at temperature 1 and rollouts run at 0.7" in note for note in told)


@pytest.mark.parametrize("name", KNOBS)
def test_a_stage_that_was_stopped_goes_on_to_the_same_policy(desk, at_work, name):
    straight = ppo_stage(at_work(**KNOBS[name]))
    ctx = at_work(**KNOBS[name])
    with pytest.raises(RunStopped):
        ppo_stage(ctx._replace(should_stop=lambda: True))
    resumed = ppo_stage(ctx)
    one, other = (desk.store.policy_versions.get(result.policy_version) for result in (straight, resumed))
    assert one.artifact == other.artifact
