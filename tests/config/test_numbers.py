"""True and false where a number stands: Python counts them as 1 and 0, and a configuration must not."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from rlhf_core.config.run import RunConfig
from services.cli.run_config import InvalidConfig, load_config, load_server_config
from services.http.chat import ChatRequest


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("ppo.steps=true", "-s ppo.steps=true ppo.steps: true is not allowed; it is a number"),
        ("gate.agreement=false", "-s gate.agreement=false gate.agreement: false is not allowed; it is a number"),
        ("model.memory_budget=true", "true is not allowed; it is a number"),
        ("ppo.max_grad_norm=true", "true is not allowed; it is a number"),
        ("label.clamp=[false, true]", "label.clamp: false is not allowed; it is a number"),
        ("weights.harmless=true", "weights: 'harmless' is true; allowed: a number"),
    ],
)
def test_a_truth_is_no_number(setting, told):
    with pytest.raises(InvalidConfig) as caught:
        load_config(overrides=[setting])
    assert told in str(caught.value)


def test_what_asks_for_a_truth_takes_one():
    config = load_config(overrides=["ppo.whiten_rewards=true", "ppo.whiten_advantages=false", "ppo.pays=true"])
    assert (config.ppo.whiten_rewards, config.ppo.whiten_advantages, config.ppo.pays) == (True, False, "scores")


def test_a_server_and_a_request_in_json_are_held_to_it_too():
    with pytest.raises(InvalidConfig, match=r"limits.calls: true is not allowed; it is a number"):
        load_server_config(environ={"CHARTER_SERVER__LIMITS__CALLS": "true"})
    with pytest.raises(ValidationError, match="true is not allowed; it is a number"):
        RunConfig.model_validate_json('{"seed": true}')
    asked = {"model": "base", "messages": [{"role": "user", "content": "How do I dust?"}]}
    with pytest.raises(ValidationError, match="true is not allowed; it is a number"):
        ChatRequest.model_validate(asked | {"max_tokens": True})
    assert ChatRequest.model_validate(asked | {"logprobs": True, "stream": True}).stream
