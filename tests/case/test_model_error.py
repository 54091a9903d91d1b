"""Weak constraint from a case file: its table, its twin, and what is said of bad ones."""

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr

from assim.case.case import read_case
from assim.case.setting import set_up
from assim.files.errors import DataError
from assim.files.units import same_units
from tests.run.toy import Toy

TWIN = {"initial": {"x": 2.0}, "stdev": 0.3, "seed": 3, "parameters": {"rate": 0.2}}
ERROR = {"covariance": {"use": "Diagonal", "stdev": 0.05}, "every": 2}


def summary(toy: Toy, *options: str) -> dict[str, Any]:
    result = toy.run(*options)
    assert result.exit_code == 0, result.stderr or result.exception
    return json.loads((toy.out / "summary.json").read_text())


@pytest.mark.slow
def test_both_formulations(toy: Toy) -> None:
    """The same minimum, with a cost of model error, from either control."""
    toy.case["model_error"] = ERROR
    toy.write()
    forcing = summary(toy)
    state = summary(toy, "--set", 'model_error.formulation="state"')
    assert forcing["cost"]["model_error"] > 0
    for term, value in forcing["cost"].items():
        assert abs(state["cost"][term] - value) < 1e-5 * forcing["cost"]["total"]


@pytest.mark.slow
def test_an_estimated_amplitude_is_a_quantity(toy: Toy) -> None:
    prior = {"use": "LogNormal", "median": 1.0, "log_stdev": 0.5}
    toy.case["model_error"] = {**ERROR, "amplitude": {"name": "q", "prior": prior}}
    toy.case["minimiser"] = {"use": "NewtonCG"}
    toy.case["posterior"] = {"use": "Laplace"}
    toy.write()
    found = summary(toy)["quantities"]["q"]
    assert 0 < found["q05"] < found["map"] < found["q95"]


def test_twin_has_model_errors(toy: Toy) -> None:
    """The truth of a twin departs from the model by jumps at the ends of the groups only."""
    toy.observations = toy.background = None
    toy.case |= {"model_error": ERROR, "twin": TWIN}
    toy.case["observations"][0]["error"] = {"stdev": 0.1}
    toy.write()
    truths = []
    for switch in ("true", "false"):
        options = ("--force", "--set", f"twin.model_error={switch}")
        result = toy.run(*options, command="twin")
        assert result.exit_code == 0, result.stderr
        with xr.open_dataset(toy.folder / "truth.nc") as file:
            truths.append(file["x"].values)
            assert file["rate"] == 0.2
    with_errors, without = truths
    np.testing.assert_array_equal(with_errors[:2], without[:2])
    jump = with_errors[2] - without[2]
    assert 0.005 < np.std(jump) < 0.2
    assert summary(toy)["status"] == "converged"


def test_a_twin_is_observed_before_its_jumps(toy: Toy) -> None:
    """Readings of the truth differ by the jumps, at the edges where these lie and nowhere else."""
    toy.observations = toy.background = None
    toy.case |= {"model_error": ERROR, "twin": TWIN}
    toy.case["observations"][0]["error"] = {"stdev": 0.1}
    toy.write()
    read, truths = {}, {}
    for observed in ("after", "before"):
        key = f'model_error.observed="{observed}"'
        result = toy.run("--force", "--set", key, command="twin")
        assert result.exit_code == 0, result.stderr
        with xr.open_dataset(toy.folder / "observations.nc") as file:
            read[observed] = file["x"].values.reshape(4, 3)
        with xr.open_dataset(toy.folder / "truth.nc") as file:
            truths[observed] = file["x"].values
    np.testing.assert_array_equal(truths["after"], truths["before"])
    moved = read["after"] - read["before"]
    np.testing.assert_array_equal(moved[[0, 2]], 0)
    assert np.all(np.abs(moved[[1, 3]]) > 1e-4)


def test_rejected_rows_are_predicted_before_jumps_too(toy: Toy) -> None:
    """What feedback.nc has of every row is the trajectory less the jump at its edge."""
    toy.observations["x"][[4, 9]] = 50.0  # at edges without and with a jump
    toy.case["observations"][0]["quality"] = {"upper": 40.0}
    toy.case["model_error"] = {**ERROR, "observed": "before"}
    assert summary(toy.write())["observations"]["x"]["used"] == 10
    with xr.open_dataset(toy.out / "trajectory.nc") as file:
        error = np.where([[False], [False], [True], [False], [True]], file["x_model_error"], 0)
        before = file["x"].values - error
    with xr.open_dataset(toy.out / "feedback.nc") as file:
        np.testing.assert_allclose(file["x_hofx_analysis"], before[1:].ravel(), rtol=1e-10)
    assert np.all(np.abs(error[2]) > 1e-6)


@pytest.mark.slow
def test_errors_within_bounds_keep_a_forecast_within_them(toy: Toy) -> None:
    """Jumps of log x as large as x: members stay above 0, mean and quantiles are theirs."""
    error = {"fields": {"x": {"stdev": 1.0}}, "bounds": {"x": {"lower": 0.0}}}
    toy.case |= {"model_error": error, "posterior": {"use": "Laplace"}}
    toy.write()
    assert summary(toy)["applied"]["constraint"]["bounded"] == ["x"]
    with xr.open_dataset(toy.out / "trajectory.nc") as file:
        assert file["x_model_error"].attrs["units"] == "1"
    asked = ("--slots", "6", "--members", "50", "--keep-members", "--from", str(toy.out))
    forecast = toy.run(*asked, command="forecast")
    assert forecast.exit_code == 0, forecast.stderr or forecast.exception
    with xr.open_dataset(toy.out / "forecast.nc") as file:
        members = file["x_members"]
        assert float(members.min()) > 0
        np.testing.assert_allclose(file["x"], members.mean("realization"), rtol=1e-6)


