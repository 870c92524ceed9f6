"""How pages write numbers."""

from rlhf_core.evaluation.statistics import Estimate
from services.console.pages import interval, number


def test_what_is_rounded_to_zero_has_no_minus():
    assert [number(value, ".1f") for value in (-0.01, 0.0, -0.06)] == ["0.0", "0.0", "-0.1"]
    assert [number(value, "+.2f") for value in (-0.001, 0.5, -0.5)] == ["+0.00", "+0.50", "-0.50"]
    assert number(-0.0, "g") == "0"
    assert interval(Estimate(value=-0.001, low=-0.25, high=0.25, n=4)) == "0.00 [-0.25, 0.25]"
    assert interval(Estimate(value=0.5, low=-0.001, high=1.0, n=4), sign=True) == "+0.50 [+0.00, +1.00]"
