"""Integrators against SciPy's, at irregular edges, and where they give up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from assim import Adaptive, FixedStep, Observations, Points, Window, strong_constraint
from assim.problem.covariance import Diagonal
from assim.problem.operator import PointSample
from assim.problem.window import integrate
from assim.solve.cost import cost
from tests.problem.toy import Tendency

IRREGULAR = np.array([0.3, 0.31, 1.0, 1.7, 1.7001, 4.0, 9.5])


def forced_pendulum(x, theta, t):
    """Depends on time; written for JAX and NumPy arrays alike."""
    return jnp.stack([x[1], -theta["rate"] * x[1] - jnp.sin(x[0]) + jnp.cos(1.3 * t)])


def van_der_pol(x, theta, t):
    del t
    return jnp.stack([x[1], theta["mu"] * (1 - x[0] ** 2) * x[1] - x[0]])


def robertson(x, theta, t):
    """Three reactions whose rates span nine decades (Hairer & Wanner 1996, IV.1)."""
    del theta, t
    a, b, c = x
    slow, fast, rapid = 0.04 * a, 1e4 * b * c, 3e7 * b**2
    return jnp.stack([-slow + fast, slow - fast - rapid, rapid])


def ours(model, x, edges):
    state = {f"x{i}": jnp.asarray(value) for i, value in enumerate(x)}
    run = jax.jit(lambda x: integrate(model, x, model.parameters, Window.at(model, edges)).states)
    return np.stack([run(state)[f"x{i}"] for i in range(len(x))])


def theirs(function, theta, x, edges, method):
    step = jax.jit(lambda t, x: function(x, theta, t))
    slope = jax.jit(jax.jacfwd(step, 1))
    implicit = {} if method == "DOP853" else {"jac": lambda t, x: np.asarray(slope(t, x))}
    return scipy.integrate.solve_ivp(
        lambda t, x: np.asarray(step(t, x)),
        (edges[0], edges[-1]),
        x,
        method,
        edges,
        rtol=1e-11 if method == "DOP853" else 1e-9,
        atol=1e-13,
        **implicit,
    ).y


@pytest.mark.parametrize(
    "integrator",
    [
        Adaptive(rtol=1e-10, atol=1e-10),
        Adaptive("Dopri8", 1e-10, 1e-10),
        Adaptive("Tsit5", 1e-10, 1e-10, max_columns=0),
        FixedStep(0.02, "Dopri8"),
    ],
    ids=["tsit5", "dopri8", "tsit5-backpropagation", "fixed"],
)
def test_irregular_edges(integrator):
    x, theta = np.array([0.4, -1.1]), {"rate": jnp.asarray(0.2)}
    model = Tendency(forced_pendulum, 2, theta, integrator)
    expected = theirs(forced_pendulum, theta, x, IRREGULAR, "DOP853")
    np.testing.assert_allclose(ours(model, x, IRREGULAR), expected, atol=1e-7)


def test_default_tolerance():
    """What a user gets who says nothing."""
    x, theta = np.array([0.4, -1.1]), {"rate": jnp.asarray(0.2)}
    expected = theirs(forced_pendulum, theta, x, IRREGULAR, "DOP853")
    model = Tendency(forced_pendulum, 2, theta)
    np.testing.assert_allclose(ours(model, x, IRREGULAR), expected, atol=2e-6)


@pytest.mark.parametrize(
    ("function", "theta", "x", "edges"),
    [
        (van_der_pol, {"mu": 100.0}, [2.0, 0.0], [0.0, 10.0, 60.0, 80.0, 81.5, 120.0]),
        (robertson, {}, [1.0, 0.0, 0.0], [0.0, 0.4, 4.0, 40.0, 400.0]),
    ],
    ids=["van-der-pol", "robertson"],
)
def test_stiff(function, theta, x, edges):
    theta = {name: jnp.asarray(value) for name, value in theta.items()}
    model = Tendency(function, len(x), theta, Adaptive("Kvaerno5", 1e-9, 1e-11, max_steps=20_000))
    expected = theirs(function, theta, np.array(x), np.array(edges), "Radau")
    scale = np.max(np.abs(expected), axis=1, keepdims=True)
    got = ours(model, x, edges)
    assert np.max(np.abs(got - expected) / scale) < 2e-5


def test_sensitivity_by_the_variational_equation():
    """∂x(t)/∂x(0) and ∂x(t)/∂θ of dx/dt = -θx are exp(-θt) and -t x(0) exp(-θt)."""
    function = lambda x, theta, t: -theta["rate"] * x  # noqa: E731
    model = Tendency(function, 1, integrator=Adaptive(rtol=1e-11, atol=1e-11))
    window = Window.at(model, [0.0, 0.7, 2.0])

    def end(x, rate):
        return integrate(model, {"x0": x}, {"rate": rate}, window).at_end()["x0"]

    x, rate = jnp.asarray(3.0), jnp.asarray(0.5)
    forward = jax.jit(jax.jacfwd(end, (0, 1)))(x, rate)
    backward = jax.jit(jax.jacrev(end, (0, 1)))(x, rate)
    for got in (forward, backward):
        np.testing.assert_allclose(got, [np.exp(-1.0), -6 * np.exp(-1.0)], rtol=1e-8)


@pytest.mark.parametrize("columns", [64, 0])
def test_blow_up_is_an_infinite_cost(columns):
    """dx/dt = x² ends at t = 1/x(0): NaN from there on, J = +∞, and no exception."""
    integrator = Adaptive(max_steps=300, max_columns=columns)
    model = Tendency(lambda x, theta, t: x**2 + 0 * theta["rate"], 1, integrator=integrator)
    edges = [0.0, 0.25, 0.5, 2.0]
    values = ours(model, [1.0], edges)[0]
    np.testing.assert_allclose(values[:3], [1.0, 4 / 3, 2.0], rtol=1e-6)
    assert np.isnan(values[3])
    observations = Observations("x0", [1.0], Points.at([2.0]), PointSample("x0"))
    window = Window.at(model, edges)
    problem = strong_constraint(model, window, {"x0": 1.0}, Diagonal(1.0), observations)
    both = jax.jit(lambda chi: cost(problem, chi))
    assert both(jnp.zeros(1)) == np.inf
    assert np.isfinite(both(-0.8 * jnp.ones(1)))  # 1/0.2 lies beyond the window
