"""`charter sweep`: which runs it makes, what it refuses, and that it goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.records.runs import Run
from services.cli.main import app
from services.cli.run_config import InvalidConfig
from services.cli.runs.grid import axis_of, cells_of, told
from services.cli.runs.sweep import config_of
from tests.small_run import SMALL

DONE = Run(id="run-1", kind="pipeline", state="SUCCEEDED", config=RunConfig().model_dump_json(), constitution_hash="k")


def test_all_combinations_in_the_order_in_which_they_are_written():
    cells = cells_of([axis_of("ppo.kl_coef=0.02,0.05"), axis_of("seed=0,1")], None, 0)
    assert [told(cell) for cell in cells] == [
        "ppo.kl_coef=0.02, seed=0",
        "ppo.kl_coef=0.02, seed=1",
        "ppo.kl_coef=0.05, seed=0",
        "ppo.kl_coef=0.05, seed=1",
    ]


def test_a_value_may_be_a_mapping():
    axis = axis_of("weights={helpful: 1, harmless: 3}, {helpful: 1}")
    assert axis.values == ({"helpful": 1, "harmless": 3}, {"helpful": 1})


def test_a_draw_is_decided_by_its_seed_and_has_no_cell_twice():
    axes = [axis_of("ppo.kl_coef=0.1,0.2,0.3"), axis_of("seed=0,1,2")]
    drawn = cells_of(axes, 5, 7)
    assert drawn == cells_of(axes, 5, 7) != cells_of(axes, 5, 8)
    assert len({told(cell) for cell in drawn}) == 5


@given(st.integers(0, 1000))
def test_draws_from_ranges_stay_inside_and_keep_to_whole_numbers(seed):
    axes = [axis_of("ppo.learning_rate=1e-4..1e-2"), axis_of("ppo.steps=5..9"), axis_of("ppo.clip_range=-0.5..0.5")]
    for cell in cells_of(axes, 4, seed):
        assert 1e-4 <= cell["ppo.learning_rate"] <= 1e-2 and -0.5 <= cell["ppo.clip_range"] <= 0.5
        assert cell["ppo.steps"] in range(5, 10) and isinstance(cell["ppo.steps"], int)


def test_a_wide_range_is_drawn_from_by_its_logarithm():
    """Half of the draws from 1e-4 to 1e-2 lie below 1e-3; drawn evenly a tenth would."""
    cells = cells_of([axis_of("ppo.learning_rate=1e-4..1e-2")], 200, 0)
    assert 70 <= sum(cell["ppo.learning_rate"] < 1e-3 for cell in cells) <= 130


@pytest.mark.parametrize(
    ("cell", "start"),
    [
        ({"ppo.kl_coef": 0.1}, "ppo"),
        ({"weights.harmless": 3}, "ppo"),
        ({"reward.epochs": 1, "seed": 3}, "reward"),
        ({"evaluation.prompts": 9}, "evaluate"),
    ],
)
def test_a_run_begins_where_its_settings_are_first_read(cell, start):
    config = config_of(DONE, cell)
    assert (config.from_run, config.start_at, config.ppo.control_steps) == ("run-1", start, 0)


def test_settings_of_the_whole_story_begin_it_anew():
    config = config_of(DONE, {"model.max_tokens": 20})
    assert (config.from_run, config.start_at, config.model.max_tokens) == (None, None, 20)


def test_other_settings_are_set_in_every_run_and_count_for_where_it_begins():
    config = config_of(DONE, {"ppo.kl_coef": 0.1}, ["label.pairs=50"])
    assert (config.start_at, config.label.pairs, config.ppo.kl_coef) == ("label", 50, 0.1)


def test_one_weight_is_turned_and_the_others_stay():
    dialled = DONE.model_copy(update={"config": RunConfig(weights={"helpful": 2, "harmless": 1}).model_dump_json()})
    assert config_of(dialled, {"weights.harmless": 5}).weights == {"helpful": 2, "harmless": 5}
    assert config_of(dialled, {"weights.harmless": 0}).weights == {"helpful": 2, "harmless": 0}


def test_what_is_wrong_with_a_setting_names_it():
    with pytest.raises(InvalidConfig, match=r"-s ppo\.kl_coefs=0\.1 .*did you mean 'kl_coef'"):
        config_of(DONE, {"ppo.kl_coefs": 0.1})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--over", "ppo.kl_coef"], "write it as KEY=VALUE,VALUE"),
        (["--over", "ppo..kl_coef=1,2"], "write it as KEY=VALUE,VALUE"),
        (["--over", "ppo.kl_coef=0.1"], "1 values; allowed: at least 2"),
        (["--over", "ppo.kl_coef=0.1,0.1"], "a value is there twice"),
        (["--over", "ppo.kl_coef=0.1,[0.2"], "not YAML"),
        (["--over", "ppo.kl_coef=0.2..0.1"], "the low end comes first"),
        (["--over", "ppo.kl_coef=0.1..0.2"], "say how many with --random N"),
        (["--over", "seed=0,1", "--over", "seed=2,3"], "given twice"),
        (["--over", "seed=0,1", "--random", "3"], "3 runs; allowed: 1 to 2"),
        (["--over", "ppo.steps=1..2", "--random", "3"], "only 2 different combinations"),
        (["--over", f"seed={','.join(map(str, range(201)))}"], "201 runs; allowed: 1 to 200"),
        (["-s", "ppo.steps=3"], "nothing to sweep over"),
    ],
)
def test_a_wrong_sweep_is_told_before_anything_runs(tmp_path: Path, arguments, told):
    (tmp_path / "charter.db").touch()
    failed = CliRunner().invoke(app, ["sweep", "kl", *arguments, "--data", str(tmp_path)])
    assert isinstance(failed.exception, InvalidInput) and told in str(failed.exception)


def test_a_name_that_makes_no_file_is_refused(tmp_path: Path):
    failed = CliRunner().invoke(app, ["sweep", "../kl", "--data", str(tmp_path)])
    assert isinstance(failed.exception, InvalidInput) and "NAME: '../kl' is not allowed" in str(failed.exception)


def test_a_folder_without_runs_is_told(tmp_path: Path):
    failed = CliRunner().invoke(app, ["sweep", "kl", "--over", "seed=0,1", "--data", str(tmp_path / "none")])
    assert isinstance(failed.exception, NotFound) and "no data folder" in str(failed.exception)


@pytest.mark.slow
def test_a_sweep_runs_its_cells_once_and_tells_what_came_of_them(tmp_path: Path):
    data, small = tmp_path / "data", tmp_path / "run.yaml"
    small.write_text(SMALL.model_dump_json(exclude_unset=True))

    def charter(*arguments: str):
        done = CliRunner().invoke(app, [*arguments, "--data", str(data)])
        assert done.exception is None, done.output
        return done.stdout

    charter("run", "-c", str(small), "--name", "first")
    over = ("sweep", "kl", "--over", "ppo.kl_coef=0.02,0.5", "--over", "seed=0,1")
    said = charter(*over)
    assert "4 runs like" in said and "from stage ppo" in said and "between seeds, all else the same" in said
    assert (data / "sweeps" / "kl.html").read_text().count("data:image/png") == 2
    runs = json.loads(charter("runs", "--tag", "sweep=kl", "--json"))["runs"]
    assert sorted(run["display_name"] for run in runs) == [
        *(f"kl: ppo.kl_coef={kl}, seed={seed}" for kl in (0.02, 0.5) for seed in (0, 1))
    ]
    assert charter(*over).count("succeeded already") == 4, "the same command does nothing twice"
    told = json.loads(charter("sweep", "kl", "--json"))
    assert told["varied"] == {"ppo.kl_coef": ["0.02", "0.5"], "seed": ["0", "1"]} and len(told["cells"]) == 4
