"""Time series that drive the model of a case."""

import hashlib
import json

import numpy as np
import pytest
import xarray as xr

from assim.case.case import read_case
from assim.case.failure import CaseError
from assim.case.pose import pose
from assim.files.errors import DataError
from tests.run.toy import Toy

MODEL = '''
"""A tank that a pump fills: dV/dt = gain inflow(t)."""

import equinox as eqx
import jax.numpy as jnp

from assim import AbstractModel, Forcing, Label, Labels


class Tank(AbstractModel):
    inflow: Forcing
    dt: float = eqx.field(default=1.0, static=True)
    parameters: dict = eqx.field(default_factory=lambda: {"gain": jnp.asarray(1.0)})

    def labels(self):
        return Labels(
            state={"volume": Label((), "m3", "volume")},
            parameters={"gain": Label((), "1", "factor on the inflow")},
            inputs={"inflow": Label((), "m3 day-1", "inflow")},
            time_unit="days",
        )

    def step(self, x, theta, t):
        return {"volume": x["volume"] + self.dt * theta["gain"] * self.inflow(t + self.dt / 2)}
'''


def pumped(units: str = "m3 day-1") -> xr.Dataset:
    days = np.arange(5.0) + 0.5
    time = {"units": "days since 2000-01-01", "bounds": "time_bnds"}
    bounds = np.stack([days - 0.5, days + 0.5], axis=1)
    return xr.Dataset(
        {"pump": ("time", days, {"units": units}), "time_bnds": (("time", "nv"), bounds)},
        {"time": ("time", days, time)},
    )


@pytest.fixture
def tank(toy: Toy) -> Toy:
    series = {"file": "inflow.nc", "variable": "pump", "interpolation": "steps"}
    toy.model, toy.background = MODEL, None
    toy.observations = xr.Dataset(
        {
            "volume": ("obs", [13.0], {"units": "m3"}),
            "volume_stddev": ("obs", [0.1], {"units": "m3"}),
        },
        {"time": ("obs", [5.0], {"units": "days since 2000-01-01"})},
    )
    toy.case |= {
        "model": {"use": "toy.py:Tank", "inflow": series},
        "window": {"start": "2000-01-01", "slots": 5},
        "background": {"fields": {"volume": {"value": 0.0}}},
        "parameters": {"gain": {"prior": {"use": "Normal", "mean": 1.0, "stdev": 0.2}}},
        "observations": [{"file": "observations.nc", "variable": "volume"}],
    }
    toy.write()
    pumped().to_netcdf(toy.folder / "inflow.nc")
    return toy


def test_a_model_is_driven_by_its_file(tank: Toy) -> None:
    """The tank holds gain Σ inflow = 12.5 gain m3 at the end of the five days."""
    posed = pose(read_case(tank.folder / "case.toml"))
    trajectory = posed.problem.simulate(np.zeros(1)).trajectory
    np.testing.assert_allclose(trajectory.states["volume"], [0.0, 0.5, 2.0, 4.5, 8.0, 12.5])
    digest = hashlib.sha256((tank.folder / "inflow.nc").read_bytes()).hexdigest()
    assert posed.inputs["inflow.nc"] == digest


def test_a_run_records_its_file(tank: Toy) -> None:
    result = tank.run()
    assert result.exit_code == 0, result.stderr
    with xr.open_dataset(tank.out / "analysis.nc") as analysis:
        assert "inflow.nc" in analysis.attrs["assim_inputs"]


def change(**keys: object) -> object:
    return lambda tank: tank.case["model"]["inflow"].update(keys)


def gap(tank: Toy) -> None:
    """A series without the interval from the third to the fourth day."""
    pumped().isel(time=[0, 1, 3, 4]).to_netcdf(tank.folder / "inflow.nc")


def weeks(tank: Toy) -> None:
    """Observations whose unit of time is a wrong one."""
    tank.case["window"] = {"start": "2000-01-01", "times": "observations"}
    time = {"units": "weeks since 2000-01-01"}
    tank.observations.assign_coords(time=("obs", [5.0], time)).to_netcdf(
        tank.folder / "observations.nc"
    )


