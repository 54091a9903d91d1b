"""Nested Laplace of logistic growth with noise, whose exact filter is a sum over a grid."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import (
    AbstractModel,
    ErrorScale,
    Label,
    Labels,
    ModelError,
    Observations,
    Params,
    Points,
    State,
    Window,
    weak_constraint,
)
from assim.problem.covariance import Diagonal
from assim.problem.operator import PointSample
from assim.problem.prior import LogNormal
from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.nested.nested import Nested
from tests.solve.posterior.test_nested import sampled

STEPS, ERROR = 20, 0.05
START, SPREAD = 0.15, 0.05
RATE, NOISE = LogNormal(0.3, 0.5), LogNormal(0.1, 0.5)


class Logistic(AbstractModel):
    """x(t+1) = x + r x (1 - x)."""

    dt: float = eqx.field(default=1.0, static=True)
    parameters: Params = eqx.field(default_factory=lambda: {"r": 0.3})

    def labels(self) -> Labels:
        return Labels({"x": Label((), "1")}, {"r": Label((), "1")}, time_unit="1")

    def step(self, x: State, theta: Params, t: jax.Array) -> State:
        return {"x": x["x"] + theta["r"] * x["x"] * (1 - x["x"])}


def values():
    """Every step, of a truth with r = 0.35 and noise of 0.08."""
    rng = np.random.default_rng(3)
    x, seen = START + SPREAD * rng.normal(), []
    for _ in range(STEPS):
        x = x + 0.35 * x * (1 - x) + 0.08 * rng.normal()
        seen.append(x + ERROR * rng.normal())
    return np.array(seen)


def logistic():
    model = Logistic()
    times = Points.at(np.arange(1.0, STEPS + 1))
    return weak_constraint(
        model,
        Window.regular(model, STEPS, 1),
        {"x": START},
        Diagonal(SPREAD),
        Observations("x", values(), times, PointSample("x"), ERROR),
        {"r": RATE},
        model_error=ModelError(Diagonal(1.0), scale=ErrorScale("noise", NOISE)),
    )


X = jnp.linspace(-1.0, 2.5, 351)


def filtered(psi):
    """log p(y | ψ) p(ψ) but for constants, and the density of the last state on X."""
    rate, noise = 0.3 * jnp.exp(psi[0] / 2), 0.1 * jnp.exp(psi[1] / 2)
    away = (X[:, None] - (X + rate * X * (1 - X))[None]) / noise
    kernel = jnp.exp(-(away**2) / 2) / noise

    def step(carry, value):
        density, total = carry
        density = kernel @ density * jnp.exp(-(((value - X) / ERROR) ** 2) / 2)
        return (density / density.sum(), total + jnp.log(density.sum())), None

    start = jnp.exp(-(((X - START) / SPREAD) ** 2) / 2)
    begin = start / start.sum(), -jnp.sum(psi**2) / 2
    density, total = jax.lax.scan(step, begin, jnp.asarray(values()))[0]
    return total, density


def exact():
    """Mean and deviation of r, the noise and the last state, by sums over both and over states."""
    axis = np.linspace(-4.0, 4.0, 41)
    psi = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    total, last = map(np.asarray, jax.jit(lambda v: jax.lax.map(filtered, v))(jnp.asarray(psi)))
    weights = np.exp(total - total.max())
    weights /= weights.sum()
    border = np.any(np.abs(psi) == 4.0, axis=1)
    assert weights[border].sum() < 1e-4
    scalars = np.stack([0.3 * np.exp(psi[:, 0] / 2), 0.1 * np.exp(psi[:, 1] / 2)])
    mean = np.append(scalars @ weights, weights @ last @ np.asarray(X))
    square = np.append(scalars**2 @ weights, weights @ last @ np.asarray(X**2))
    return mean, np.sqrt(square - mean**2)


@pytest.mark.slow
def test_growth_and_its_noise():
    """Means within .05 and deviations within 3 per cent; a state is not Gaussian given both."""
    problem = logistic()
    ensemble = sampled(problem, Nested(), jnp.zeros(problem.size()))
    assert ensemble.trust is Trust.CERTIFIED, ensemble.advice

    def wanted(chi):
        control = problem.control(chi)
        last = problem.trajectory(chi).states["x"][-1]
        return jnp.stack([control.parameters["r"], control.scales["noise"], last])

    values, weights = np.asarray(jax.jit(jax.vmap(wanted))(ensemble.members)), ensemble.weights
    mean = np.asarray(weights) @ values
    stdev = np.sqrt(np.asarray(weights) @ (values - mean) ** 2)
    known = exact()
    assert np.max(np.abs(mean - known[0]) / known[1]) < 0.05
    assert np.max(np.abs(stdev / known[1] - 1)) < 0.03
    assert ensemble.gradients < 25_000
