"""A reward model that reads the base's own answer before the reply that it scores."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlhf_core.config.run import RunConfig
from rlhf_core.inference.generate import generate
from rlhf_core.models.reward_inputs import ANOTHER
from rlhf_core.records.samples import Message, Prompt
from rlhf_core.reward_models.ensemble import Scoring
from rlhf_core.reward_models.reference_answers import with_references
from rlhf_core.reward_models.reward_model import RewardModel

PROMPTS = [Prompt.of("how?"), Prompt.of("why?")]


def own_answer(backbone, prompt: Prompt, tokens: int) -> str:
    with backbone.adapters.using(None):
        [written] = generate(
            backbone, [backbone.render(prompt.messages)], n=1, temperature=0.0, max_tokens=tokens, seed=5
        )
    return backbone.decode(written.tokens)


def test_a_prompt_is_followed_by_the_bases_own_answer_whatever_adapter_is_active(tiny_model):
    backbone = tiny_model()
    backbone.adapters.add("other", 0)
    for parameter in backbone.adapters.parameters("other"):
        torch.nn.init.normal_(parameter, std=0.5)
    with backbone.adapters.using("other"):
        result = with_references(backbone, PROMPTS, 6)
    for prompt, beside in zip(PROMPTS, result, strict=True):
        assert beside.messages == (
            *prompt.messages,
            Message(role="assistant", content=own_answer(backbone, prompt, 6)),
            Message(role="user", content=ANOTHER),
        )


def test_no_prompt_is_answered_twice(tiny_model):
    backbone, passes = tiny_model(), []
    first = with_references(backbone, [*PROMPTS, PROMPTS[0]], 6)
    backbone.before_pass = lambda: passes.append(1)
    assert with_references(backbone, [PROMPTS[0], *PROMPTS], 6) == [first[0], first[0], first[1]]
    assert not passes
    with_references(backbone, PROMPTS, 3)
    assert passes, "a shorter answer is another answer"


def test_what_others_make_the_base_forget_meanwhile_is_answered_all_the_same(tiny_model):
    backbone = tiny_model()
    expected = with_references(backbone, PROMPTS, 6)
    del backbone.own_answers[next(reversed(backbone.own_answers))]
    backbone.before_pass = backbone.own_answers.clear
    assert with_references(backbone, PROMPTS, 6) == expected


def test_a_model_reads_the_answer_and_then_the_reply_and_keeps_to_it_when_it_is_loaded(tiny_model, tmp_path: Path):
    backbone = tiny_model()
    backbone.adapters.add("reward", 0)
    model = RewardModel(backbone, "reward", "helpful", members=2, scoring=Scoring(reference_tokens=6))
    [beside] = with_references(backbone, PROMPTS[:1], 6)
    ids = model.encode(PROMPTS[0], "so").ids
    assert list(ids) == [*backbone.render(beside.messages), *backbone.encode_response("so")]
    model.save(tmp_path)
    again = RewardModel.load(backbone, "again", tmp_path)
    talk = [(prompt, "so") for prompt in PROMPTS]
    torch.testing.assert_close(again.score(talk), model.score(talk))
    plain = RewardModel(backbone, "reward", "helpful", members=2, scoring=Scoring())
    assert len(plain.encode(PROMPTS[0], "so").ids) < len(ids)


def test_the_built_in_model_has_reward_models_of_its_own_kind_by_default():
    own, other = RunConfig(), RunConfig.model_validate({"model": {"base_model": "some/model"}})
    assert (own.reward.reference, own.reward.process, own.reward.step_pool) == (True, ("*",), "sum")
    assert (other.reward.reference, other.reward.process) == (False, ())


@pytest.mark.parametrize("asked", [{"process": []}, {"reference": False}, {"step_pool": "min"}])
def test_what_is_asked_for_is_not_overruled(asked):
    result = RunConfig.model_validate({"reward": asked}).reward.model_dump()
    assert {key: list(result[key]) if key == "process" else result[key] for key in asked} == asked


def test_a_star_stands_for_every_objective():
    own, named = RunConfig().reward, RunConfig.model_validate({"reward": {"process": ["honest"]}}).reward
    assert own.reads_lines("honest") and own.named_by_line == ()
    assert named.reads_lines("honest") and not named.reads_lines("helpful") and named.named_by_line == ("honest",)


def test_an_encoder_that_scores_for_the_built_in_model_reads_no_answers():
    assert RunConfig.model_validate({"reward": {"base_model": "some/encoder"}}).reward.reference is False
