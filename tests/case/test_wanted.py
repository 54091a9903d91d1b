"""What a case may ask for beyond the plain analysis, from the command line."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from assim.case.case import read_case
from assim.case.pose import pose, pose_setting
from assim.case.setting import set_up
from tests.run.toy import Toy

QUANTITIES = """
import jax.numpy as jnp


def total(trajectory):
    return jnp.sum(trajectory.at_end()["x"])


def half_life(trajectory):
    return jnp.log(2.0) / trajectory.parameters["rate"]
"""


def summary(toy: Toy, *options: str) -> dict[str, Any]:
    result = toy.run(*options)
    assert result.exit_code == 0, result.stderr or result.exception
    return json.loads((toy.out / "summary.json").read_text())


def written(toy: Toy) -> Toy:
    toy.write()
    (toy.folder / "quantities.py").write_text(QUANTITIES, encoding="utf-8")
    return toy


@pytest.mark.slow
def test_derived_quantities(toy: Toy) -> None:
    toy.case["posterior"] = {"use": "Laplace"}
    toy.case["quantities"] = {
        "half_life": {"use": "quantities.py:half_life", "units": "day"},
        "total": {"use": "quantities.py:total", "units": "kg", "long_name": "total at the end"},
    }
    found = summary(written(toy))["quantities"]
    rate, half = found["rate"], found["half_life"]
    assert half["units"] == "day"
    assert abs(half["map"] * rate["map"] / np.log(2) - 1) < 1e-6
    assert abs(half["q50"] * rate["q50"] / np.log(2) - 1) < 0.05
    with xr.open_dataset(toy.out / "trajectory.nc") as file:
        assert abs(found["total"]["map"] - float(file["x"][-1].sum())) < 1e-8
    with xr.open_dataset(toy.out / "posterior.nc") as file:
        assert file["total"].attrs["units"] == "kg"


@pytest.mark.parametrize("formulation", [None, pytest.param("state", marks=pytest.mark.slow)])
def test_an_outlier_fails_the_background_check(toy: Toy, formulation: str | None) -> None:
    """A value 20 standard deviations off is flagged 19, and the others are used."""
    if formulation is not None:
        error = {"covariance": {"use": "Diagonal", "stdev": 0.05}, "formulation": formulation}
        toy.case["model_error"] = error
    values = toy.observations["x"].values.copy()
    values[5] += 20 * 0.6
    toy.observations = toy.observations.assign(x=("obs", values, {"units": "kg"}))
    toy.case["observations"][0]["quality"] = {"threshold": 4.0}
    found = summary(written(toy))["observations"]["x"]
    assert found["used"] == 11
    with xr.open_dataset(toy.out / "feedback.nc") as file:
        assert list(np.flatnonzero(file["x_effective_qc"] == 19)) == [5]
        assert np.isfinite(file["x_hofx_background"][5])


@pytest.mark.slow
def test_a_bias_is_estimated(toy: Toy) -> None:
    """A kilogram more in every value moves the offset by nearly as much, and the slope not."""
    toy.observations["angle"] = ("obs", np.tile([-1.0, 0.0, 1.0], 4), {"units": "1"})
    normal = {"use": "Normal", "mean": 0.0, "stdev": 2.0}
    toy.case["observations"][0]["bias"] = [
        {"name": "offset", "prior": normal},
        {"name": "slope", "prior": normal, "variable": "angle"},
    ]
    toy.case["posterior"] = {"use": "Laplace"}
    toy.case["background"] |= {"fields": {"x": {"stdev": 0.1}}}
    before = summary(written(toy))["quantities"]
    toy.observations["x"] = toy.observations["x"] + 1.0
    toy.observations["x"].attrs["units"] = "kg"
    after = summary(written(toy))["quantities"]
    assert abs(after["offset"]["mean"] - before["offset"]["mean"] - 1) < 0.05
    assert abs(after["slope"]["mean"] - before["slope"]["mean"]) < 0.05
    assert after["offset"]["units"] == "kg"


def test_a_predictor_lies_beside_its_values(toy: Toy) -> None:
    """On a grid each value has its own, and one that is flagged takes its value out."""
    values = toy.observations["x"].values.reshape(4, 3)
    errors, kg = np.full((4, 3), 0.1), {"units": "kg"}
    angle = np.arange(12.0).reshape(4, 3)
    toy.observations = xr.Dataset(
        {
            "x": (("time", "cell"), values, kg),
            "x_stddev": (("time", "cell"), errors, kg),
            "angle": (("cell", "time"), angle.T),
            "angle_qc": ("time", [0, 4, 0, 0]),
        },
        {
            "time": ("time", [1.0, 2.0, 3.0, 4.0], {"units": "days since 2000-01-01"}),
            "cell": ("cell", [0.0, 1.0, 2.0], {"units": "m"}),
        },
    )
    prior = {"use": "Normal", "mean": 0.0, "stdev": 2.0}
    toy.case["observations"][0]["bias"] = [{"name": "slope", "prior": prior, "variable": "angle"}]
    toy.write()
    (instrument,) = pose(read_case(toy.folder / "case.toml")).instruments
    assert instrument.rejected() == {"operator_failed": 3}
    predictors = instrument.observations.bias.predictors["slope"]
    np.testing.assert_array_equal(predictors, np.delete(angle, 1, axis=0).ravel())
    kept = np.delete(values, 1, axis=0).ravel()
    np.testing.assert_array_equal(instrument.observations.values, kept)
    elsewhere = {"observations.nc": toy.observations.assign(angle=2 * toy.observations["angle"])}
    setting = set_up(read_case(toy.folder / "case.toml"))
    (instrument,) = pose_setting(setting, elsewhere).instruments
    doubled = instrument.observations.bias.predictors["slope"]
    np.testing.assert_array_equal(doubled, 2 * predictors)


def test_restart_from_an_analysis(toy: Toy) -> None:
    """The minimum of an earlier run as the first guess: nothing is left to do."""
    first = summary(written(toy))
    (toy.out / "analysis.nc").rename(toy.folder / "analysis.nc")
    again = summary(toy, "--set", 'minimiser.first_guess="analysis.nc"')
    assert abs(again["cost"]["total"] - first["cost"]["total"]) < 1e-9
    with xr.open_dataset(toy.out / "diagnostics.nc") as file:
        assert file["inner_iterations"].sum() <= 4


@pytest.mark.slow
def test_restart_in_the_state_formulation(toy: Toy) -> None:
    """Later states start from the model's run from the guess: J is that without model error."""
    error = {"covariance": {"use": "Diagonal", "stdev": 0.05}}
    toy.case["model_error"] = error
    options = ("--set", 'minimiser.first_guess="analysis.nc"', "--set", "minimiser.use=LBFGS")
    summary(written(toy))
    (toy.out / "analysis.nc").rename(toy.folder / "analysis.nc")
    costs = []
    for formulation in ("forcing", "state"):
        summary(toy, *options, "--set", f'model_error.formulation="{formulation}"')
        with xr.open_dataset(toy.out / "diagnostics.nc") as file:
            costs.append(float(file["cost"][0]))
    assert abs(costs[0] - costs[1]) < 1e-8 * costs[0]


