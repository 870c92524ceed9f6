"""The dial in the PPO loop: combinations, weights that change, and what each objective is told to have had."""

import json

import pytest

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.config.scalarization import DialConfig
from rlhf_core.training.ppo.trainer import PpoStep, train_ppo
from tests.training.conftest import PROMPTS, Rule, files_of, pack_for
from tests.training.published_ppo import plain_ppo

LOW, HIGH = Rule("low", "P"), Rule("high", "d")
OTHER = Rule("other", "P", scale=-1.0)
BOTH = {"low": 1.0, "high": 1.0}


def config_of(dial: DialConfig, **settings) -> PpoConfig:
    given = {"steps": 2, "prompts_per_step": 8, "minibatch_size": 4, "epochs": 2, "learning_rate": 3e-3, **settings}
    return plain_ppo(dial=dial, **given)


def run(policy, dial, rules=(LOW, HIGH), weights=None, checkpoint=None, **settings) -> list[PpoStep]:
    weights = weights or {rule.objective: 1.0 for rule in rules}
    units = train_ppo(
        policy, rules, pack_for(policy, rules), PROMPTS, weights, config_of(dial, **settings), 8, 0, checkpoint
    )
    return [unit for unit in units if unit is not None]


def saved(steps: list[PpoStep], folder) -> dict[str, bytes]:
    steps[-1].state.save(folder)
    return files_of(folder)


def test_a_scheduled_change_of_weights_is_the_same_as_given_weights_and_changes_what_is_learned(new_policy, tmp_path):
    dial = DialConfig(weights_at={2: {"low": 1, "high": 3}})
    scheduled = run(new_policy(), dial)
    given = run(new_policy(), DialConfig(), weights=lambda step: {"low": 1, "high": 3} if step == 2 else BOTH)
    unchanged = run(new_policy(), DialConfig())
    assert [step.metrics.values["weight/high"] for step in scheduled] == [1, 3]
    ends = [saved(steps, tmp_path / name) for name, steps in (("a", scheduled), ("b", given), ("c", unchanged))]
    assert ends[0] == ends[1] != ends[2]


@pytest.mark.parametrize(
    "dial",
    [
        DialConfig(combine="log_sigmoid"),
        DialConfig(combine="worst_case", temperature=0.3),
        DialConfig(combine="constrained", floors={"high": 2.0}, multiplier_rate=1.0),
        DialConfig(normalise=True),
    ],
)
def test_every_combination_trains_and_goes_on_bit_for_bit_from_a_checkpoint(new_policy, tmp_path, dial):
    straight = run(new_policy(), dial)
    values = straight[-1].metrics.values
    assert values["reward/low"] + values["reward/high"] == pytest.approx(
        values["reward"] + values["unfinished"], abs=1e-5
    )
    policy = new_policy()
    units = train_ppo(policy, (LOW, HIGH), pack_for(policy, (LOW, HIGH)), PROMPTS, BOTH, config_of(dial), 8, 0)
    first = next(unit for unit in units if unit is not None)
    first.state.save(tmp_path / "first")
    resumed = run(new_policy(), dial, checkpoint=tmp_path / "first")
    assert [step.metrics.step for step in resumed] == [2]
    assert saved(resumed, tmp_path / "resumed") == saved(straight, tmp_path / "straight")


def test_a_floor_that_is_not_met_raises_its_multiplier_and_with_it_the_coefficient(new_policy, tmp_path):
    dial = DialConfig(combine="constrained", floors={"high": 9.0}, multiplier_rate=0.1)
    steps = run(new_policy(), dial, weights={"low": 1, "high": 0}, steps=3)
    steps[-1].state.save(tmp_path)
    (zero, multiplier) = json.loads((tmp_path / "ppo.json").read_text())["multipliers"]
    assert zero == 0 and 1.5 < multiplier <= 5
    high = [step.metrics.values["coefficient/high"] for step in steps]
    assert high[0] == pytest.approx(0.5) and high[0] < high[1] < high[2]


def test_each_objective_is_told_its_part_of_reward_advantage_and_critic(new_policy):
    values = run(new_policy(), DialConfig(), weights={"low": 3.0, "high": 1.0})[1].metrics.values
    for name in ("low", "high"):
        assert values[f"reward/{name}"] == pytest.approx(values[f"coefficient/{name}"] * values[f"z/{name}"], abs=1e-6)
    shares = [values[f"advantage_share/{name}"] for name in ("low", "high", "kl")]
    assert sum(shares) == pytest.approx(1, abs=1e-5) and shares[0] > shares[1]
    assert all(values[f"explained_variance/{name}"] <= 1 for name in ("low", "high", "kl"))
    assert {f"clipped/{name}" for name in ("low", "high")} < values.keys()


def test_an_objective_of_weight_0_has_no_part(new_policy):
    values = run(new_policy(), DialConfig(), weights={"low": 1.0, "high": 0.0})[0].metrics.values
    assert values["reward/high"] == values["advantage/high"] == values["advantage_share/high"] == 0


def test_the_worst_case_raises_the_objective_that_a_weighted_sum_gives_up(new_policy):
    """Two opposite rules: at 3 to 1 the sum follows the first; the worst case keeps both near where they began."""
    settings = {"steps": 12, "prompts_per_step": 32, "minibatch_size": 16, "learning_rate": 1e-2, "kl_coef": 0.0}
    rules, ends = (LOW, OTHER), {}
    for dial, weights in (
        (DialConfig(), {"low": 3.0, "other": 1.0}),
        (DialConfig(combine="worst_case", temperature=0.2), {"low": 1.0, "other": 1.0}),
    ):
        steps = run(new_policy(("low", "other")), dial, rules, weights, **settings)
        least = [min(step.metrics.values["z/low"], step.metrics.values["z/other"]) for step in steps[-3:]]
        ends[dial.combine] = sum(least) / 3
    assert ends["worst_case"] > ends["linear"] + 0.15
