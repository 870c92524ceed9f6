"""The gate and the calibration of a judge, as the page and report.json show them."""

from __future__ import annotations

import pytest

from rlhf_core.evaluation.evaluate import Evaluation
from rlhf_core.evaluation.panel_summary import panel_summary
from rlhf_core.evaluation.report.judge_section import judges
from rlhf_core.evaluation.report.page import render_html
from rlhf_core.evaluation.report.record import Report
from rlhf_core.records.feedback import Opinion, Preference
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


def label(pair: str, *said: tuple[float, float]) -> Preference:
    """Of a panel, with the probability and the weight of each judge."""
    each = tuple(Opinion(judge=f"j{i}", probability=p, weight=weight) for i, (p, weight) in enumerate(said))
    plain = {"id": pair, "comparison_id": pair, "objective": "helpful", "labeler": "ai:panel-1", "choice": "a"}
    return Preference.model_validate(plain | {"opinions": each})


def test_a_panel_shows_how_each_judge_was_measured_how_far_they_are_apart_and_what_each_took():
    seated = {"panel": "panel-1", "model": "sandbox@1", "protocol": "notes", "weight": 0.79}
    fine = PASSED.model_copy(update=seated | {"judge": "fine"})
    out = FAILED.model_copy(update=seated | {"judge": "turned", "objective": "helpful", "weight": 0.0})
    labels = [
        label("opposed", (0.9, 1), (0.3, 1)),
        label("alike", (0.9, 1), (0.7, 1)),
        label("one alone", (0.9, 1), (0.1, 0)),
    ]
    taken = {"judge.fine.votes": 1200, "judge.fine.seconds": 3.5, "judge.fine.tokens": 4100, "endpoint.cost": 9.0}
    panel = panel_summary(labels, [fine, out], taken)
    assert panel is not None
    apart = panel.disagreement["helpful"]
    assert (apart.pairs, apart.opposed) == (2, 1) and apart.mean == pytest.approx(0.4)
    assert (panel.taken["fine"].votes, panel.taken["turned"].votes, panel.taken["fine"].cost) == (1200, 0, 0)
    page = judges([PASSED], [], panel)
    for shown in (
        "fine <small>notes of sandbox@1</small>",
        "<b>left out</b>",
        "0.79",
        "agrees &lt;rarely&gt;",
        "4,100",
    ):
        assert shown in page
    assert page.startswith(judges([PASSED], [])), "the gate of all together stands first"


def test_without_a_panel_there_is_none_to_sum_up():
    assert panel_summary([label("alone")], [], {}) is None
