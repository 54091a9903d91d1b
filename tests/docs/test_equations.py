"""What the pages state of J, of its terms and of the Laplace posterior, computed."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.solve.cost import cost, negative_log_density
from assim.solve.posterior.laplace import Laplace, laplace
from assim.statistics.pareto import TRUSTED_K_HAT
from tests.docs.pages import ROOT, rows
from tests.docs.toy import Walk
from tests.solve.departures import Departures

STEPS, FIELDS = 8, 2
VALUES = np.array([0.4, 0.9, 0.7, 1.6, 1.2, 0.9, 1.7, 2.2])  # steps of about 0.4, noise of 0.2


def walk(correlation=None, formulation="forcing"):
    """Two walks, of which x is observed, with an unknown amplitude of their steps."""
    model = Walk()
    observed = assim.Observations(
        "x", VALUES, assim.Points.at(np.arange(1.0, 9.0)), assim.operator.PointSample("x"), 0.2
    )
    error = assim.ModelError(
        assim.covariance.Diagonal(1.0),
        in_time=correlation,
        scale=assim.ErrorScale("step", assim.prior.LogNormal(1.0, 2.0)),
    )
    return assim.weak_constraint(
        model,
        assim.Window.regular(model, STEPS, 1),
        {"x": 0.0, "y": 0.0},
        assim.covariance.Diagonal(1.0),
        observed,
        model_error=error,
        formulation=formulation,
    )


@pytest.mark.parametrize("correlation", [None, assim.covariance.Autoregressive(2.0)])
def test_both_formulations(correlation):
    """weak-constraint.md: what differs between the two forms, for the same trajectory and s."""
    forcing = walk(correlation)
    states = forcing.as_states()
    chi = 0.3 * jax.random.normal(jax.random.key(1), (forcing.size(),))
    one, other = forcing(chi), states(moved := forcing.moved(chi, states))
    s = float(forcing.control(chi).scales["step"])
    assert abs(np.log(s)) > 0.1
    series = forcing.control.model_error.in_time
    log_q = 0.0 if series is None else 2 * float(series.log_sqrt_determinant())
    number, constant = STEPS * FIELDS, FIELDS * log_q / 2
    assert one.normaliser == 0 and one.volume != 0
    np.testing.assert_allclose(other.normaliser, number * np.log(s), rtol=1e-10)
    np.testing.assert_allclose(other.volume - one.volume, -number * np.log(s) - constant, rtol=1e-8)
    np.testing.assert_allclose(cost(states, moved) - cost(forcing, chi), -constant, atol=1e-8)
    np.testing.assert_allclose(states.log_constant() - forcing.log_constant(), -constant)


def modes(problem):
    """ln s at the joint mode of exp(v - J), and at that of exp(-J), the trajectory optimal."""
    inside = np.flatnonzero(problem.of_trajectory())
    (place,) = np.flatnonzero(~problem.of_trajectory())

    def best(scale):
        chi = jnp.zeros(problem.size()).at[place].set(scale)
        density = lambda z: negative_log_density(problem, chi.at[inside].set(z))  # noqa: E731
        z = -jnp.linalg.solve(jax.hessian(density)(chi[inside]), jax.grad(density)(chi[inside]))
        return density(z), density(z) + problem(chi.at[inside].set(z)).volume

    grid = jnp.linspace(-2.0, 2.0, 401)
    joint, whole = jax.jit(jax.vmap(best))(grid)
    return 2.0 * grid[jnp.argmin(joint)], 2.0 * grid[jnp.argmin(whole)]


def test_joint_mode_of_an_amplitude():
    """weak-constraint.md: too large in white η, too small in physical η, v between them."""
    (white, middle), (physical, same) = modes(walk()), modes(walk(formulation="state"))
    assert middle == same
    assert physical < middle - 0.3 and white > middle + 0.3


class Linear(eqx.Module):
    """d = Gχ - y with a prior weight for every coordinate."""

    matrix: jax.Array
    data: jax.Array
    weights: jax.Array

    def __call__(self, chi):
        return Departures(self.matrix @ chi - self.data, jnp.zeros(()), jnp.zeros(()))

    def size(self):
        return self.weights.size

    def weight(self):
        return self.weights

    def has_normaliser(self):
        return False

    def proper(self):
        return False

    def workspace(self):
        return self.data.size


def test_effective_parameters():
    """laplace.md: the sum over λ is all of γ only where priors are proper."""
    matrix = jax.random.normal(jax.random.key(0), (5, 3))
    data = jnp.arange(5.0)
    for weights, proper in (([1.0, 1.0, 1.0], True), ([1.0, 1.0, 0.0], False)):
        problem = Linear(matrix, data, jnp.array(weights))
        hessian = jnp.diag(problem.weight()) + matrix.T @ matrix
        chi = jnp.linalg.solve(hessian, matrix.T @ data)
        posterior = laplace(problem, chi, Laplace(certificate=0), jax.random.key(1))
        values = np.asarray(posterior.eigenvalues)
        gamma = np.trace(np.linalg.solve(hessian, matrix.T @ matrix))
        np.testing.assert_allclose(posterior.effective_parameters, gamma, rtol=1e-9)
        assert (abs(np.sum(values / (1 + values)) - gamma) < 1e-9) == proper


def test_k_hat_by_its_own_table():
    """laplace.md: below the limit every error of the table is small, above it one is large."""
    table = rows(ROOT / "docs" / "methods" / "laplace.md", "Case")
    errors = {float(row[2]): abs(float(re.sub("[^0-9.]", "", row[4]))) for row in table}
    assert max(error for k, error in errors.items() if k < TRUSTED_K_HAT) <= 2.0
    doubtful = [error for k, error in errors.items() if TRUSTED_K_HAT <= k < 0.7]
    assert min(doubtful) < 1.0 and max(doubtful) > 30.0
