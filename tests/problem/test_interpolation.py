"""Interpolation on bounded, periodic and curvilinear grids, and on the sphere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import operator
from assim.problem.arrays import Coordinate
from assim.problem.interpolation import _interval, reach, stencil

RNG = np.random.default_rng(0)


def read(field, axes, places):
    """Values of a field on axes at places."""
    m = next(iter(places.values())).size
    found = stencil(axes, {dim: jnp.asarray(p) for dim, p in places.items()}, m)
    np.testing.assert_allclose(found.weight.sum(axis=0), np.ones(m), rtol=1e-14)
    return jnp.sum(found.weight * jnp.asarray(field).ravel()[found.site], axis=0)


def uneven(n, lower, upper):
    inner = np.sort(RNG.uniform(lower, upper, n - 2))
    return Coordinate(np.concatenate([[lower], inner, [upper]]))


def test_multilinear_functions_in_three_dimensions_are_exact():
    axes = {"z": uneven(5, 0, 3), "y": uneven(4, -1, 2), "x": uneven(6, 10, 14)}
    z, y, x = np.meshgrid(*(axis.values for axis in axes.values()), indexing="ij")

    def function(z, y, x):
        return 1 + 2 * z - y + 0.5 * x + z * y - 0.3 * z * x + 0.1 * x * y * z

    places = {d: RNG.uniform(a.values[0], a.values[-1], 200) for d, a in axes.items()}
    expected = function(*places.values())
    np.testing.assert_allclose(read(function(z, y, x), axes, places), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "values",
    [
        1 + np.arange(7.0),
        0.1 * np.arange(1000) + 3,
        RNG.uniform(0.1, 5, 50).cumsum(),
        np.array([2.0]),
    ],
    ids=["whole", "tenths", "uneven", "single"],
)
def test_intervals_are_those_of_a_search(values):
    """On every point, beside it, between points and outside, together and one by one."""
    near = np.concatenate([values, np.nextafter(values, -np.inf), np.nextafter(values, np.inf)])
    between = RNG.uniform(values[0] - 1, values[-1] + 1, 200)
    positions = np.concatenate([near, between, [np.nan]])
    expected = np.searchsorted(values, positions, side="right") - 1
    interval = jax.jit(_interval)
    numbers = np.isfinite(positions)
    np.testing.assert_array_equal(interval(values, positions[numbers]), expected[numbers])
    np.testing.assert_array_equal(interval(values, positions), expected)
    several = jax.jit(jax.vmap(_interval, (None, 0)))(values, positions[:, None])
    np.testing.assert_array_equal(several[:, 0], expected)


def test_equal_distances_are_not_searched():
    """A loop halves the intervals of uneven ones alone: the branch that is not taken."""
    text = jax.jit(_interval).lower(jnp.arange(9.0), jnp.ones(4)).compile().as_text()
    assert text.count(" conditional(") == 1 and " while(" in text


def test_adjoint():
    axes = {"y": uneven(4, -1, 2), "x": Coordinate(np.arange(5.0), period=5.0)}
    places = {"y": RNG.uniform(-1, 2, 9), "x": RNG.uniform(-7, 7, 9)}
    field, weights = RNG.normal(size=(4, 5)), RNG.normal(size=9)
    values, pull = jax.vjp(lambda f: read(f, axes, places), jnp.asarray(field))
    np.testing.assert_allclose(weights @ values, jnp.vdot(pull(weights)[0], field), rtol=1e-12)


# ---- the sphere ----------------------------------------------------------------------------------


def smooth(latitude, longitude):
    """A function of the sphere: a polynomial of the Cartesian coordinates."""
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    x, y, z = np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)
    return 1 + x - 2 * y + z + 3 * x * y - z * x + y * z**2


def everywhere(m):
    """Places on the sphere, some of them close to the poles and to 180°."""
    latitude = np.rad2deg(np.arcsin(RNG.uniform(-1, 1, m)))
    latitude[:6] = [90, -90, 89.99, -89.9, 88, -87]
    longitude = RNG.uniform(-180, 180, m)
    longitude[6:10] = [180, -180, 179.99, -179.99]
    return latitude, longitude


def globe(n, start=0.0, poles=False):
    """n rows of latitude, between the poles or with them, and 2n of longitude."""
    half = 90.0 / n
    rows = np.linspace(-90, 90, n + 1) if poles else np.linspace(half - 90, 90 - half, n)
    columns = start + np.arange(2 * n) * 180.0 / n
    latitude = Coordinate(rows, "degrees_north")
    return {"lat": latitude, "lon": Coordinate(columns, "degrees_east", period=360.0)}


@pytest.mark.parametrize("poles", [False, True])
def test_second_order_on_the_sphere(poles):
    latitude, longitude = everywhere(2000)
    errors = []
    for n in (16, 32, 64, 128):
        axes = globe(n, poles=poles)
        field = smooth(*np.meshgrid(axes["lat"].values, axes["lon"].values, indexing="ij"))
        values = read(field, axes, {"lat": latitude, "lon": longitude})
        errors.append(np.max(np.abs(values - smooth(latitude, longitude))))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(orders > 1.8), orders


def test_conventions_of_longitude():
    latitude, longitude = everywhere(100)
    turns = [longitude, np.mod(longitude, 360.0), longitude + 720.0]
    for start in (0.0, -180.0):
        axes = globe(16, start)
        field = smooth(*np.meshgrid(axes["lat"].values, axes["lon"].values, indexing="ij"))
        values = [read(field, axes, {"lat": latitude, "lon": turn}) for turn in turns]
        np.testing.assert_allclose(values[0], values[1], atol=1e-12)
        np.testing.assert_allclose(values[0], values[2], atol=1e-12)
        shifted = globe(16, start + 180.0)
        across = read(np.roll(field, 16, axis=1), shifted, {"lat": latitude, "lon": longitude})
        np.testing.assert_allclose(across, values[0], atol=1e-12)


def test_longitudes_of_a_bounded_axis_are_angles():
    axes = {"lon": Coordinate(np.arange(-10.0, 11.0, 5.0), "degrees_east")}
    places = np.array([-7.0, 353.0, 713.0, 8.0, 368.0, -352.0])
    values = read(np.asarray(axes["lon"].values), axes, {"lon": places})
    np.testing.assert_array_equal(values, [-7, -7, -7, 8, 8, 8])


@pytest.mark.parametrize(
    ("values", "period", "words"),
    [
        (np.arange(-10.0, 11.0, 5.0), 360.0, "from its last point, 10, to its first, -10"),
        (np.arange(0.0, 350.0, 10.0), 360.0, "there are 20 and at most 10"),
        (np.arange(0.0, 351.0, 10.0), 355.0, "360 degrees, or a whole part of it, not after 355"),
        (np.array([0.0, 1.0, 3.0]), 8.0, "goes round once"),
    ],
)
def test_a_period_goes_round_once(values, period, words):
    with pytest.raises(ValueError, match=words):
        Coordinate(values, "degrees_east" if period > 300 else "km", period=period)


def test_a_pole_is_the_mean_of_both_sides():
    axes = globe(4)
    field = RNG.normal(size=(4, 8))
    value = read(field, axes, {"lat": np.array([90.0]), "lon": np.array([45.0])})
    np.testing.assert_allclose(value, [(field[3, 1] + field[3, 5]) / 2], rtol=1e-14)


def test_reach():
    axes = globe(4)
    assert reach(axes, "lon") is None
    assert tuple(map(float, reach(axes, "lat"))) == (-90.0, 90.0)
    band = {**axes, "lat": Coordinate(np.array([30.0, 40.0, 50.0]), "degrees_north")}
    assert tuple(map(float, reach(band, "lat"))) == (30.0, 50.0)
    alone = {"lat": axes["lat"]}
    assert tuple(map(float, reach(alone, "lat"))) == (-67.5, 67.5)


# ---- curvilinear grids ---------------------------------------------------------------------------


def on_indices(grid, field, places):
    """Values at places, through their positions on the axes of indices."""
    ny, nx = field.shape
    period = float(nx) if grid.wraps else None
    axes = {"y": Coordinate(np.arange(ny)), "x": Coordinate(np.arange(nx), period=period)}
    row, column = grid.locate(*places)
    return read(field, axes, {"y": row, "x": column}), np.isfinite(row)


def bent(ny=12, nx=17):
    """A sheared and bent grid in the plane."""
    y, x = np.meshgrid(np.linspace(0, 1, ny), np.linspace(0, 1, nx), indexing="ij")
    return y + 0.2 * x + 0.05 * np.sin(3 * x), x - 0.3 * y + 0.1 * y**2


def test_linear_functions_on_a_curvilinear_plane_are_exact():
    grid = operator.Curvilinear(*bent(), units=("m", "m"))
    inner = RNG.uniform(0.1, 0.9, (2, 500))
    places = (inner[0] + 0.2 * inner[1], inner[1] - 0.3 * inner[0])
    values, inside = on_indices(grid, 2 + 3 * grid.first - grid.second, places)
    assert inside.mean() > 0.95
    expected = 2 + 3 * places[0] - places[1]
    np.testing.assert_allclose(values[inside], expected[inside], atol=1e-12)


def test_grid_points_are_found_and_places_outside_are_not():
    grid = operator.Curvilinear(*bent(), units=("m", "m"))
    row, column = grid.locate(grid.first.ravel(), grid.second.ravel())
    rows, columns = np.meshgrid(np.arange(12), np.arange(17), indexing="ij")
    np.testing.assert_allclose(row, rows.ravel(), atol=1e-8)
    np.testing.assert_allclose(column, columns.ravel(), atol=1e-8)
    assert np.isnan(grid.locate(np.array([2.0, np.nan]), np.array([0.5, 0.5]))[0]).all()


def test_a_hole_in_the_grid_is_outside():
    first, second = bent()
    first[5, 5] = np.nan
    grid = operator.Curvilinear(first, second, units=("m", "m"))
    whole = operator.Curvilinear(*bent(), units=("m", "m"))
    places = (np.array([whole.first[5, 5], whole.first[8, 8]]),)
    places += (np.array([whole.second[5, 5], whole.second[8, 8]]),)
    np.testing.assert_array_equal(np.isfinite(grid.locate(*places)[0]), [False, True])


def rotated(n, around=40.0):
    """A global grid whose poles are moved: 180° and both poles lie inside cells."""
    axes = globe(n, poles=True)
    phi, lam = np.deg2rad(np.meshgrid(axes["lat"].values, axes["lon"].values, indexing="ij"))
    x, y, z = np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)
    c, s = np.cos(np.deg2rad(around)), np.sin(np.deg2rad(around))
    x, z = c * x + s * z, c * z - s * x
    latitude, longitude = np.rad2deg(np.arcsin(np.clip(z, -1, 1))), np.rad2deg(np.arctan2(y, x))
    return operator.Curvilinear(latitude, np.mod(longitude, 360.0), wraps=True)


def test_second_order_on_a_curvilinear_globe():
    places = everywhere(2000)
    errors = []
    for n in (16, 32, 64, 128):
        grid = rotated(n)
        values, inside = on_indices(grid, smooth(grid.first, grid.second), places)
        assert inside.all()
        errors.append(np.max(np.abs(values - smooth(*places))))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(orders > 1.8), orders


def test_rows_that_are_a_single_point():
    """Latitudes and longitudes as a curvilinear grid: the cells at the poles are triangles."""
    first, second = np.meshgrid(np.linspace(-90, 90, 37), np.arange(72) * 5.0, indexing="ij")
    grid = operator.Curvilinear(first, second, wraps=True)
    latitude = np.array([90.0, -90.0, 89.999, 87.5, -89.9, 0.0, 0.0])
    longitude = np.array([0.0, 13.0, 100.0, 2.5, -170.0, -180.0, 359.999])
    row, column = grid.locate(latitude, longitude)
    np.testing.assert_allclose(row, (latitude + 90) / 5, atol=0.01)
    expected = np.mod(longitude, 360.0) / 5
    np.testing.assert_allclose(column[2:], expected[2:], atol=0.01)  # at a pole any will do


def test_cells_are_searched_as_far_as_the_widest_reaches():
    """Long thin cells beside small ones: the nearest centres are not those of the cell."""
    columns = np.concatenate([np.linspace(0, 0.2, 60), [30.0, 60.0]])
    longitude, latitude = np.meshgrid(columns, np.array([0.0, 0.2, 0.4]))
    grid = operator.Curvilinear(latitude, longitude)
    row, column = grid.locate(np.array([0.1]), np.array([1.0]))
    np.testing.assert_allclose(column, [59 + 0.8 / 29.8], atol=0.01)
    np.testing.assert_allclose(row, [0.5], atol=0.05)


@pytest.mark.parametrize("shape", [(3,), (1, 4)])
def test_shapes_that_are_no_grid(shape):
    with pytest.raises(ValueError, match="same two dimensions"):
        operator.Curvilinear(np.zeros(shape), np.zeros(shape))
