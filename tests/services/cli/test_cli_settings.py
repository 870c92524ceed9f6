"""Configuration from YAML, environment, `-s` and `--weights`: who wins, and what a mistake says."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import InvalidInput
from services.cli.run_config import InvalidConfig, load_config, override_setting

ROOT = Path(__file__).parents[3]


def write(folder: Path, text: str) -> str:
    file = folder / "run.yaml"
    file.write_text(text)
    return str(file)


def problems(file: str | None = None, *overrides: str, weights: str = "") -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        load_config(file, overrides, weights, environ={})
    return str(caught.value).splitlines()


def test_nothing_given_is_the_default():
    assert load_config(environ={}) == RunConfig()


def test_the_later_source_wins(tmp_path: Path):
    file = write(tmp_path, "ppo: {steps: 2, epochs: 2, gamma: 0.5, lam: 0.5}\n")
    environ = {"CHARTER__PPO__EPOCHS": "3", "CHARTER__PPO__GAMMA": "0.6", "CHARTER_DATA": "elsewhere"}
    config = load_config(file, ["ppo.gamma=0.7"], environ=environ)
    assert (config.ppo.steps, config.ppo.epochs, config.ppo.gamma, config.ppo.lam) == (2, 3, 0.7, 0.5)


def test_an_override_turns_one_weight_and_the_dial_replaces_all(tmp_path: Path):
    file = write(tmp_path, "weights: {helpful: 1, harmless: 1}\n")
    assert load_config(file, ["weights.harmless=2"], environ={}).weights == {"helpful": 1, "harmless": 2}
    assert load_config(file, ["weights.harmless=2"], "helpful=3", environ={}).weights == {"helpful": 3}


def test_numbers_are_yaml_1_2():
    config = load_config(None, ["ppo.learning_rate=1e-4", "model.base_model=no", "ppo.kl_target=null"], environ={})
    assert config.ppo.learning_rate == 1e-4
    assert config.model.base_model == "no"
    assert config.ppo.kl_target is None


def test_every_problem_is_reported_at_once_with_its_place(tmp_path: Path):
    file = write(
        tmp_path, "seed: 1\nppo:\n  step: 10\n  steps: 0\nkind: pipelin\nweights: {helpful: 1, harmless: -2}\n"
    )
    assert problems(file) == [
        f"{file}:3:3 ppo.step: unknown key 'step', did you mean 'steps'?",
        f"{file}:4:3 ppo.steps: 0 is not allowed: input should be greater than or equal to 1",
        f"{file}:5:1 kind: 'pipelin' is not allowed, did you mean 'pipeline'?",
        f"{file}:6:23 weights: weight of 'harmless' is -2.0; allowed: a finite number of at least 0",
    ]


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("a: 1\na: 2\n", ":2:1", 'the key "a" is given twice; first on line 1'),
        ("ppo: [1\nsft: 2\n", ":2:4", "expected"),
        ("- 1\n", ":1:1", "mapping"),
        ("ppo: 3\n", ":1:1", "not a section"),
        ("seed: \x07\n", ":1:7", "not valid YAML: the character U+0007 is not allowed"),
        (
            "sft: &short {epochs: 3}\nppo: *short\n",
            ":2:6",
            "not valid YAML: aliases are not allowed; write the text out",
        ),
        ("sft: &short\n  epochs: 3\nppo:\n  <<: *short\n", ":4:7", "not valid YAML: aliases are not allowed"),
        ("seed: !!python/object:os.system ls\n", ":1:7", "not valid YAML: the tag tag:yaml.org,2002:python"),
        ("seed: 1\n---\nseed: 2\n", ":2:1", "not valid YAML: a second document begins"),
        ("weights: {helpful: .nan}\n", ":1:11", "finite"),
        ("weights: {helpful: 0}\n", ":1:1", "at least one must be above 0"),
        ("seed: 2020-99-99\n", ":1:1", "seed: '2020-99-99' is not allowed"),
        ("tracking:\n  to: [tensorbord]\n", ":2:3", "'tensorbord' is not allowed, did you mean 'tensorboard'?"),
        (f"seed: {'9' * 5000}\n", ":1:1", "seed: inf is not allowed"),
    ],
)
def test_a_broken_file_is_one_line_with_its_place(tmp_path: Path, text: str, place: str, reason: str):
    file = write(tmp_path, text)
    (line,) = problems(file)
    assert line.startswith(f"{file}{place}")
    assert reason in line


def test_a_mistake_of_the_whole_is_told_at_a_key_that_it_names_and_else_at_no_line(tmp_path: Path):
    file = write(tmp_path, "seed: 1\nppo: {prompts_per_step: 4}\nlearner:\n  processes: 5\n")
    (line,) = problems(file)
    assert line.startswith(f"{file}:2:7: learner.processes is 5 and ppo.prompts_per_step is 4")
    (line,) = problems(None, "seed=1", "learner.processes=33")
    assert line.startswith("-s learner.processes=33: learner.processes is 33 and ppo.prompts_per_step is 32")


def test_nested_aliases_are_refused_at_once(tmp_path: Path):
    levels = [f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in pairwise("abcdefghijkl")]
    file = write(tmp_path, "\n".join(["a: &a [x, x]", *levels]))
    began = time.monotonic()
    assert problems(file) == [
        f"{file}:2:8 not valid YAML: aliases are not allowed; write the text out where it is used"
    ]
    assert len(problems(None, "data=&x [*x]")) == 1
    assert time.monotonic() - began < 5


def test_an_empty_section_and_an_empty_file_are_the_defaults(tmp_path: Path):
    for text in ("reward:\nmodel:\n  lora:\n", "reward: null\n", "", "# nothing\n"):
        assert load_config(write(tmp_path, text), environ={}) == RunConfig()


@pytest.mark.parametrize("text", ["seed=2020-99-99", f"seed={'9' * 5000}", "ppo=&a [*a]"])
def test_an_override_that_yaml_cannot_make_a_value_of_is_one_line(text: str):
    assert len(problems(None, text)) == 1


def test_a_missing_file_is_named():
    assert problems("nowhere/run.yaml") == [
        "nowhere/run.yaml: cannot read the configuration: No such file or directory"
    ]


@pytest.mark.parametrize("text", ["ppo.steps", "=3", "ppo..steps=3", ".steps=3"])
def test_an_override_without_key_or_value_says_how_to_write_it(text: str):
    assert "path.to.key=value" in problems(None, text)[0]


@pytest.mark.parametrize("text", ["helpful", "helpful=", "=3", "helpful=x", "helpful=1,helpful=2", "helpful=nan"])
def test_a_bad_dial_is_refused(text: str):
    assert len(problems(weights=text)) == 1


@pytest.mark.parametrize("text", ["helpful=0,harmless=0", "helpful=-1", "helpful=inf"])
def test_a_dial_that_points_nowhere_is_refused(text: str):
    (line,) = problems(weights=text)
    assert line.startswith(f"--weights {text} weights")


@given(st.text(max_size=40))
def test_any_override_is_a_setting_or_a_clear_refusal(text: str):
    try:
        setting = override_setting(text)
    except InvalidInput:
        return
    assert all(setting.path)
    try:
        load_config(None, [text], environ={})
    except InvalidConfig as error:
        assert all(error.problems)


def test_the_annotated_run_file_holds_the_defaults():
    config = load_config(str(ROOT / "deploy" / "run.yaml"), environ={})
    assert config.model_copy(update={"weights": {}, "constitution": None}) == RunConfig()
