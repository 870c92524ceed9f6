"""The card of an exported policy says what its run measured, and which of the run's policies it is."""

from __future__ import annotations

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.evaluation.report.model_card import model_card
from rlhf_core.evaluation.report.page import render_html
from rlhf_core.evaluation.report.record import Report
from rlhf_core.records.models import PolicyVersion
from rlhf_core.records.runs import Run

NO_PICTURES = dict.fromkeys(("front", "harm", "curves"), (None, None))


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


def test_a_card_and_the_page_tell_the_weights_that_ppo_took_up_on_its_way(report: Report):
    version = PolicyVersion(id="policy-1", run_id="r", stage="ppo", parent="base", base_model="m", artifact="a")
    run = Run.model_construct(id="r", config=RunConfig(seed=5).model_dump_json(), constitution_hash="c")
    begun = {"weights from PPO step 1": ", ".join(f"{name} {weight:g}" for name, weight in report.weights.items())}
    calm = report.model_copy(update={"provenance": report.provenance | begun})
    assert "PPO step" not in model_card(version, run, calm)
    turned = calm.model_copy(update={"provenance": calm.provenance | {"weights from PPO step 7": "helpful 0, safe 1"}})
    assert "; weights from PPO step 7: helpful 0, safe 1." in model_card(version, run, turned)
    head = render_html(turned, NO_PICTURES).partition("</header>")[0]
    assert (
        "from PPO step 7 helpful 0, safe 1)" in head
        and "PPO step" not in render_html(calm, NO_PICTURES).partition("</header>")[0]
    )
