"""Error scales that are estimated in a cycle, against their exact posterior, z integrated out."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import assim
from assim.analysis.cycle import variational
from assim.analysis.cycle.cycle import Cycle
from assim.analysis.cycle.plan import Plan
from assim.analysis.cycle.variational import FourDVar
from assim.problem.cycled import (
    Background,
    CycledProblem,
    Rows,
    first_mean,
    in_carried_coordinates,
)
from tests.cycle.toy import BACKGROUND, STEP, B, Linear, N, matrix

STDEV, LOG_STDEV = 0.3, 0.5  # of readings where s = 1; of the prior of log s
TRUTH, WINDOWS = 1.0, 100
ERRORS = [0.0, pytest.param(0.3, marks=pytest.mark.slow)]  # standard deviation of model error


def drawn(windows, error, seed=0):
    """All places, read at the end of every window."""
    generator = np.random.default_rng(seed)
    x, values = BACKGROUND + np.sqrt(np.diag(B)) * generator.standard_normal(N), []
    for _ in range(windows):
        x = matrix() @ x + error * generator.standard_normal(N)
        values.append(x + TRUTH * STDEV * generator.standard_normal(N))
    return np.array(values)


def log_posterior(log_scale, values, error):
    """Of log s, but for a constant: its prior and the likelihood of all innovations."""
    r = (np.exp(log_scale) * STDEV) ** 2
    x, p, total = BACKGROUND, B, -(log_scale**2) / (2 * LOG_STDEV**2)
    for y in values:
        x, p = matrix() @ x, matrix() @ p @ matrix().T + error**2 * np.eye(N)
        s = p + r * np.eye(N)
        total -= ((y - x) @ np.linalg.solve(s, y - x) + np.linalg.slogdet(s)[1]) / 2
        gain = p @ np.linalg.inv(s)
        x, p = x + gain @ (y - x), p - gain @ p
    return total


def readings(values, time):
    points = assim.Points.at(jnp.full(N, time), {"place": jnp.arange(float(N))})
    scale = assim.ErrorScale("s", assim.prior.LogNormal(1.0, LOG_STDEV))
    return assim.Observations(
        "x", values, points, assim.operator.PointSample("x"), STDEV, scale=scale
    )


def posed(values, error):
    """A cycle of windows of one slot, with all their observations and slot edges."""
    model = Linear()
    first = assim.Window.regular(model, 1)
    several = [readings(y, STEP * (k + 1)) for k, y in enumerate(values)]
    given = (model, first, {"x": BACKGROUND}, assim.covariance.Dense(B), several[0])
    if error:
        jumps = assim.ModelError(assim.covariance.Diagonal(error))
        problem = assim.weak_constraint(*given, model_error=jumps)
    else:
        problem = assim.strong_constraint(*given)
    scheme = FourDVar(minimiser=assim.minimiser.GaussNewton(n_outer=30, tolerance=1e-9))
    rows = jax.tree.map(lambda *columns: jnp.stack(columns), *map(Rows.of, several))
    edges = STEP * jnp.arange(len(values) + 1.0)
    return Cycle(problem, scheme, Plan(1, 1)), edges, (rows,)


@functools.cache
def scanned(error):
    """The observations of all windows, and log s of each with its standard deviation."""
    values = drawn(WINDOWS, error)
    cycle, edges, batches = posed(values, error)
    _, measures = cycle.scan(WINDOWS, edges, batches)
    assert set(np.asarray(measures.status)) == {int(assim.Status.CONVERGED)}
    s = np.asarray(measures.scalars["s"])
    return values, np.log(s), np.asarray(measures.scalars_stdev["s"]) / s


class Handed(NamedTuple):
    """The Gaussian of the state and of log s that a window hands on."""

    x: np.ndarray
    log_s: float
    of_x: np.ndarray  # covariances
    across: np.ndarray
    of_log_s: float


def handed_on(before, y, error):
    """The mode of log s with the state integrated out, and Laplace's Gaussian of both about it."""
    x, of_x = matrix() @ before.x, matrix() @ before.of_x @ matrix().T + error**2 * np.eye(N)
    across = matrix() @ before.across
    slope = across / before.of_log_s
    given_s = of_x - np.outer(across, slope)

    def analysed(log_s):
        s = given_s + (np.exp(log_s) * STDEV) ** 2 * np.eye(N)
        gain, d = given_s @ np.linalg.inv(s), y - x - slope * (log_s - before.log_s)
        minus = (log_s - before.log_s) ** 2 / before.of_log_s + d @ np.linalg.solve(s, d)
        return (minus + np.linalg.slogdet(s)[1]) / 2, y - d + gain @ d, given_s - gain @ given_s

    bracket = (before.log_s - 0.3, before.log_s + 0.3)
    mode = scipy.optimize.minimize_scalar(lambda s: analysed(s)[0], bracket, tol=1e-9).x
    h = 1e-3
    (low, x_low, _), (least, x, of_x), (high, x_high, _) = map(analysed, (mode - h, mode, mode + h))
    variance, moves = h**2 / (low - 2 * least + high), (x_high - x_low) / (2 * h)
    return Handed(x, mode, of_x + variance * np.outer(moves, moves), variance * moves, variance)


