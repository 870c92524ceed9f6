"""The gate and the calibration of a judge, as the page and report.json show them."""

from __future__ import annotations

import pytest

from rlhf_core.evaluation.evaluate import Evaluation
from rlhf_core.evaluation.report.judge_section import judges
from rlhf_core.evaluation.report.page import render_html
from rlhf_core.evaluation.report.record import Report
from tests.records import calibration, judge_gate

PASSED = judge_gate(
    pairs=1315, abstained=82, agreement=0.7937, agreement_low=0.7456, longer_reply=0.47, consistency=0.62
)
FAILED = PASSED.model_copy(
    update={"id": "g2", "objective": "harmless", "passed": False, "reason": "agrees <rarely>", "truth": "human"}
)
CALIBRATION = calibration(
    truth="gold", brier_before=0.1758, brier_after=0.1706, ece_before=0.1534, ece_after=0.1381, applied=False
)
NO_PICTURES = dict.fromkeys(("front", "harm", "curves"), (None, None))


def test_every_judge_has_a_row_with_its_numbers_and_what_it_lacks():
    page = judges([PASSED, FAILED], [CALIBRATION])
    assert page.count('<tr><th scope="row">') == 3
    for shown in ("passed", "1,315", "79.4 %", "at least 74.6 %", "47.0 %", "62.0 %", "gold", "human"):
        assert shown in page
    assert "<b>not passed</b> <small>agrees &lt;rarely&gt;</small>" in page
    assert "0.176 → 0.171" in page and "0.153 → 0.138" in page and "measured only" in page


def test_nothing_labelled_shows_nothing():
    assert judges([], []) == ""


def test_the_page_and_the_json_carry_gates_and_calibrations(report: Report):
    assert report.feedback is not None
    measured = report.feedback.model_copy(update={"gates": (PASSED, FAILED), "calibrations": (CALIBRATION,)})
    whole = report.model_copy(update={"feedback": measured})
    assert judges([PASSED, FAILED], [CALIBRATION]) in render_html(whole, NO_PICTURES)
    assert Report.model_validate_json(whole.model_dump_json()) == whole


@pytest.mark.parametrize(("ungated", "said"), [((), False), (("helpful", "harmless"), True)])
def test_a_report_of_ungated_labels_says_so_first(report: Report, ungated: tuple[str, ...], said: bool):
    bare = report.model_copy(update={"ungated": ungated, "caveats": ()})
    from_evaluation = bare.with_evaluation(Evaluation(objectives=(), weights={}, stages=()))
    assert any("has not passed its gate for helpful and harmless" in line for line in from_evaluation.caveats) == said