def test_a_first_guess_that_a_prior_excludes(toy: Toy) -> None:
    written(toy)
    guess = toy.background.assign(rate=((), -0.1, {"units": "day-1"}))
    guess.to_netcdf(toy.folder / "guess.nc")
    result = toy.run("--set", 'minimiser.first_guess="guess.nc"')
    assert result.exit_code == 3
    for word in ("guess.nc", "rate", "LogNormal", "-0.1"):
        assert word in result.stderr


GUESS = "old/analysis.nc"


def in_seconds(guess: xr.Dataset) -> xr.Dataset:
    """Amounts in a unit that is none of theirs."""
    return guess.assign(x=guess["x"].assign_attrs(units="s"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (in_seconds, (f"{GUESS}: x", "'kg'", "'s'")),
        (lambda guess: guess.rename(x="amount"), (f"{GUESS}: x: expected a variable 'x'",)),
        (lambda guess: guess.rename(cell="point"), (f"{GUESS}: x", "'cell'", "point")),
        (lambda guess: guess.isel(cell=[0, 1]), (f"{GUESS}: x: expected 3 points along 'cell'",)),
        (lambda guess: guess.assign_coords(cell=[0.0, 1.0, 3.0]), ("expected the model's grid",)),
        (lambda guess: guess.assign(x=guess["x"] * np.nan), ("expected finite values",)),
    ],
)
def test_a_first_guess_that_does_not_fit(
    toy: Toy, spoil: Callable[[xr.Dataset], xr.Dataset], words: tuple[str, ...]
) -> None:
    """It is read as a background is, and what does not fit is told as of one."""
    toy.case["minimiser"] = {"use": "GaussNewton", "first_guess": GUESS}
    written(toy)
    (toy.folder / "old").mkdir()
    with xr.set_options(keep_attrs=True):
        spoil(toy.background).to_netcdf(toy.folder / GUESS)
    for command in ("check", "run"):
        result = toy.run(command=command)
        assert result.exit_code == 3, result.output
        for word in words:
            assert word in result.stderr


