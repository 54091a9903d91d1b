"""Stein force and discrepancy against double loops over derivatives of the kernel itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.svgd import kernels
from assim.solve.posterior.svgd.kernels import (
    KERNELS,
    kernelised_stein_discrepancy,
    median_bandwidth,
    stein_discrepancy,
    stein_force,
)
from tests.solve.departures import Misfit

NUMBER, RANK = 7, 3
POINTS = jax.random.normal(jax.random.key(0), (NUMBER, RANK))
SCORES = jax.random.normal(jax.random.key(1), (NUMBER, RANK))
H = 1.7


def value(kernel, x, y, h):
    square = jnp.sum((x - y) ** 2)
    return jnp.exp(-square / h) if kernel == "rbf" else (1 + square / h) ** -0.5


@pytest.mark.parametrize("kernel", KERNELS)
def test_force(kernel):
    k = lambda x, y: value(kernel, x, y, H)  # noqa: E731

    def pair(x, s, y):
        return k(x, y) * s + jax.grad(k)(x, y)

    def one(y):
        return jnp.mean(jax.vmap(lambda x, s: pair(x, s, y))(POINTS, SCORES), axis=0)

    expected = jax.jit(jax.vmap(one))(POINTS)
    found = stein_force(POINTS, SCORES, kernel, jnp.asarray(H))
    np.testing.assert_allclose(found, expected, atol=1e-13)


def test_discrepancy():
    k = lambda x, y: value("imq", x, y, RANK)  # noqa: E731
    weights = jnp.arange(1.0, NUMBER + 1) / (NUMBER * (NUMBER + 1) / 2)

    def u(x, s, y, t):
        cross = jnp.trace(jax.jacfwd(jax.grad(k), argnums=1)(x, y))
        return s @ t * k(x, y) + s @ jax.grad(k, 1)(x, y) + t @ jax.grad(k)(x, y) + cross

    rows = jax.vmap(u, (None, None, 0, 0))
    matrix = jax.jit(jax.vmap(lambda x, s: rows(x, s, POINTS, SCORES)))(POINTS, SCORES)
    found = stein_discrepancy(POINTS, SCORES, weights)
    np.testing.assert_allclose(found.value**2, weights @ matrix @ weights, rtol=1e-12)
    np.testing.assert_allclose(found.of_draws**2, weights**2 @ jnp.diag(matrix), rtol=1e-12)


def test_blocks_change_nothing(monkeypatch):
    bandwidth, weights = median_bandwidth(POINTS), jnp.full(NUMBER, 1 / NUMBER)
    whole = stein_force(POINTS, SCORES, "imq", bandwidth)
    discrepancy = stein_discrepancy(POINTS, SCORES, weights).value
    monkeypatch.setattr(kernels, "PAIRS", 3 * NUMBER)
    np.testing.assert_allclose(
        stein_force(POINTS, SCORES, "imq", bandwidth), whole, rtol=1e-12, atol=1e-14
    )
    np.testing.assert_allclose(stein_discrepancy(POINTS, SCORES, weights).value, discrepancy)


def test_median():
    between = [np.sum((POINTS[i] - POINTS[j]) ** 2) for i in range(NUMBER) for j in range(i)]
    np.testing.assert_allclose(median_bandwidth(POINTS), np.median(between), rtol=1e-12)


@pytest.mark.parametrize("what", ["force", "discrepancy"])
def test_ten_thousand_particles_fit(what):
    """As XLA plans it: a tenth of the 800 MB of a whole matrix of pairs."""
    many = jax.ShapeDtypeStruct((10_000, 50), jnp.float64)
    weights = jax.ShapeDtypeStruct((10_000,), jnp.float64)
    if what == "force":
        run = jax.jit(lambda x, s: stein_force(x, s, "rbf", median_bandwidth(x)))
        plan = run.lower(many, many).compile().memory_analysis()
    else:
        plan = jax.jit(stein_discrepancy).lower(many, many, weights).compile().memory_analysis()
    assert plan.temp_size_in_bytes < 80e6


def test_discrepancy_tells_draws_from_a_collapse():
    """Of N(0, I₃) and an ensemble of half its spread; NaN where a member is outside."""
    problem = Misfit(lambda chi, data: jnp.where(chi[0] < 50, 0 * chi, jnp.nan), 3, 1.0)
    gaussian = Gaussian(jnp.zeros(3), jnp.zeros(3), jnp.eye(3))
    draws, weights = gaussian.draws(jax.random.key(4), 400), jnp.full(400, 1 / 400)
    right = kernelised_stein_discrepancy(problem, draws, weights, gaussian)
    narrow = kernelised_stein_discrepancy(problem, draws / 2, weights, gaussian)
    assert right < 1.5 * np.sqrt((3 + 1) / 400)
    assert narrow > 4 * right
    outside = kernelised_stein_discrepancy(problem, draws.at[0, 0].set(60.0), weights, gaussian)
    assert np.isnan(outside)
