"""Reward hacking on the page: what was fitted, what was refused, and pictures that only appear where there is data."""

import numpy as np
import pytest

from rlhf_core.evaluation.best_of_n import best_of_n_curve
from rlhf_core.evaluation.overoptimization import goodhart
from rlhf_core.evaluation.report.overoptimization_section import best_of_n_table, goodhart_table
from rlhf_core.evaluation.report.write import write_report
from rlhf_core.records.runs import WatchPoint


def watched(turn: float):
    """harmless: the auditor's gain is d (1 - turn log d), the reward model's d, at d = 0, 0.5, 1, 2, 3."""
    rows = []
    for step, d in enumerate((0.0, 0.5, 1.0, 2.0, 3.0)):
        gain = d * (1 - turn * np.log(d)) if d else 0.0
        spread = np.linspace(-0.1, 0.1, 9)
        auditor = tuple((gain + spread * step).tolist())
        rows.append(WatchPoint(run_id="r", step=step, objective="harmless", kl=d * d, proxy=(d,) * 9, auditor=auditor))
    found = goodhart(rows)
    assert found is not None
    return found


def test_the_table_names_a_peak_that_was_seen_and_refuses_one_that_was_not():
    # turn 1: the peak lies at exp(1 / 1 - 1) = 1; turn 0.3: at exp(1 / 0.3 - 1) = 10.3, beyond 3.
    assert "<td>1.00</td>" in goodhart_table([watched(1.0)])
    page = goodhart_table([watched(0.3)])
    assert "outside of what was seen, sqrt(KL) up to 3.00" in page and "10.3" not in page


def test_the_table_says_when_score_and_truth_parted_and_what_was_kept():
    page = goodhart_table([watched(1.0)])
    # The auditor's best is 1 at step 2; it falls to 2 (1 - log 2) = 0.61 at step 3 and 3 (1 - log 3) = -0.30 at step 4.
    assert "<td>3</td><td>−30 %</td>" in page.replace("-30", "−30")


def test_best_of_n_is_shown_by_judge_with_its_verdict():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(40, 4))
    page = best_of_n_table([best_of_n_curve("helpful", {"proxy": -truth, "auditor": truth})])
    assert "n = 4<br><small>0.64 nats</small>" in page and "<b>no</b>" in page
    assert best_of_n_table([]) == ""


@pytest.mark.parametrize("known", [False, True])
def test_the_report_has_the_pictures_where_it_has_the_data(report, tmp_path, known):
    rng = np.random.default_rng(1)
    curve = best_of_n_curve("harmless", {"proxy": rng.normal(size=(20, 8))})
    given = report.model_copy(update={"goodhart": (watched(1.0),), "best_of": (curve,)}) if known else report
    names = {path.name for path in write_report(given, tmp_path)}
    assert ({"goodhart.png", "best_of_n.png"} <= names) == known
    page = (tmp_path / "report.html").read_text()
    assert ("Does a higher score still mean better?" in page) == known