@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        (change(variable="pmp"), 3, "no variable 'pmp'; did you mean 'pump'?"),
        (change(file="nothing.nc"), 3, "nothing.nc: there is no such file"),
        (change(interpolation="cubic"), 2, 'model.inflow.interpolation: must be "linear" or'),
        (change(vairable="pump"), 2, "model.inflow.vairable: no such key; did you mean 'variable'"),
        (change(variable=3), 2, "model.inflow.variable: must be a text, got 3"),
        (lambda t: t.case["model"]["inflow"].pop("variable"), 2, "model.inflow.variable: this key"),
        (lambda t: t.case["model"].update(inflow=3.0), 2, "model.inflow: must be a time series"),
        (lambda t: t.case["model"].pop("inflow"), 2, "Tank needs the argument 'inflow'"),
        (
            lambda t: t.case["model"].update(dt={"file": "inflow.nc", "variable": "pump"}),
            2,
            "model.dt: takes no time series",
        ),
        (
            lambda t: t.case["window"].update(slots=6),
            2,
            "model.inflow: has values from 2000-01-01 to 2000-01-06 only, but the window runs from "
            "2000-01-01 to 2000-01-07; shorten the window, or give a longer series",
        ),
        (
            weeks,
            2,
            "but the window runs from 2000-01-01 to 2000-02-05, whose end is the last time of the "
            "observations (observations.nc); see that these times have the right unit, give "
            "window.end or a longer series",
        ),
        (
            gap,
            3,
            "time_bnds[1] ends at 2000-01-03 00:00:00 and the next starts at 2000-01-04 00:00:00; "
            "fill the gap with intervals of their own",
        ),
        (lambda t: pumped("m3").to_netcdf(t.folder / "inflow.nc"), 3, "got 'm3'"),
    ],
)
def test_bad_series(tank: Toy, spoil: object, code: int, message: str) -> None:
    spoil(tank)
    tank.write_case()
    result = tank.run()
    assert (result.exit_code, message in " ".join(result.stderr.split())) == (code, True), (
        result.stderr
    )


def test_a_model_that_does_not_say_the_units_of_its_series(tank: Toy) -> None:
    tank.model = MODEL.replace('inputs={"inflow": Label((), "m3 day-1", "inflow")},', "")
    tank.write()
    result = tank.run()
    assert result.exit_code == 2
    assert "labels().inputs of the model must give the units of 'inflow'" in result.stderr


def test_a_run_says_what_is_unusual_in_its_inputs(tank: Toy) -> None:
    """Rows that repeat a time and a gap in the inflow: on the screen, in summary and report."""
    days = np.array([0.0, 1.0, 2.0, 3.0, 7.0, 8.0])
    time = {"units": "days since 2000-01-01"}
    gap = xr.Dataset(
        {"pump": ("time", days, {"units": "m3 day-1"})}, {"time": ("time", days, time)}
    )
    tank.case["model"]["inflow"]["interpolation"] = "linear"
    tank.observations = xr.concat([tank.observations] * 2, "obs", data_vars="all")
    tank.write()
    gap.to_netcdf(tank.folder / "inflow.nc")
    result = tank.run()
    assert result.exit_code == 0, result.stderr
    words = (
        "volume: 1 values repeat the time and place of another, 1 of them its value, too: each "
        "counts as an independent observation",
        "no value from 2000-01-04 to 2000-01-08, 4 times its usual step: interpolated",
    )
    report = (tank.out / "report.html").read_text(encoding="utf-8")
    notes = "\n".join(json.loads((tank.out / "summary.json").read_text())["notes"])
    for note in words:
        for place in (" ".join(result.stdout.split()), notes, report):
            assert note in place


@pytest.mark.parametrize(
    ("keys", "methods", "told"),
    [
        ({}, {}, True),
        ({}, {"cell_methods": "time: mean"}, True),
        ({}, {"cell_methods": "time: point"}, False),
        ({"interpolation": "linear"}, {}, False),
        ({"interpolation": "steps"}, {}, False),
    ],
)
def test_a_mean_over_intervals_is_not_read_as_linear_in_silence(
    tank: Toy, keys: dict, methods: dict, told: bool
) -> None:
    days = xr.DataArray([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], dims="time")
    series = pumped().pad(time=(0, 1), mode="edge").assign_coords(time=days)
    series["time_bnds"] = (("time", "nv"), np.stack([days, days + 1.0], axis=1))
    series["time"].attrs = pumped()["time"].attrs
    series["pump"].attrs |= methods
    series.to_netcdf(tank.folder / "inflow.nc")
    tank.case["model"]["inflow"] = {"file": "inflow.nc", "variable": "pump", **keys}
    tank.write_case()
    posed = pose(read_case(tank.folder / "case.toml"))
    (tank.folder / "inflow.nc").unlink()  # notes are told after the run, too
    note = (
        "model.inflow: read as linear between its times, though time_bnds gives each value of "
        'inflow.nc an interval: say interpolation = "steps" where values hold over these, as means '
        'do, or "linear"'
    )
    assert posed.notes() == [note] * told


