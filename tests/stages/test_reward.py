"""The stage that trains reward models, on files of labels and tiny real models."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.data.reward_examples import GradedLines, Label, LabelledPair
from rlhf_core.errors import TrainingFailed
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.base_models import Bases
from rlhf_core.models.encoder import Encoder
from rlhf_core.records.runs import StepMetrics
from rlhf_core.records.samples import Prompt
from rlhf_core.stages import reward as module
from rlhf_core.stages import versions
from rlhf_core.stages.context import Context
from rlhf_core.stages.reward import judge_labels, reward_stage
from rlhf_core.stages.reward_data import labels_of
from rlhf_core.stages.versions import drop_adapters, load_reward_models
from rlhf_core.training.reward.trainer import train_reward_models
from tests.encoders import save_encoder
from tests.stages.conftest import Desk, NumberJudge

CONFIG: dict[str, Any] = {"epochs": 1, "batch_size": 8, "members": 2, "heldout_share": 0.3}


def files(folder: Path) -> dict[str, str]:
    """Pairs and rankings for helpful, ratings and steps for harmless."""
    helpful = [{"prompt": f"Q {n}?", "chosen": f"{n} yes", "rejected": "no"} for n in range(20)]
    helpful += [{"prompt": f"R {n}?", "responses": ["a", "b b", "c"], "ranks": [2, 1, 3]} for n in range(10)]
    harmless: list[dict[str, Any]] = [{"prompt": f"Q {n}?", "response": "x" * n, "rating": n} for n in range(1, 16)]
    harmless += [{"prompt": f"S {n}?", "completions": ["ok", "bad"], "labels": [True, False]} for n in range(12)]
    paths = {}
    for name, rows in (("helpful", helpful), ("harmless", harmless)):
        paths[name] = str(folder / f"{name}.jsonl")
        Path(paths[name]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return paths


@pytest.fixture
def stage(desk: Desk, tmp_path: Path, tiny_model: Callable[[str], Backbone]):
    """`stage(reward settings)` is a context whose models are real, and the progress that it publishes."""

    def make(**reward: Any) -> tuple[Context, list[StepMetrics]]:
        settings = {"kind": "reward", "data": {"labels": files(tmp_path)}}
        settings["reward"] = CONFIG | {"process": ["harmless"]} | reward
        ctx, backbone = desk.context(NumberJudge(), settings), tiny_model("llama")
        bases = Bases(backbone, ModelConfig(base_model=backbone.name, lora=LoraConfig(rank=4, alpha=8)))
        seen: list[StepMetrics] = []

        def report(kind: str, body: str) -> None:
            if kind == "metrics":
                seen.append(StepMetrics.model_validate_json(body))

        tools = ctx.tools._replace(backbone=backbone, base_of=bases.of, on_device=lambda unit: unit())
        return ctx._replace(tools=tools, report=report), seen

    return make


@pytest.mark.parametrize("layout", ["adapters", "trunk"])
def test_each_objective_has_its_model_with_what_it_is_worth_by_every_kind_of_label(stage, layout):
    ctx, seen = stage(layout=layout)
    result = reward_stage(ctx)
    models = {name: ctx.store.reward_models.get(version) for name, version in result.reward_models.items()}
    assert list(models) == ["helpful", "harmless"]
    assert (models["helpful"].artifact == models["harmless"].artifact) == (layout == "trunk")
    (helpful,), (harmless,) = models["helpful"].quality, models["harmless"].quality
    assert helpful.pairs == models["helpful"].accuracy_n > 5 and helpful.brier is not None
    assert result.numbers["accuracy.helpful"] == helpful.accuracy
    assert harmless.ratings > 1 and harmless.steps > 1 and harmless.pairs == 0
    assert {step.steps for step in seen} == {len(seen)} and [step.step for step in seen] == list(
        range(1, len(seen) + 1)
    )
    assert ctx.tools.backbone.adapters.names == (), "nothing is left behind"


@pytest.mark.parametrize("layout", ["adapters", "trunk"])
def test_ppo_loads_a_trunk_once_and_gives_it_back(stage, layout):
    ctx, _ = stage(layout=layout)
    versions = reward_stage(ctx).reward_models
    loaded = load_reward_models(ctx, versions, "ppo-reward")
    assert [model.objective for model in loaded.values()] == ["helpful", "harmless"]
    assert len(ctx.tools.backbone.adapters.names) == (1 if layout == "trunk" else 2)
    assert loaded["harmless"].scoring.process and not loaded["helpful"].scoring.process
    drop_adapters(ctx, [], loaded.values())
    assert ctx.tools.backbone.adapters.names == ()


def test_a_reward_model_may_have_an_encoder_of_its_own(stage, tmp_path):
    folder = str(save_encoder(tmp_path / "encoder"))
    ctx, _ = stage(base_model=folder, max_tokens=32, aggregate="uwo", correct_length=True, stop_share=0.2)
    versions = reward_stage(ctx).reward_models
    assert {ctx.store.reward_models.get(version).base_model for version in versions.values()} == {folder}
    models = load_reward_models(ctx, versions, "ppo-reward")
    assert all(isinstance(model.backbone, Encoder) and model.scoring.member_sd for model in models.values())


def test_a_stage_that_died_between_two_models_goes_on_with_the_second_and_ends_alike(stage):
    straight, _ = stage()
    expected = reward_stage(straight)
    ctx, seen = stage()

    def dies(kind: str, body: str) -> None:
        ctx.report(kind, body)
        if seen and any(name.endswith(".harmless") for name in seen[-1].values):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reward_stage(ctx._replace(report=dies))
    died = len(seen)
    resumed = reward_stage(ctx)
    assert [step.step for step in seen[died:]] == list(range(died, seen[-1].steps + 1)), "helpful is not trained again"
    for name, version in resumed.reward_models.items():
        one, other = (ctx.store.reward_models.get(v).artifact for v in (version, expected.reward_models[name]))
        assert one == other
    assert ctx.tools.backbone.adapters.names == ()


@pytest.mark.parametrize("layout", ["adapters", "trunk"])
def test_a_stage_that_died_within_a_model_goes_on_from_its_checkpoint_and_ends_alike(stage, monkeypatch, layout):
    straight, whole = stage(layout=layout, epochs=2)
    expected = reward_stage(straight)
    monkeypatch.setattr(versions, "SECONDS", 0.0)
    for dies_at in (2, len(whole) - 1):
        ctx, seen = stage(layout=layout, epochs=2)

        def dies(kind: str, body: str, ctx: Context = ctx, seen: Any = seen, dies_at: int = dies_at) -> None:
            ctx.report(kind, body)
            if len(seen) == dies_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            reward_stage(ctx._replace(report=dies))
        resumed = reward_stage(ctx)
        # That at which it died was not committed.
        made = [*range(1, dies_at + 1), *range(dies_at, len(whole) + 1)]
        assert [step.step for step in seen] == made, "no other update was made again"
        for name, version in resumed.reward_models.items():
            one, other = (ctx.store.reward_models.get(v).artifact for v in (version, expected.reward_models[name]))
            assert one == other


def test_labels_that_are_all_kept_back_are_said_to_be(stage):
    ctx, _ = stage(heldout_share=0.999999)
    with pytest.raises(TrainingFailed, match="'helpful' has no label to train on: of 30, 30 are held out"):
        reward_stage(ctx)


@pytest.mark.parametrize("layout", ["adapters", "trunk"])
def test_no_prompt_is_shared_by_a_model_its_auditor_and_what_measures_them(stage, monkeypatch, layout):
    learned: list[set[str]] = []
    measured: list[set[str]] = []

    def train(models: Any, labels: list[list[Label]], config: Any, seed: int, stop: Any, *resumed: Any) -> Any:
        learned.extend(prompts(*lot) for lot in zip_longest(labels, stop, fillvalue=()))
        return train_reward_models(models, labels, config, seed, stop, *resumed)

    def judge(model: Any, labels: list[Label]) -> Any:
        measured.append(prompts(labels))
        return judge_labels(model, labels)

    monkeypatch.setattr(module, "train_reward_models", train)
    monkeypatch.setattr(module, "judge_labels", judge)
    ctx, _ = stage(layout=layout, auditor_share=0.4, stop_share=0.2, process=[])
    rows = [{"prompt": f"Q {n % 40}?", "chosen": f"{n} yes", "rejected": "no"} for n in range(80)]
    for path in ctx.config.data.labels.values():
        Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    reward_stage(ctx)
    for model, auditor, heldout, again in zip(learned[:2], learned[2:], measured[:2], measured[2:], strict=True):
        assert min(map(len, (model, auditor, heldout))) > 3 and again == heldout
        assert len(model | auditor | heldout) == len(model) + len(auditor) + len(heldout) == 40


def test_where_a_judge_graded_lines_its_pairs_only_measure(stage):
    ctx, _ = stage()
    result = labels_of(ctx, "helpful")
    asked = [Prompt.of(f"Judged {n}?") for n in range(30)]
    pairs = [LabelledPair(prompt, "yes", "no", 0.9) for prompt in asked]
    lines = [GradedLines(prompt, "yes\nno", (1.0, -1.0)) for prompt in asked]
    person = [LabelledPair(Prompt.of(f"Read {n}?"), "yes", "no", 1.0, source="human") for n in range(30)]
    lot = module._lot(ctx, "harmless", result._replace(labels=[*pairs, *person], graded=lines), auditor=False)
    assert {label.source for label in lot.train if isinstance(label, LabelledPair)} == {"human"}
    assert sum(isinstance(label, GradedLines) for label in lot.train) > 10
    assert {label.source for label in lot.heldout if isinstance(label, LabelledPair)} == {"ai", "human"}
    lot = module._lot(ctx, "harmless", result._replace(labels=pairs, graded=[]), auditor=False)
    assert all(isinstance(label, LabelledPair) for label in lot.train)


def prompts(*labels: list[Label]) -> set[str]:
    return {label.prompt.id for part in labels for label in part}


def test_own_files_are_counted_by_themselves(stage):
    ctx, _ = stage()
    model = ctx.store.reward_models.get(reward_stage(ctx).reward_models["helpful"])
    assert model.data_pairs == model.pairs > 5 and model.human_pairs == 0


def test_models_that_are_there_are_not_trained_again(stage):
    ctx, seen = stage()
    first = reward_stage(ctx)
    done = len(seen)
    assert reward_stage(ctx).reward_models == first.reward_models and len(seen) == done
