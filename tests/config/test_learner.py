"""How many processes learn: what goes together, and what the environment says."""

import pytest
from pydantic import ValidationError

from rlhf_core.config.learner import LearnerConfig
from rlhf_core.config.run import RunConfig
from rlhf_core.errors import InvalidInput

TWO = {"processes": 4, "machines": 2, "address": "10.0.0.1:29500"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learner": {"processes": 0}}, "greater than or equal to 1"),
        ({"learner": {"processes": 33}}, "prompts_per_step is 32, so some would have no prompt"),
        ({"learner": {"strategy": "shard"}}, "processes is 1; allowed: 2 or more"),
        ({"learner": {"processes": 2, "strategy": "shard"}, "ppo": {"tune": "full"}}, "allowed with it: lora"),
        ({"learner": {"processes": 2, "strategy": "shard"}, "reward": {"tune": "full"}}, "and reward.tune is 'full'"),
        ({"sft": {"tune": "full"}}, "cannot begin with weights of its own; allowed with it: ppo.tune full"),
        (
            {"kind": "sft", "sft": {"tune": "full"}, "model": {"sampler": {"address": "http://127.0.0.1:1"}}},
            "sft.tune is 'full'; allowed with it: lora, as the server",
        ),
        ({"learner": TWO | {"processes": 3}}, "cannot be divided evenly among 2 machines"),
        ({"learner": TWO | {"address": None}}, "allowed: an address with several machines, and none with one"),
        ({"learner": {"processes": 2, "address": "10.0.0.1:29500"}}, "and none with one"),
        ({"learner": TWO | {"address": "10.0.0.1"}}, "allowed: HOST:PORT, such as 10.0.0.1:29500"),
        ({"learner": {"processes": 2, "strategy": "split"}}, "'replicate' or 'shard'"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_what_is_allowed(settings, message):
    with pytest.raises(ValidationError, match=message):
        RunConfig.model_validate(settings)


def test_machines_have_as_many_processes_each():
    assert LearnerConfig.model_validate(TWO).processes_here == 2
    assert LearnerConfig().processes_here == 1


def test_the_environment_of_who_carries_out_a_run_goes_before_what_the_run_asks_for():
    asked = LearnerConfig(processes=4, strategy="shard")
    assert asked.here({}) == asked
    assert asked.here({"CHARTER_LEARNER_PROCESSES": "2"}) == LearnerConfig(processes=2, strategy="shard")
    assert LearnerConfig.model_validate(TWO).here({"CHARTER_LEARNER_PROCESSES": "1"}) == LearnerConfig()
    for told, message in [("many", "allowed: a whole number of at least 1"), ("0", "at least 1"), ("3", "2 machines")]:
        with pytest.raises(InvalidInput, match=message):
            LearnerConfig.model_validate(TWO).here({"CHARTER_LEARNER_PROCESSES": told})