def test_a_fill_value_of_a_series_that_nobody_declared_is_told(tank: Toy) -> None:
    series = pumped()
    series["pump"].values[1:3] = -999.0
    series.to_netcdf(tank.folder / "inflow.nc")
    (note,) = pose(read_case(tank.folder / "case.toml")).notes()
    assert note == (
        "model.inflow: 2 values are exactly -999, and all others lie from 0.5 to 4.5: likely a "
        "fill value that nobody declared: used as it is"
    )


def test_a_fill_value_of_a_series_is_known_in_the_unit_of_its_file(tank: Toy) -> None:
    series = pumped()
    own = series["pump"].attrs["units"]
    series["pump"].values[1:3] = -999.0
    series["pump"].attrs["units"] = f"0.001 {own}"
    series.to_netcdf(tank.folder / "inflow.nc")
    notes = pose(read_case(tank.folder / "case.toml")).notes()
    assert any("exactly -0.999 (-999 in the file's unit)" in note for note in notes), notes


def test_an_ensemble_of_series_needs_a_choice(tank: Toy) -> None:
    ensemble = pumped().expand_dims(number=[0, 1]).transpose("time", "nv", "number")
    ensemble = ensemble.assign(time_bnds=pumped()["time_bnds"])
    ensemble.to_netcdf(tank.folder / "inflow.nc")
    result = tank.run()
    assert result.exit_code == 3
    assert "select = { number = 0 }" in " ".join(result.stderr.split())
    tank.case["model"]["inflow"]["select"] = {"number": "mean"}
    tank.write_case()
    posed = pose(read_case(tank.folder / "case.toml"))
    trajectory = posed.problem.simulate(np.zeros(1)).trajectory
    np.testing.assert_allclose(trajectory.states["volume"][-1], 12.5)
    tank.case["model"]["inflow"]["select"] = 3
    tank.write_case()
    assert "model.inflow.select: must be a table" in tank.run().stderr


def test_a_value_far_from_all_others_is_told(tank: Toy) -> None:
    far = pumped()
    far["pump"].values[2] = 1e20
    far.to_netcdf(tank.folder / "inflow.nc")
    posed = pose(read_case(tank.folder / "case.toml"))
    expected = "model.inflow: one value, 1e+20, is more than 1e+10 times larger than all others"
    assert any(note.startswith(expected) for note in posed.notes())


RAIN = MODEL.replace(
    "    def labels(self):\n        return Labels(",
    """    def labels(self):
        axes = {dim: Coordinate(np.arange(2.0), "m", dim) for dim in "yx"}
        return Labels(
            coordinates=axes,""",
)
RAIN = RAIN.replace("import Abs", "import Coordinate, Abs").replace(
    "as jnp", "as jnp\nimport numpy as np"
)
RAIN = RAIN.replace('Label((), "m3 day-1"', 'Label(("y", "x"), "m3 day-1"')
RAIN = RAIN.replace("self.inflow(t + self.dt / 2)", "self.inflow(t + self.dt / 2)[0, 1]")


def test_a_series_of_fields_is_brought_to_the_model_s_grid(tank: Toy) -> None:
    """The tank stands at y = 0, x = 1 and gets what falls there, however the file is laid out."""
    (tank.folder / "toy.py").write_text(RAIN, encoding="utf-8")
    values = np.arange(5.0)[:, None, None] * np.array([[0.0, 1.0], [10.0, 20.0]])
    rain = pumped().drop_vars("pump").assign(pump=(("time", "y", "x"), values, {"units": "m3/day"}))
    turned = rain.assign(pump=rain["pump"].transpose("time", "x", "y"))
    turned.to_netcdf(tank.folder / "inflow.nc")
    posed = pose(read_case(tank.folder / "case.toml"))
    trajectory = posed.problem.simulate(np.zeros(1)).trajectory
    np.testing.assert_allclose(trajectory.states["volume"], [0.0, 0.0, 1.0, 3.0, 6.0, 10.0])
    elsewhere = rain.assign_coords(y=("y", [1.0, 2.0], {"units": "m"}))
    elsewhere.to_netcdf(tank.folder / "inflow.nc")
    with pytest.raises(DataError, match=r"inflow.nc: y: expected the model's grid, in any order"):
        pose(read_case(tank.folder / "case.toml"))
    model = RAIN.replace('for dim in "yx"', 'for dim in "y"')
    (tank.folder / "toy.py").write_text(model, encoding="utf-8")
    with pytest.raises(CaseError, match=r"model.inflow: .*coordinates .* dimension 'x'"):
        pose(read_case(tank.folder / "case.toml"))
