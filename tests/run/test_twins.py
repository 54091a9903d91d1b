"""`assim twin` makes what the case assumes: covariances of errors, biases from their priors."""

import json

import numpy as np
import pytest
import xarray as xr

from assim.case.case import read_case
from assim.case.pose import pose
from assim.problem.arrays import Coordinate
from assim.problem.covariance import Autoregressive
from assim.run.cycle.windows import overall_status
from tests.run.toy import Toy, invoke

SERIES = {"use": "Autoregressive", "stdev": 0.3, "time": 5.0}


@pytest.fixture
def known(toy: Toy) -> Toy:
    """A case whose truth is what the model makes of its background, seen in the first cell."""
    toy.case["background"] = {"fields": {"x": {"value": [3.0, 2.0, 1.0]}}}
    toy.case["twin"] = {"initial": {"x": 2.0}, "stride": 3, "parameters": {"rate": 0.1}}
    toy.case["window"]["slots"] = 40
    return toy


def made(toy: Toy, **keys) -> tuple[xr.Dataset, xr.Dataset, np.ndarray]:
    """The file of observations, the truth, and the difference of the two in the first cell."""
    toy.case["observations"][0] = {"file": "observations.nc", "variable": "x", **keys}
    result = toy.write().run("--force", command="twin")
    assert result.exit_code == 0, result.stderr or result.exception
    file, truth = (xr.load_dataset(toy.folder / f"{name}.nc") for name in ("observations", "truth"))
    return file, truth, file["x"].values - truth["x"].values[1:, 0]


def test_errors_have_the_covariance_of_the_case(known: Toy) -> None:
    _, _, white = made(known, error={"stdev": 1.0})
    correlated = Autoregressive(5.0, 0.3).on((40,), (Coordinate(np.arange(1.0, 41.0)),))
    file, _, errors = made(known, covariance=SERIES)
    np.testing.assert_allclose(errors, correlated.sqrt(white), rtol=0, atol=1e-12)
    np.testing.assert_allclose(file["x_stddev"], 0.3)


def test_an_estimated_scale_multiplies_the_covariance(known: Toy) -> None:
    """Truth at the median of the scale's prior, as without a covariance."""
    _, _, errors = made(known, covariance=SERIES)
    scale = {"name": "sigma", "prior": {"use": "LogNormal", "median": 2.0, "log_stdev": 0.5}}
    file, truth, scaled = made(known, covariance=SERIES, error=scale)
    np.testing.assert_allclose(scaled, 2.0 * errors, rtol=0, atol=1e-12)
    assert "x_stddev" not in file and truth["sigma"].item() == pytest.approx(2.0)


def test_a_covariance_that_does_not_fit_is_named(known: Toy) -> None:
    known.case["twin"]["stride"] = 1  # three values at every time
    known.case["observations"][0]["covariance"] = SERIES
    result = known.write().run("--force", command="twin")
    assert result.exit_code == 2 and "observations.0.covariance" in result.stderr, result.stderr


def test_biases_are_drawn_from_their_priors_and_found(known: Toy) -> None:
    """β of a constant, of an operator and of a column of the file: the run has them again."""
    bias = [
        {"name": "offset", "prior": {"use": "Normal", "mean": 20.0, "stdev": 1.0}},
        {
            "name": "slope",
            "prior": {"use": "Normal", "mean": -5.0, "stdev": 0.1},
            "predictor": {"use": "PointSample", "variable": "x"},
        },
        {
            "name": "tilt",
            "prior": {"use": "Normal", "mean": 7.0, "stdev": 0.1},
            "variable": "angle",
        },
    ]
    _, _, errors = made(known, error={"stdev": 0.01})
    file, truth, biased = made(known, error={"stdev": 0.01}, bias=bias)
    offset, slope, tilt = (float(truth[name]) for name in ("offset", "slope", "tilt"))
    assert abs(offset - 20) < 5 and abs(slope + 5) < 0.5 and abs(tilt - 7) < 0.5
    assert len({offset - 20, slope + 5, tilt - 7}) == 3 and 0.5 < file["angle"].std() < 1.5
    b = offset + slope * truth["x"].values[1:, 0] + tilt * file["angle"].values
    np.testing.assert_allclose(biased - errors, b, rtol=0, atol=1e-10)
    coefficients = pose(read_case(known.folder / "case.toml")).analysis().analysis.control.biases
    assert float(coefficients["offset"]) == pytest.approx(offset, abs=0.1)
    assert float(coefficients["tilt"]) == pytest.approx(tilt, abs=0.02)


def test_a_cycle_in_memory_says_how_its_windows_ended(toy: Toy) -> None:
    """With not_converged = "stop" the exit code does, too; what it cannot do is refused."""
    toy.case |= {"cycle": {"windows": 3, "twin": True}, "twin": {"initial": {"x": 2.0}}}
    toy.case["window"]["slots"] = 2
    toy.case["background"] = {"fields": {"x": {"mean": 2.0, "stdev": 1.0}}}
    toy.case["observations"][0]["error"] = {"stdev": 0.1}
    toy.case["minimiser"] |= {"n_outer": 1, "tolerance": 1e-12}
    toy.case.pop("posterior")
    way = "cycle.on_failure.not_converged"
    stopped = toy.write().run("--set", f'{way}="stop"')
    assert stopped.exit_code == 4, stopped.stderr or stopped.exception
    assert "3 windows: 3 out of loops." in stopped.stdout
    summary = json.loads((toy.out / "summary.json").read_text())
    assert summary["status"] == "not_converged" and (toy.out / "diagnostics.nc").is_file()
    assert "3 windows: 3 out of loops." in invoke("check", str(toy.out)).stdout
    refused = toy.run("--set", f'{way}="forecast"')
    assert refused.exit_code == 2 and 'on_failure.not_converged = "forecast"' in refused.stderr


def test_the_status_of_a_cycle_is_that_of_what_was_minimised() -> None:
    ended = [{}, {"converged": 2}, {"converged": 2, "saddle": 1}, {"saddle": 1}]
    words = ["none", "converged", "partly_converged", "not_converged"]
    assert [overall_status(counts) for counts in ended] == words


@pytest.mark.parametrize("variable", ["x", "x_stddev", "cell", "time"])
def test_a_predictor_that_cannot_be_drawn_is_named(known: Toy, variable: str) -> None:
    prior = {"use": "Normal", "mean": 0.0, "stdev": 1.0}
    table = known.case["observations"][0]
    table |= {
        "error": {"stdev": 0.1},
        "bias": [{"name": "b", "prior": prior, "variable": variable}],
    }
    result = known.write().run("--force", command="twin")
    assert result.exit_code == 2 and "observations.0.bias.0.variable" in result.stderr
