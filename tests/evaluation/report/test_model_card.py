"""The card of an exported policy says what its run measured, and which of the run's policies it is."""

from __future__ import annotations

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.evaluation.report.model_card import model_card
from rlhf_core.evaluation.report.record import Report
from rlhf_core.records.models import PolicyVersion
from rlhf_core.records.runs import Run


@pytest.mark.parametrize(("stage", "name"), [("sft", "after SFT"), ("ppo", "after PPO"), ("control", "control")])
def test_a_card_says_which_policy_it_is_and_gives_the_gains_of_the_report(report: Report, stage: str, name: str):
    version = PolicyVersion(id="policy-1", run_id="r", stage=stage, parent="base", base_model="m", artifact="a")
    run = Run.model_construct(id="r", config=RunConfig(seed=5).model_dump_json(), constitution_hash="c")
    card = model_card(version, run, report)
    assert f"called `{name}` here" in card and "seed 5" in card and report.constitution.hash in card
    assert report.gains
    for gain in report.gains:
        assert f"- {gain.name}: {gain.weighted.value:.3g} [" in card
    assert all(f"- {caveat}" in card for caveat in report.caveats)
    assert "Ungated" not in card
