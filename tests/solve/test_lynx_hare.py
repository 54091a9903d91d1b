"""The engine's analysis of lynx and hare against the same density written anew with SciPy.

J = ½ χᵀχ + ½ dᵀd + Σ log σ with eight entries of χ: two initial populations, four rates, two error
scales. Nothing but the data and the order of χ's entries is shared with the engine.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special

from assim import (
    Adaptive,
    ErrorScale,
    Observations,
    Points,
    Status,
    Window,
    likelihood,
    strong_constraint,
)
from assim.models import LotkaVolterra
from assim.problem.operator import PointSample
from assim.problem.prior import LogNormal, TruncatedNormal
from assim.solve.minimise.gauss_newton import NewtonCG
from assim.solve.minimise.loop import minimise
from assim.solve.posterior.laplace import Laplace, laplace

SOURCE = Path(__file__).parents[2] / "cases/lynx_hare/source"
(CSV,) = SOURCE.glob("*.csv")
YEAR, LYNX, HARE = np.loadtxt(CSV, delimiter=",", comments="#", skiprows=3, unpack=True)
# The published posterior means, from which the search for the global minimum starts.
NEAR = {
    "hare": 34.0352,
    "lynx": 5.9359,
    "alpha": 0.546864,
    "beta": 0.0277473,
    "gamma": 0.800095,
    "delta": 0.0240859,
    "sigma_hare": 0.248057,
    "sigma_lynx": 0.251017,
}


# ---- the density, by SciPy -----------------------------------------------------------------------


def truncated(w, mean, stdev):
    """Normal above 0: θ = mean - stdev Φ⁻¹(Φ(mean/stdev) Φ(-w))."""
    return mean - stdev * scipy.special.ndtri(
        scipy.special.ndtr(mean / stdev) * scipy.special.ndtr(-w)
    )


def physical(w):
    """By name, from χ by name."""
    rates = {name: truncated(w[name], 1.0, 0.5) for name in ("alpha", "gamma")}
    losses = {name: truncated(w[name], 0.05, 0.05) for name in ("beta", "delta")}
    populations = {name: 10 * np.exp(w[name]) for name in ("hare", "lynx")}
    scales = {name: np.exp(w[name] - 1) for name in ("sigma_hare", "sigma_lynx")}
    return {**rates, **losses, **populations, **scales}


def cost(chi, names):
    z = physical(dict(zip(names, chi, strict=True)))
    alpha, beta, gamma, delta = (z[name] for name in ("alpha", "beta", "gamma", "delta"))

    def tendency(t, x):
        hare, lynx = x
        return [(alpha - beta * lynx) * hare, (-gamma + delta * hare) * lynx]

    years = YEAR - YEAR[0]
    hare, lynx = scipy.integrate.solve_ivp(
        tendency,
        (0, years[-1]),
        [z["hare"], z["lynx"]],
        "DOP853",
        years,
        rtol=1e-11,
        atol=1e-11,
    ).y
    d = np.log(HARE / hare) / z["sigma_hare"], np.log(LYNX / lynx) / z["sigma_lynx"]
    logs = YEAR.size * np.log(z["sigma_hare"] * z["sigma_lynx"])
    return (chi @ chi + d[0] @ d[0] + d[1] @ d[1]) / 2 + logs


def derivatives(chi, names, step=1e-3):
    """Gradient of fourth order and Hessian of second order, by central differences."""
    n, e = chi.size, step * np.eye(chi.size)
    j = lambda *moves: cost(chi + sum(moves), names)  # noqa: E731
    one = np.array([[j(k * e[i]) for k in (-2, -1, 1, 2)] for i in range(n)])
    gradient = one @ np.array([1, -8, 8, -1]) / (12 * step)
    here = j(0 * chi)
    hessian = np.diag((one @ np.array([-1, 16, 16, -1]) - 30 * here) / (12 * step**2))
    for a in range(n):
        for b in range(a):
            corners = j(e[a], e[b]) - j(e[a], -e[b]) - j(-e[a], e[b]) + j(-e[a], -e[b])
            hessian[a, b] = hessian[b, a] = corners / (4 * step**2)
    return here, gradient, hessian


# ---- the engine's --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def problem():
    model = LotkaVolterra(Adaptive(rtol=1e-10, atol=1e-10))
    years = YEAR - YEAR[0]
    observations = [
        Observations(
            name,
            values,
            Points.at(years),
            PointSample(name),
            likelihood=likelihood.LogNormal(),
            scale=ErrorScale(f"sigma_{name}", LogNormal(np.exp(-1), 1.0)),
        )
        for name, values in (("hare", HARE), ("lynx", LYNX))
    ]
    rate, loss = TruncatedNormal(1.0, 0.5, 0.0), TruncatedNormal(0.05, 0.05, 0.0)
    return strong_constraint(
        model,
        Window.at(model, years),
        {name: LogNormal(10.0, 1.0) for name in ("hare", "lynx")},
        observations=observations,
        parameters={"alpha": rate, "beta": loss, "gamma": rate, "delta": loss},
    )


@pytest.fixture(scope="module")
def names(problem):
    return problem.control.names()


@pytest.fixture(scope="module")
def solution(problem, names):
    """From the prior median and from the published means: one to each minimum."""
    control = problem.control
    priors = {**control.fields, **control.parameters, **control.scales}
    near = jnp.stack([priors[name].inverse(jnp.asarray(NEAR[name])) for name in names])
    return minimise(problem, NewtonCG(tolerance=1e-7), jnp.stack([jnp.zeros(8), near]))


@pytest.fixture(scope="module")
def posterior(problem, solution):
    hessian = solution.state.hessian  # of the last Newton step, as `analyse` passes it on
    return laplace(problem, solution.chi, Laplace(), jax.random.key(0), hessian)


@pytest.fixture(scope="module")
def independent(solution, names):
    return derivatives(np.asarray(solution.chi), names)


def test_same_transform(problem, names):
    """Physical values of some χ, tails included."""
    chi = np.array([0.3, -1.2, 2.5, -3.0, 0.0, 4.0, -0.7, 1.1])
    control = problem.control(jnp.asarray(chi))
    given = {**control.state, **control.parameters, **control.scales}
    expected = physical(dict(zip(names, chi, strict=True)))
    for name in names:
        np.testing.assert_allclose(given[name], expected[name], rtol=1e-10)


def test_two_minima(problem, solution, names):
    """Their costs, and J itself at both."""
    assert solution.status is Status.CONVERGED
    assert [minimum.starts for minimum in solution.minima] == [1, 1]
    np.testing.assert_allclose([m.cost for m in solution.minima], [-40.1511, 1.5186], atol=1e-4)
    for minimum in solution.minima:
        there = cost(np.asarray(minimum.chi), names)
        assert abs(there - minimum.cost) < 1e-6


def test_second_minimum_is_one(solution, names):
    """A Newton step by finite differences does not move it."""
    _, gradient, hessian = derivatives(np.asarray(solution.minima[1].chi), names)
    assert np.max(np.abs(np.linalg.solve(hessian, gradient))) < 1e-5
    assert np.min(np.linalg.eigvalsh(hessian)) > 0


def test_global_minimum(solution, independent):
    """SciPy's own Newton step from there is the distance to SciPy's own minimum."""
    j, gradient, hessian = independent
    assert abs(j - solution.cost) < 1e-7
    assert np.max(np.abs(np.linalg.solve(hessian, gradient))) < 1e-6


def test_standard_deviations(posterior, independent):
    stdev = np.sqrt(np.diag(np.linalg.inv(independent[2])))
    np.testing.assert_allclose(posterior.gaussian.stdev(), stdev, rtol=1e-3)


def test_whole_covariance(posterior, independent):
    covariance = jax.vmap(posterior.gaussian.covariance)(jnp.eye(8))
    exact = np.linalg.inv(independent[2])
    scale = np.sqrt(np.diag(exact))
    np.testing.assert_allclose(
        covariance / np.outer(scale, scale), exact / np.outer(scale, scale), atol=1e-3
    )


def test_evidence_but_for_constants(posterior, independent):
    j, _, hessian = independent
    expected = -j - np.linalg.slogdet(hessian)[1] / 2
    assert abs(posterior.log_evidence - expected) < 1e-3
