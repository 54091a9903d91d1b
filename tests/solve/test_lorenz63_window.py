"""A window of Lorenz-63 with dt = 0.01 observed each 0.25, against NumPy and SciPy alone.

The other implementation shares no line with the engine: RK4 and its tangent linear in NumPy, the
gradient from the propagator, the minimum by SciPy.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from assim import Observations, Points, Status, Window, strong_constraint
from assim.findings.derivatives import gradient_test
from assim.models import Lorenz63
from assim.problem.covariance import Diagonal
from assim.problem.operator import PointSample
from assim.solve.cost import cost, gradient
from assim.solve.minimise.gauss_newton import GaussNewton, NewtonCG
from assim.solve.minimise.loop import minimise

DT, EACH, NUMBER = 0.01, 25, 4  # four observations of all fields, 25 steps apart
BACKGROUND = np.array([1.509, -1.531, 25.46])
B_STDEV, R_STDEV = np.array([0.3, 0.4, 0.2]), 0.5


def tendency(u):
    x, y, z = u
    return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])


def jacobian(u):
    x, y, z = u
    return np.array([[-10.0, 10, 0], [28 - z, -1, -x], [y, x, -8 / 3]])


def step(u, m):
    """RK4 of the state, and of the propagator M by the tangent linear of the same step."""
    h = DT
    k1, l1 = tendency(u), jacobian(u) @ m
    k2, l2 = tendency(u + h / 2 * k1), jacobian(u + h / 2 * k1) @ (m + h / 2 * l1)
    k3, l3 = tendency(u + h / 2 * k2), jacobian(u + h / 2 * k2) @ (m + h / 2 * l2)
    k4, l4 = tendency(u + h * k3), jacobian(u + h * k3) @ (m + h * l3)
    return u + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), m + h / 6 * (l1 + 2 * l2 + 2 * l3 + l4)


def observed(u):
    """The state and the propagator at every observation."""
    states, propagators, m = [], [], np.eye(3)
    for _ in range(NUMBER):
        for _ in range(EACH):
            u, m = step(u, m)
        states.append(u)
        propagators.append(m)
    return np.array(states), np.array(propagators)


RNG = np.random.default_rng(63)
TRUTH = BACKGROUND + B_STDEV * RNG.normal(size=3)
START = (TRUTH - BACKGROUND) / B_STDEV  # within reach of the lowest of several minima
VALUES = observed(TRUTH)[0] + R_STDEV * RNG.normal(size=(NUMBER, 3))


def cost_and_gradient(chi):
    """J and ∇J = χ + B^(1/2) Σ MᵀR⁻¹(M(x) - y)."""
    states, propagators = observed(BACKGROUND + B_STDEV * chi)
    away = (states - VALUES) / R_STDEV**2
    j = chi @ chi / 2 + np.sum((states - VALUES) ** 2) / (2 * R_STDEV**2)
    return j, chi + B_STDEV * np.einsum("kij,ki->j", propagators, away)


@pytest.fixture(scope="module")
def problem():
    model = Lorenz63(dt=DT)
    window = Window.regular(model, NUMBER, EACH)
    points = Points.at(np.asarray(window.edges)[1:])
    instruments = [
        Observations(name, VALUES[:, i], points, PointSample(name), R_STDEV)
        for i, name in enumerate("xyz")
    ]
    background = {name: BACKGROUND[i] for i, name in enumerate("xyz")}
    covariance = {name: Diagonal(B_STDEV[i]) for i, name in enumerate("xyz")}
    return strong_constraint(model, window, background, covariance, instruments)


@pytest.fixture(scope="module")
def expected():
    """The minimum by BFGS, then Newton's method with differences of the gradient to rounding."""
    found = scipy.optimize.minimize(
        cost_and_gradient, START, jac=True, method="BFGS", options={"gtol": 1e-9}
    )
    root = scipy.optimize.root(lambda chi: cost_and_gradient(chi)[1], found.x, tol=1e-13)
    assert np.max(np.abs(root.x - found.x)) < 1e-6
    return root.x, cost_and_gradient(root.x)[0]


@pytest.mark.parametrize("seed", range(3))
def test_gradient_of_distant_observations(problem, seed):
    """Slope 2 over four decades, away from the minimum, through 100 steps."""
    chi = jnp.asarray(np.random.default_rng(seed).normal(size=3))
    outcome = gradient_test(lambda chi: cost(problem, chi), chi, seed=seed)
    assert outcome.passed, outcome


@pytest.mark.parametrize("seed", range(3))
def test_cost_and_gradient_are_those_of_numpy(problem, seed):
    chi = np.random.default_rng(seed).normal(size=3)
    j, g = cost_and_gradient(chi)
    assert abs(float(cost(problem, jnp.asarray(chi))) - j) < 1e-10 * j
    np.testing.assert_allclose(
        eqx.filter_jit(gradient)(problem, jnp.asarray(chi)), g, atol=1e-10 * np.linalg.norm(g)
    )


@pytest.mark.parametrize(
    "minimiser",
    [
        GaussNewton(tolerance=1e-9),
        pytest.param(NewtonCG(tolerance=1e-9), marks=pytest.mark.slow),
        GaussNewton(tolerance=1e-9, globalisation="trust_region"),
        NewtonCG(tolerance=1e-9, globalisation="trust_region", precondition=3),
    ],
    ids=["gauss-newton", "newton-cg", "trust-region", "preconditioned"],
)
def test_minimum_is_that_of_scipy(problem, expected, minimiser):
    """To 1e-8 in J and, by Newton's method, in χ.

    Gauss-Newton converges linearly here, and ends where J, of 1e-13, can tell no more: in a
    direction of curvature one that is 4e-7 in χ.
    """
    chi, j = expected
    solution = minimise(problem, minimiser, jnp.asarray(START))
    assert solution.status is Status.CONVERGED
    assert abs(solution.cost - j) < 1e-8
    close = 1e-8 if isinstance(minimiser, NewtonCG) else 1e-7
    np.testing.assert_allclose(solution.chi, chi, rtol=0, atol=close)