@pytest.mark.slow
def test_a_first_guess_is_no_background(toy: Toy) -> None:
    """The minimum, its cost and the files of the background are as without it; it is an input."""
    first = summary(written(toy))
    (toy.folder / "old").mkdir()
    (toy.out / "analysis.nc").rename(toy.folder / GUESS)
    with xr.open_dataset(toy.out / "background.nc") as file:
        background = file["x"].values
    toy.case["minimiser"] = {"use": "GaussNewton", "first_guess": GUESS}
    again = summary(written(toy))
    assert again["cost"]["background"] == pytest.approx(first["cost"]["background"], rel=1e-6)
    with xr.open_dataset(toy.out / "background.nc") as file:
        np.testing.assert_array_equal(file["x"].values, background)
        assert f"  {GUESS}" in file.attrs["assim_inputs"]
    checked = toy.run(command="check")
    assert checked.exit_code == 0 and "from the first guess" in checked.output, checked.output


def test_impact_on_a_forecast(toy: Toy) -> None:
    """Impacts of all observations add up to the change of the forecast's error, to third order."""
    toy.case["posterior"] = {"use": "Laplace"}
    toy.case["forecast_impact"] = {"file": "verifying.nc", "time": "2000-01-07"}
    written(toy)
    kg = {"units": "kg"}
    verifying = xr.Dataset(
        {"x": ("cell", [2.0, 1.2, 0.6], kg)}, {"cell": ("cell", [0.0, 1.0, 2.0], {"units": "m"})}
    )
    verifying.to_netcdf(toy.folder / "verifying.nc")
    impact = summary(toy)["impact"]
    with xr.open_dataset(toy.out / "diagnostics.nc") as file:
        total = float(file["instrument_impact"].sum())
        before, after = (
            float(file[f"forecast_measure_{place}"]) for place in ("background", "analysis")
        )
    assert impact.pop("instruments") == {"x": total}
    assert impact == {"background": before, "analysis": after, "total": total}
    assert abs(after - before) > 0.05 * before
    assert abs(total / (after - before) - 1) < 0.1


@pytest.mark.parametrize(
    ("table", "code", "words"),
    [
        ({"quantities": {"q": {"use": "total"}}}, 2, ("quantities.q.use", "file.py:function")),
        ({"quantities": {"q": {"use": "quantities.py:totl"}}}, 2, ("no 'totl'", "total")),
        (
            {"quantities": {"rate": {"use": "quantities.py:total"}}, "posterior": "Laplace"},
            2,
            ("rate", "another"),
        ),
        *(
            (table, 2, (f"{key}: needs a posterior",))
            for key, table in {
                "quantities": {"quantities": {"q": {"use": "quantities.py:total"}}},
                "predictive": {"predictive": {"draws": 500}},
                "sloppy.profile": {"sloppy": {"profile": True}},
                "output.arviz": {"output": {"arviz": True}},
            }.items()
        ),
        ({"minimiser": {"first_guess": "none.nc"}}, 3, ("none.nc", "no such file")),
        (
            {"forecast_impact": {"file": "background.nc", "time": "2000-02-01"}},
            2,
            ("forecast_impact", "needs a posterior"),
        ),
        (
            {
                "forecast_impact": {"file": "background.nc", "time": "2000-01-02"},
                "posterior": {"use": "Laplace"},
            },
            2,
            ("forecast_impact.time", "after the window"),
        ),
    ],
)
def test_bad_wishes(toy: Toy, table: dict[str, Any], code: int, words: tuple[str, ...]) -> None:
    toy.case |= table
    result = written(toy).run()
    assert result.exit_code == code, result.stderr
    for word in words:
        assert word in result.stderr


def test_what_is_held_back_without_a_posterior_is_told(toy: Toy) -> None:
    held_back = {"file": "observations.nc", "variable": "x", "held_back": True, "name": "kept"}
    toy.case["observations"].append(held_back)
    assert "kept: held back, but no posterior" in toy.write().run(command="check").stdout
