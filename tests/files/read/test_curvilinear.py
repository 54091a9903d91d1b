"""Observations on a grid whose latitudes and longitudes are two-dimensional."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from assim import Coordinate, Label, Labels, operator, strong_constraint
from assim.files.errors import DataError
from assim.files.read.observations import to_instrument
from assim.files.read.quality import QualityControl
from assim.files.read.states import read_state
from assim.files.read.tables import open_observations
from assim.files.read.windows import read_window
from assim.files.write.encode import state_dataset
from assim.problem.covariance import Diagonal
from assim.problem.model import AbstractModel
from tests.files.toy import observations_dataset

NY, NX = 9, 24


def turned(latitude, longitude):
    """Places on a sphere whose pole is moved by 30°."""
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    x, y, z = np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    x, z = c * x + s * z, c * z - s * x
    return np.rad2deg(np.arcsin(z)), np.rad2deg(np.arctan2(y, x))


GRID = operator.Curvilinear(
    *turned(*np.meshgrid(np.linspace(-60, 60, NY), np.arange(NX) * 15.0, indexing="ij")),
    wraps=True,
)


class Sea(AbstractModel):
    """A temperature that stays as it is."""

    parameters: dict = eqx.field(default_factory=dict)
    dt: float = eqx.field(default=1.0, static=True)

    def step(self, x, theta, t):
        del theta, t
        return x

    def labels(self):
        axes = {"y": Coordinate(np.arange(NY)), "x": Coordinate(np.arange(NX), period=float(NX))}
        return Labels({"T": Label(("y", "x"), "K")}, {}, axes, "days", GRID)


def buoys(latitude, longitude, values=None, units="degrees_north"):
    n = len(latitude)
    values = np.zeros(n) if values is None else values
    return xr.Dataset(
        {
            "T": ("obs", values, {"units": "K"}),
            "T_stddev": ("obs", np.full(n, 0.1), {"units": "K"}),
        },
        {
            "time": ("obs", np.ones(n), {"units": "days since 2000-01-01"}),
            "latitude": ("obs", np.asarray(latitude, float), {"units": units}),
            "longitude": ("obs", np.asarray(longitude, float), {"units": "degrees_east"}),
        },
    )


def read(dataset, **given):
    model = Sea()
    window = read_window(dataset, model, start="2000-01-01")
    table = open_observations(dataset, "T", model.labels())
    return to_instrument(table, model, window, **given), window


def test_places_become_positions_on_the_grid():
    latitude, longitude = turned(np.array([7.5, 0.0, 85.0]), np.array([22.5, 352.5, 10.0]))
    instrument, window = read(buoys(latitude, np.mod(longitude, 360.0)))
    np.testing.assert_array_equal(instrument.flags, [0, 0, 13])  # the last beyond the last row
    places = instrument.observations.points.coordinates
    np.testing.assert_allclose(places["y"], [4.5, 4.0], atol=0.01)
    np.testing.assert_allclose(places["x"], [1.5, 23.5], atol=0.01)
    field = {"T": 280 + GRID.first / 10}
    problem = strong_constraint(Sea(), window, field, Diagonal(1.0), instrument.observations)
    predicted = problem.simulate(jnp.zeros(NY * NX)).predictions["T"]
    np.testing.assert_allclose(predicted, 280 + latitude[:2] / 10, atol=0.05)


def test_feedback_has_latitude_and_longitude():
    instrument, window = read(buoys([10.0, 20.0], [0.0, 5.0]))
    written = observations_dataset([instrument], Sea().labels(), window)
    np.testing.assert_array_equal(written["latitude"], [10.0, 20.0])
    assert written["longitude"].attrs["standard_name"] == "longitude"
    again = open_observations(written, "T", Sea().labels())
    np.testing.assert_allclose(again.coordinates["x"], instrument.table.coordinates["x"])


def test_superobs_are_placed_again():
    dataset = buoys([10.0, 10.0], [359.0, 1.0], np.array([1.0, 3.0]))
    instrument, _ = read(dataset, quality=QualityControl(superob_distance=20.0))
    assert instrument.used.all()  # either side of 0°, where a cell begins
    dataset = buoys([10.0, 10.0], [2.0, 4.0], np.array([1.0, 3.0]))
    instrument, _ = read(dataset, quality=QualityControl(superob_distance=20.0))
    np.testing.assert_array_equal(instrument.flags, [31, 31, 0])
    row, column = GRID.locate(np.array([10.0]), np.array([3.0]))
    places = instrument.observations.points.coordinates
    np.testing.assert_allclose([places["y"], places["x"]], [row, column], rtol=1e-12)


def test_states_carry_the_positions_of_the_grid():
    state = {"T": np.random.default_rng(0).normal(size=(NY, NX))}
    written = state_dataset(Sea().labels(), state)
    np.testing.assert_array_equal(written["latitude"], GRID.first)
    assert written["latitude"].dims == ("y", "x")
    np.testing.assert_array_equal(read_state(written, Sea())["T"], state["T"])


def test_units_of_places():
    with pytest.raises(DataError, match="latitude: expected units 'degrees_north', got 'rad'"):
        read(buoys([0.0], [0.0], units="rad"))
