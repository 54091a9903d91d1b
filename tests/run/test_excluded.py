"""Predictions that a likelihood excludes: which reading, and what may be done."""

import numpy as np
import pytest

from tests.run.toy import Toy


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("likelihood", ["LogNormal", "Poisson"])
def test_a_prediction_of_zero_is_told_with_its_reading(
    toy: Toy, likelihood: str, command: str
) -> None:
    """A cell that is empty until its neighbour has leaked into it."""
    toy.background["x"][:] = 0.0
    toy.observations["x"][:] = np.ceil(toy.observations["x"])
    toy.observations["x"][0] = np.nan
    if likelihood == "LogNormal":
        toy.observations["x_stddev"].attrs["units"] = "1"
    toy.case["background"] = {"fields": {"x": {"value": [0.0, 0.0, 0.0]}}}
    toy.case["observations"][0]["likelihood"] = {"use": likelihood}
    result = toy.write().run(command=command)
    assert result.exit_code == 5, result.stderr or result.exception
    for word in (
        f"the likelihood ({likelihood}) of the observations of 'x' excludes what is predicted: "
        "0 at 2000-01-02 (",
        "observations.nc: x, row 1) and 10 more of 11 readings",
        f"{likelihood} errors need predictions above 0",
        "begin the window after such readings (window.start)",
        "rate = 0.1",
    ):
        assert word in result.stderr
    for word in ("max_steps", "first guesses"):
        assert word not in result.stderr
    assert "have settled" not in result.stdout
