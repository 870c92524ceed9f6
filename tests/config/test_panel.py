"""Which panels of judges can be asked for, and where their models are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from rlhf_core.config.feedback import FeedbackConfig
from rlhf_core.config.run import RunConfig
from rlhf_core.errors import InvalidInput
from services.cli.preflight import plan_run
from services.cli.run_config import InvalidConfig, load_config

NOTES = {"name": "pairs", "protocol": "notes"}
ALONE = {"name": "alone", "protocol": "pointwise"}


def panel(*judges: dict[str, object]) -> FeedbackConfig:
    return FeedbackConfig.model_validate({"judge": {"panel": judges}})


@pytest.mark.parametrize(
    ("judges", "message"),
    [
        ([NOTES], "'pairs' is alone; allowed: two judges or more"),
        ([NOTES, {**ALONE, "name": "pairs"}], "two judges are called 'pairs'; allowed: each name once"),
        ([NOTES, {**NOTES, "name": "twin"}], "'pairs' and 'twin' are both 'policy' asked by notes"),
        ([NOTES, {**ALONE, "name": "A judge"}], "String should match pattern"),
        ([NOTES, {**ALONE, "weight": 0}], "greater than 0"),
        ([NOTES, {"protocol": "pointwise"}], "Field required"),
    ],
)
def test_panels_that_cannot_work_are_refused_with_what_is_allowed(judges: list[dict[str, object]], message: str):
    with pytest.raises(ValidationError, match=message):
        panel(*judges)


def test_one_model_may_judge_by_several_protocols_and_several_models_by_one():
    several = panel(NOTES, ALONE, {**NOTES, "name": "other", "model": "org/model", "weight": 2.5})
    assert [(one.name, one.model, one.weight) for one in several.judge.panel] == [
        ("pairs", "policy", 1),
        ("alone", "policy", 1),
        ("other", "org/model", 2.5),
    ]
    assert list(several.asked()) == ["feedback.critic", *(f"feedback.judge.panel.{i}" for i in range(3))]
    assert list(FeedbackConfig().asked()) == ["feedback.critic", "feedback.judge"]


def test_a_stored_panel_comes_back_as_it_was():
    config = RunConfig(feedback=panel(NOTES, ALONE))
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_a_panel_of_a_file_and_of_an_override_are_read_and_their_mistakes_have_a_place(tmp_path: Path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "feedback:\n  judge:\n    panel:\n      - {name: pairs, protocol: notes}\n      - {name: alone, weight: 2}\n"
    )
    assert [one.weight for one in load_config(str(file)).feedback.judge.panel] == [1, 2]
    given = "feedback.judge.panel=[{name: pairs, protocol: notes}, {name: alone}]"
    assert [one.name for one in load_config(None, [given]).feedback.judge.panel] == ["pairs", "alone"]
    file.write_text(file.read_text().replace("notes", "nodes"))
    with pytest.raises(InvalidConfig, match=r"run.yaml:3:5 feedback.judge.panel.0.protocol: 'nodes' .*'notes'"):
        load_config(str(file))
    file.write_text(file.read_text().replace("protocol: nodes", "protocoll: notes"))
    with pytest.raises(InvalidConfig, match=r"panel.0.protocoll: unknown key 'protocoll', did you mean 'protocol'"):
        load_config(str(file))


def test_the_folder_of_a_panel_s_judge_is_looked_for_before_anything_loads(tmp_path: Path):
    given = f"feedback.judge.panel=[{{name: pairs, protocol: notes}}, {{name: mine, model: {tmp_path}/none}}]"
    with pytest.raises(InvalidInput, match=r"feedback.judge.panel.1.model: no folder"):
        plan_run("", [given], "", None, local=True)


def test_the_path_of_a_panel_s_judge_is_stored_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    given = "feedback.judge.panel=[{name: pairs, protocol: notes}, {name: mine, model: ./mine}]"
    plan = plan_run("", [given], "", None, local=True)
    assert [one.model for one in plan.config.feedback.judge.panel] == ["policy", str(tmp_path / "mine")]
