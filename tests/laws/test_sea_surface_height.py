"""What the case of sea-surface height brings along: orbits, scores, optimal interpolation."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.problem.arrays import Grid
from assim.solve.minimise.gauss_newton import GaussNewton

CASE = Path(__file__).parents[2] / "cases" / "sea_surface_height"
MADE = runpy.run_path(str(CASE / "make_data.py"))
SCORES = runpy.run_path(str(CASE / "scores.py"))
ANOMALY = runpy.run_path(str(CASE / "anomaly.py"))["Anomaly"]
DX, DT = 2.0, 0.5


# ---- orbits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE["ORBITS"])
def test_an_orbit_repeats_and_reaches_its_latitude(name):
    orbit, times = MADE["ORBITS"][name], np.linspace(0.0, 3.0, 5000)
    first, second = (MADE["ground_track"](orbit, times + later) for later in (0.0, orbit.days))
    np.testing.assert_allclose(second[0], first[0], atol=1e-7)
    apart = (second[1] - first[1] + 180) % 360 - 180
    np.testing.assert_allclose(apart, 0, atol=1e-7)
    highest = min(orbit.inclination, 180 - orbit.inclination)
    assert highest - 0.05 < first[0].max() <= highest


def test_tracks_of_a_cycle_are_evenly_spaced():
    """Ascending nodes of Jason lie 360/127 degrees apart: 315 km at the equator."""
    orbit = MADE["ORBITS"]["jason"]
    nodes = (np.arange(1, 128) - orbit.phase) * orbit.days / orbit.revolutions
    latitude, longitude = MADE["ground_track"](orbit, nodes)
    np.testing.assert_allclose(latitude, 0, atol=1e-9)
    np.testing.assert_allclose(np.diff(np.sort(longitude)), 360 / 127, rtol=1e-9)


def test_a_satellite_passes_over_the_square_at_six_kilometres_a_second():
    times, x, y = MADE["crossings"](MADE["ORBITS"]["saral"], 4.0)
    assert np.all((x >= 0) & (x < MADE["SIDE"]) & (y >= 0) & (y < MADE["SIDE"]))
    near = np.diff(times) * 86400 < 1.5 * MADE["BETWEEN"]
    speed = np.hypot(np.diff(x), np.diff(y))[near] / MADE["BETWEEN"]
    np.testing.assert_allclose(speed, 6700, rtol=0.05)


# ---- scores --------------------------------------------------------------------------------------


def white(times=40, ny=6, nx=30, seed=0):
    return np.random.default_rng(seed).standard_normal((times, ny, nx))


def without(field, axis, above):
    """Waves of this number and more left out."""
    modes = np.fft.rfft(field, axis=axis)
    kept = np.arange(modes.shape[axis]) < above
    shape = [-1 if dim == axis else 1 for dim in range(field.ndim)]
    return np.fft.irfft(modes * kept.reshape(shape), field.shape[axis], axis=axis)


def test_mean_score_is_one_without_error_and_none_for_zeros():
    truth = white()
    assert SCORES["mean_score"](0 * truth, truth) == 1
    assert SCORES["mean_score"](-truth, truth) == 0
    assert SCORES["mean_score"](0.2 * truth, truth) == pytest.approx(0.8)


def test_what_is_resolved_in_space():
    """All of waves 1 to 5 along x is known, nothing of the others: half of it at 5 ½."""
    truth = white()
    error = truth - without(truth, 2, 6)
    assert SCORES["resolved"](error, truth, DX, DT)[0] == pytest.approx(30 * DX / 5.5)


def test_what_is_resolved_in_time():
    """Slow waves are known: the error has those of number 8 and more, as far as Hann's window."""
    truth = white(times=200)
    error = truth - without(truth, 0, 20)
    assert SCORES["resolved"](error, truth, DX, DT)[1] == pytest.approx(200 * DT / 19.5, rel=0.05)


def test_nothing_is_resolved_where_all_is_error():
    truth = white()
    assert SCORES["resolved"](-truth, truth, DX, DT) == (np.inf, np.inf)


def test_power_sees_both_directions_and_no_trend():
    t, x = np.meshgrid(np.arange(40), np.arange(30), indexing="ij")
    east, west = (np.cos(2 * np.pi * (3 * x / 30 + sign * 5 * t / 40)) for sign in (-1, 1))
    several = [SCORES["power"](field[:, None] + 7.0 * t[:, None]) for field in (east, west)]
    np.testing.assert_allclose(several[0], several[1], rtol=1e-9, atol=1e-9)
    assert np.unravel_index(np.argmax(several[0]), several[0].shape) == (4, 2)


# ---- optimal interpolation -----------------------------------------------------------------------


def test_a_model_that_forgets_makes_optimal_interpolation():
    """η = C Hᵀ (H C Hᵀ + R)⁻¹ y with C = Q_t ⊗ Q, all matrices formed."""
    rng = np.random.default_rng(1)
    model, days = ANOMALY(6, 6, 1.0, 1.0), 3
    window = assim.Window.regular(model, days, 1)
    in_time = np.exp(-((np.subtract.outer(range(days), range(days)) / 2.0) ** 2) / 2)
    places = rng.uniform(0, 6, (2, 12))
    points = assim.Points.at(rng.uniform(1, days, 12), {"y": places[0], "x": places[1]})
    values = rng.standard_normal(12)
    read = assim.operator.PointSample("ssh")
    observed = assim.Observations("ssh", values, points, read, stdev=0.3)
    space = assim.covariance.Spectral(0.5, 1.5)
    error = assim.ModelError(space, assim.covariance.Dense(in_time))
    problem = assim.weak_constraint(
        model, window, {"ssh": jnp.zeros((6, 6))}, None, observed, model_error=error
    )
    analysis = assim.analyse(problem, GaussNewton(), posterior=None)
    mapped = np.asarray(analysis.analysis.trajectory.states["ssh"])[1:]
    fitted = space.on((6, 6), model.labels().axes("ssh"))
    root = np.asarray(jax.jit(jax.vmap(fitted.sqrt, out_axes=2))(jnp.eye(36))).reshape(36, 36)
    prior = np.kron(in_time, root @ root.T)
    grid = Grid.of(model.labels())

    def reading(field):
        """H of a field over the days."""
        states = {"ssh": jnp.concatenate([jnp.zeros((1, 6, 6)), field.reshape(-1, 6, 6)])}
        return read(assim.Trajectory(window.edges, states, {}, grid), points)

    reads = np.asarray(jax.jit(jax.vmap(reading, out_axes=1))(jnp.eye(days * 36)))
    gain = prior @ reads.T @ np.linalg.inv(reads @ prior @ reads.T + 0.09 * np.eye(12))
    np.testing.assert_allclose(mapped.ravel(), gain @ values, atol=1e-6)
