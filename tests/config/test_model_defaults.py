"""Defaults that depend on the model, and the files that they name."""

from __future__ import annotations

import json

import pytest

from rlhf_core.config.model_defaults import constitution_for
from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.load import load_constitution
from rlhf_core.data.loaders import load_prompts
from rlhf_core.errors import InvalidInput

SMOLLM2 = {"base_model": "smollm2"}


def test_the_small_real_model_gets_feedback_prompts_and_rates_of_its_own() -> None:
    config = RunConfig.model_validate({"model": SMOLLM2})
    assert (config.feedback.critic.method, config.feedback.judge.protocol) == ("contrast", "contrast")
    assert config.data.prompts == "builtin:everyday-train"
    assert config.ppo.learning_rate == 1e-4
    assert config.model.lora.rank == 8


def test_what_is_given_goes_before_the_models_own_defaults() -> None:
    given = {"model": SMOLLM2 | {"max_tokens": 64}, "ppo": {"steps": 3}, "feedback": {"judge": {"protocol": "text"}}}
    config = RunConfig.model_validate(given)
    assert (config.model.max_tokens, config.ppo.steps, config.feedback.judge.protocol) == (64, 3, "text")
    assert config.ppo.samples_per_prompt == 6
    assert config.feedback.critic.method == "contrast"


def test_prompts_of_ones_own_are_not_mixed_with_the_built_in_ones() -> None:
    config = RunConfig.model_validate({"model": SMOLLM2, "data": {"prompts": "mine.jsonl"}})
    assert config.data.heldout_prompts is None


def test_a_model_of_ones_own_gets_none_of_them() -> None:
    config = RunConfig.model_validate({"model": {"base_model": "./mine"}})
    assert config.data.prompts is None
    assert config.feedback.critic.method == "critique"


def test_a_stored_configuration_comes_back_as_it_was() -> None:
    config = RunConfig.model_validate({"model": SMOLLM2, "ppo": {"steps": 3}})
    assert RunConfig.stored(config.model_dump_json()) == config


def test_a_setting_that_a_stored_run_did_not_have_is_not_what_suits_its_model_today() -> None:
    """A run of a version without it did what it does by itself, and its pairs are not those of a run with it."""
    before = RunConfig.model_validate({"model": SMOLLM2}).model_dump(mode="json")
    del before["label"]["even_tags"], before["label"]["odds_temperature"], before["ppo"]["even_tags"]
    stored = RunConfig.stored(json.dumps(before))
    assert not stored.label.even_tags and not stored.ppo.even_tags and stored.label.odds_temperature == 1
    assert stored.ppo.learning_rate == 1e-4
    today = RunConfig.model_validate({"model": SMOLLM2})
    assert today.label.even_tags and today.label.odds_temperature == 20


def test_the_built_in_prompts_are_tagged_and_share_none_with_those_held_out() -> None:
    train, heldout = (load_prompts(f"builtin:everyday-{split}") for split in ("train", "heldout"))
    assert (len(train), len(heldout)) == (408, 66)
    assert not {prompt.id for prompt in train} & {prompt.id for prompt in heldout}
    assert {prompt.tags for prompt in (*train, *heldout)} == {("harmful",), ("benign",)}


def test_a_principle_of_the_small_constitution_is_for_each_of_its_prompts() -> None:
    principles = load_constitution(constitution_for("smollm2")).principles
    assert all(any(one.applies_to(p.tags) for one in principles) for p in load_prompts("builtin:everyday-train"))
    assert all(principle.examples and principle.tests for principle in principles)


def test_an_unknown_built_in_file_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InvalidInput, match="allowed: everyday-heldout, everyday-train"):
        load_prompts("builtin:everyday")