@pytest.mark.parametrize("error", ERRORS)
def test_every_window_has_the_mode_of_the_scales_own_posterior(error):
    """And its curvature: exactly, as the departures are linear in everything else."""
    values, log_s, stdev = scanned(error)
    expected = [Handed(BACKGROUND, 0.0, B, np.zeros(N), LOG_STDEV**2)]
    for y in values[:40]:
        expected.append(handed_on(expected[-1], y, error))
    np.testing.assert_allclose(log_s[:40], [one.log_s for one in expected[1:]], rtol=0, atol=1e-4)
    variances = [one.of_log_s for one in expected[1:]]
    np.testing.assert_allclose(stdev[:40] ** 2, variances, rtol=1e-3)


@pytest.mark.parametrize("error", ERRORS)
def test_a_scale_over_many_windows_is_right_within_its_standard_deviation(error):
    """It is wider than the exact one by less than 1/(1 - the share of the observations that z
    takes), as the covariance of z is handed on for one s. Without v it is 8 % too small in the
    first case, more than two standard deviations, and falls to 0 in the second."""
    values, log_s, stdev = scanned(error)
    scales = np.linspace(-0.5, 0.5, 51)
    several = np.array([log_posterior(log_scale, values, error) for log_scale in scales])
    p = np.exp(several - several.max())
    p /= p.sum()
    exact = np.sqrt(p @ (scales - p @ scales) ** 2)
    assert 1 < stdev[-1] / exact < (1.3 if error else 1.1)
    assert abs(log_s[-1] - p @ scales) < exact
    assert abs(log_s[-1] - np.log(TRUTH)) < 2 * stdev[-1]


def test_the_volume_is_over_what_moves_no_scale():
    """Where scale and state are correlated in z, as in any window after the first."""
    cycle, _, _ = posed(drawn(1, 0.0), 0.0)
    mean = first_mean(cycle.problem.control)
    x, s = np.split(np.random.default_rng(2).standard_normal((N + 1, N + 1)), [N], axis=1)
    vectors = {kind: {} for kind in mean} | {"background": {"x": x}, "scales": {"s": s[:, 0]}}
    one = jnp.ones(())
    background = Background(mean, jax.tree.map(jnp.asarray, vectors), one, one)
    window = CycledProblem(in_carried_coordinates(cycle.problem), background, None)
    chi = 0.3 * jnp.arange(N + 1.0)
    scale = np.exp(LOG_STDEV * float(chi @ s[:, 0]))
    across = np.linalg.svd(s.T)[2][1:]
    g = across @ x @ matrix().T / (scale * STDEV)
    expected = np.linalg.slogdet(np.eye(N) + g @ g.T)[1] / 2
    assert float(window(chi).volume) == pytest.approx(expected, rel=1e-10)
    hessian = jax.jit(lambda window, chi: jax.hessian(lambda chi: window(chi).volume)(chi))
    exact, short = hessian(window, chi), window.expanded(chi).parabola.matrix
    np.testing.assert_allclose(short, exact, rtol=1e-8, atol=1e-8)


def test_scales_of_many_controls_are_refused(monkeypatch):
    monkeypatch.setattr(variational, "WHOLE", 3)
    cycle, _, _ = posed(drawn(1, 0.0), 0.0)
    with pytest.raises(ValueError, match=r"scale \(s\).*5, of which at most 3.*fix every scale"):
        cycle.start()
