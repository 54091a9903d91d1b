"""A cycle by a scheme that asks for the step alone, on the twin of which figures are published."""

import pytest

from tests.benchmarks.published_twins import figures

SCHEME = 'cycle.method={ use = "IEnKS", members = 24, inflation = 1.03, rotate = true }'


@pytest.mark.slow
def test_lorenz96_each_fifth_of_a_unit():
    """RMSE of .31 is published for the IEnKS with 20 members and a lag of four (N = 40, R = I)."""
    settings = ["window.slots=4", "cycle.windows=500", "cycle.burn_in=100", SCHEME]
    error, spread, ratio, _ = figures("lorenz96_bocquet2013", settings, 1)
    assert error <= 0.35
    assert abs(spread / error - 1) < 0.15 and abs(ratio - 1) < 0.15
