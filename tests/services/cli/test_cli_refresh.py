"""Which run another round is; the rounds themselves are tried with the stages."""

from rlhf_core.config.run import RunConfig
from rlhf_core.records.runs import Run
from services.cli.refresh import next_round

FIRST = RunConfig.model_validate(
    {"constitution": "household", "weights": {"helpful": 1, "harmless": 2}, "ppo": {"steps": 7}, "seed": 5}
)
RUN = Run(id="run-1", kind="pipeline", state="SUCCEEDED", config=FIRST.model_dump_json(), constitution_hash="abc")


def test_another_round_keeps_the_settings_and_begins_with_labels_of_the_trained_policy():
    config = next_round(RUN)
    assert (config.from_run, config.start_at, config.label.on_policy) == ("run-1", "label", True)
    assert config.constitution == "abc", "the very text that the run began with"
    assert (config.seed, config.weights, config.ppo.steps) == (5, FIRST.weights, 7)


def test_a_round_may_change_settings():
    config = next_round(RUN, ["label.pairs=40", "ppo.stop.parted=stop"])
    assert (config.label.pairs, config.label.on_policy) == (40, True)
    assert config.ppo.stop.parted == "stop" and config.ppo.steps == 7
