"""What rules take from rewards, worked by hand: z of four replies, clipped at 4."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.constitution.principle import AppliesWhen, Principle, Rule
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.training.ppo.rule_penalties import after_rules, rule_shares
from rlhf_core.training.ppo.trainer import train_ppo
from tests.training.conftest import PROMPTS, pack_for
from tests.training.conftest import Rule as Scored
from tests.training.published_ppo import plain_ppo

OBJECTIVES = ("helpful", "harmless")


def principle(name: str, *rules: Rule, **changes) -> Principle:
    body = {"id": name, "serves": {"harmless": 1.0}, "compare": "Which?", "rules": rules} | changes
    return Principle(**body)


SCOLDS = Rule(id="scolds", pattern="you should know better", expect="no", penalty=0.5)
STEPS = Rule(id="steps", pattern=r"\b1\.", expect="yes", penalty=2.0)
DOSE = Rule(id="dose", pattern=r"[0-9] (mg|spoons)", expect="no")
ASKED = Rule(id="kind", ask="Is it kind?", expect="yes", penalty=100.0)


def sample(response: str, *tags: str) -> Sample:
    prompt = Prompt.of("How?", tags=tags)
    return Sample(id=response, prompt=prompt, response=response, policy_version="base")


REPLIES = [
    sample("1. rest"),
    sample("You should know BETTER. 1. rest"),
    sample("rest"),
    sample("1. take 3 spoons"),
]
Z = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 1.0, -3.0, 4.0]])


def test_a_broken_rule_costs_its_penalty_times_the_share():
    shared = principle("respect", SCOLDS, STEPS, serves={"helpful": 0.6, "harmless": 0.4})
    # reply 1 scolds: 0.5 x 0.6 and 0.5 x 0.4; reply 2 has no steps: 2 x 0.6 and 2 x 0.4
    expected = [[1.0, 1.7, 1.8, 4.0], [0.0, 0.8, -3.8, 4.0]]
    torch.testing.assert_close(after_rules(Z, REPLIES, [shared], OBJECTIVES, 4.0), torch.tensor(expected))
    assert Z[0, 1] == 2.0, "what was given is not changed"


def test_nothing_falls_below_the_clip():
    harsh = principle("steps", Rule(id="steps", pattern=r"\b1\.", expect="yes", penalty=50.0))
    assert after_rules(Z, REPLIES, [harsh], OBJECTIVES, 4.0)[:, 2].tolist() == [3.0, -4.0]


def test_a_critical_principle_vetoes_the_reply_in_every_objective():
    deadly = principle("no-doses", DOSE, severity="critical")
    found = after_rules(Z, REPLIES, [deadly], OBJECTIVES, 4.0)
    assert found[:, 3].tolist() == [-4.0, -4.0] and found[:, :3].tolist() == Z[:, :3].tolist()
    high = deadly.model_copy(update={"severity": "high"})
    assert after_rules(Z, REPLIES, [high], OBJECTIVES, 4.0)[:, 3].tolist() == [4.0, 3.0], "the usual penalty is 1"


def test_a_rule_holds_only_for_the_prompts_that_its_principle_is_for():
    health = principle("no-doses", DOSE, severity="critical", applies_when=AppliesWhen(tags_any=("health",)))
    replies = [sample("take 3 spoons"), sample("take 3 spoons", "health")]
    found = after_rules(torch.ones(2, 2), replies, [health], OBJECTIVES, 4.0)
    assert found.tolist() == [[1.0, -4.0], [1.0, -4.0]]
    assert rule_shares([health], replies) == {"rules/broken": 0.5, "rules/vetoed": 0.5}


def test_a_critical_principles_rule_that_is_for_some_of_its_prompts_vetoes_replies_to_those_alone():
    dose = DOSE.model_copy(update={"applies_when": AppliesWhen(tags_any=("health",))})
    deadly = principle("no-doses", dose, severity="critical")
    replies = [sample("take 3 spoons"), sample("take 3 spoons", "health")]
    assert after_rules(torch.ones(2, 2), replies, [deadly], OBJECTIVES, 4.0).tolist() == [[1.0, -4.0], [1.0, -4.0]]
    assert rule_shares([deadly], replies) == {"rules/broken": 0.5, "rules/vetoed": 0.5}


def test_a_question_to_a_judge_takes_nothing_in_training():
    asked = principle("kind", ASKED, severity="critical")
    assert after_rules(Z, REPLIES, [asked], OBJECTIVES, 4.0) is Z
    assert rule_shares([asked], REPLIES) == {}


def test_the_shares_say_how_many_replies_break_a_rule_and_how_many_are_vetoed():
    law = [principle("respect", SCOLDS, STEPS), principle("no-doses", DOSE, severity="critical")]
    assert rule_shares(law, REPLIES) == {"rules/broken": 0.75, "rules/vetoed": 0.25}


@given(
    st.lists(st.floats(-4, 4), min_size=8, max_size=8),
    st.lists(st.floats(0, 3), min_size=2, max_size=2),
    st.floats(0, 9),
)
def test_no_reply_is_paid_less_than_a_vetoed_one(z: list[float], weights: list[float], penalty: float):
    law = [principle("steps", STEPS.model_copy(update={"penalty": penalty}))]
    law.append(principle("no-doses", DOSE, severity="critical", serves={"helpful": 1.0}))
    paid = torch.tensor(weights) @ after_rules(torch.tensor(z).view(2, 4), REPLIES, law, OBJECTIVES, 4.0)
    assert all(value >= paid[3] or math.isclose(value, paid[3], abs_tol=1e-5) for value in paid.tolist())


def run(policy, rules, config, principles):
    pack = pack_for(policy, rules)
    units = train_ppo(policy, rules, pack, PROMPTS, {"low": 1.0}, config, 4, 0, principles=principles)
    return [unit for unit in units if unit is not None]


@pytest.mark.slow
def test_ppo_unlearns_what_a_critical_principle_vetoes(new_policy):
    """The reward model pays for every character below P, and the rule forbids all but the letters of these."""
    config = plain_ppo(steps=15, prompts_per_step=32, minibatch_size=16, epochs=2, learning_rate=1e-2, kl_coef=0.0)
    law = [principle("none-below", Rule(id="low", pattern=r"[\x00-\x40]", expect="no"), severity="critical")]

    def low_share(principles) -> float:
        last = run(new_policy(("low",)), (Scored("low", "P"),), config, principles)[-3:]
        found = [any(c <= "@" for c in s.response) for step in last for s in step.samples]
        return sum(found) / len(found)

    assert low_share(law) + 0.3 < low_share(())


def test_the_penalty_reaches_the_paid_reward(new_policy):
    config = plain_ppo(steps=1, prompts_per_step=8, minibatch_size=8, epochs=1)
    every = principle("all", Rule(id="any", pattern="^", expect="no", penalty=1.5), serves={"low": 1.0})
    means = []
    for law in ((), (every,)):
        [step] = run(new_policy(("low",)), (Scored("low", "P"),), config, law)
        means.append(step.metrics.values["z/low"])
    assert means[0] - means[1] == pytest.approx(1.5, abs=1e-5)