@pytest.mark.slow
def test_no_jump_at_the_end(toy: Toy) -> None:
    """The files say 0 ± 0 for the model error of the last group."""
    toy.case["model_error"] = {**ERROR, "jump_at_end": False, "observed": "before"}
    toy.case["posterior"] = {"use": "Laplace"}
    toy.write()
    assert summary(toy)["cost"]["model_error"] > 0
    with xr.open_dataset(toy.out / "trajectory.nc") as file:
        for suffix in ("", "_stddev", "_prior_stddev"):
            values = file[f"x_model_error{suffix}"].values
            assert np.isnan(values[0]).all() and np.all(values[1:3] != 0)
            np.testing.assert_array_equal(values[3:], 0)
    forecast = toy.run("--slots", "2", "--from", str(toy.out), command="forecast")
    assert forecast.exit_code == 0, forecast.stderr or forecast.exception


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, ("model_error", "give either covariance or fields")),
        (
            {**ERROR, "every": 3},
            ("model_error: ModelError: groups of 3 slots do not fill a window of 4",),
        ),
        ({**ERROR, "observed": "during"}, ("model_error.observed", "'before' or 'after'")),
        ({**ERROR, "acts": "tendency", "observed": "before"}, ("model_error", "is for jumps")),
        ({**ERROR, "every": 4, "jump_at_end": False}, ("one group of slots without a jump",)),
        ({**ERROR, "jump_at_end": 0}, ("model_error.jump_at_end",)),
        ({**ERROR, "bounds": {"x": {}}}, ("model_error.bounds.x", "one of them must be finite")),
        ({**ERROR, "bounds": {"y": {"lower": 0.0}}}, ("model_error.bounds.y", "no field 'y'")),
        ({**ERROR, "acts": "tendency", "bounds": {"x": {"lower": 0.0}}}, ("bounds is for",)),
        ({**ERROR, "acts": "push"}, ("model_error.acts", "'jump' or 'tendency'", "push")),
        ({"fields": {"y": {"stdev": 1.0}}}, ("model_error.fields.y", "no field 'y'")),
        ({"fields": {"x": {}}}, ("model_error.fields.x", "give either stdev or covariance")),
        ({"covariance": {"stdev": 1.0}}, ("model_error.covariance", 'use = "..." or file')),
        ({"covariance": {"use": "Diagnal"}}, ("model_error.covariance.use", "Diagonal")),
        (
            {**ERROR, "acts": "tendency", "formulation": "state"},
            ("in the state formulation model errors are jumps",),
        ),
    ],
)
def test_bad_tables(toy: Toy, table: dict[str, Any], words: tuple[str, ...]) -> None:
    toy.case["model_error"] = table
    result = toy.write().run()
    assert result.exit_code == 2
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize("where", ["covariance", "fields.x.covariance"])
def test_a_model_error_of_no_field_is_refused(toy: Toy, where: str) -> None:
    none = {"use": "none"}
    toy.case["model_error"] = (
        {"covariance": none} if where == "covariance" else {"fields": {"x": {"covariance": none}}}
    )
    result = toy.write().run()
    assert result.exit_code == 2, result.stderr
    assert f"model_error.{where.split('.')[0]}: no field has a model error" in result.stderr
    assert "1 error:" not in result.stderr  # one within another


def test_a_file_of_the_covariance_that_is_not_there_is_an_error_of_data(toy: Toy) -> None:
    toy.case["model_error"] = {"covariance": {"file": "nothing.nc"}}
    result = toy.write().run()
    assert result.exit_code == 3 and "nothing.nc: there is no such file" in result.stderr


@pytest.mark.parametrize(
    ("table", "units"),
    [
        ({}, "kg"),
        ({"acts": "tendency"}, "kg days-1"),
        ({"bounds": {"x": {"lower": 0.0}}}, "1"),
    ],
)
@pytest.mark.parametrize("place", ["covariance", "fields"])
def test_a_file_of_q_has_the_units_of_what_the_errors_act_on(
    toy: Toy, table: dict[str, Any], units: str, place: str
) -> None:
    """Those of a jump, of a tendency, or of a logarithm, as trajectory.nc has them."""
    covariance = {"file": "Q.nc"}
    given = covariance if place == "covariance" else {"x": {"covariance": covariance}}
    toy.case["model_error"] = {place: given, **table}
    toy.write()
    setting = set_up(read_case(toy.folder / "case.toml"))
    for written in ("kg", "kg/day", "1"):
        q = xr.Dataset({"x_stddev": ("cell", [0.1, 0.2, 0.3], {"units": written})})
        q.to_netcdf(toy.folder / "Q.nc")
        if same_units(written, units):
            stdev = setting.model_error().covariance["x"].stdev
            np.testing.assert_array_equal(stdev, [0.1, 0.2, 0.3])
        else:
            with pytest.raises(DataError, match=f"Q.nc: x_stddev: expected units '{units}'"):
                setting.model_error()
