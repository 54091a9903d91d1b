"""MCLMC on posteriors whose moments are known, and the bias of its steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.posterior.chains.samplers import MCLMC
from assim.solve.posterior.ensemble import Trust
from tests.solve.departures import Misfit
from tests.solve.targets import banana, errors, gaussian, laplace_at, smoother, truncated

pytestmark = pytest.mark.slow

ACCURACY = 0.03


def check(method, target, seed=0):
    """Certified, with the errors that were promised: four standard errors bound the largest."""
    found = method.sample(target.problem, target.around, jax.random.key(seed))
    assert found.trust is Trust.CERTIFIED, found.advice
    mean, stdev = errors(found, target)
    assert np.max(np.abs(mean)) < 4 * ACCURACY
    assert np.max(np.abs(stdev)) < 4 * ACCURACY
    assert np.sqrt(np.mean(stdev**2)) < 1.7 * ACCURACY
    return found


def test_correlated_gaussian_in_fewer_gradients_than_nuts():
    found = check(MCLMC(accuracy=ACCURACY), gaussian())
    assert found.gradients < 15_000
    assert found.certificates["energy_variance"] < 2 * 5e-4


def test_banana():
    check(MCLMC(accuracy=ACCURACY), banana())


def test_adjusted_knows_where_the_target_ends():
    found = check(MCLMC(accuracy=ACCURACY, adjusted=True), truncated())
    assert found.certificates["outside"] > 0.1


def test_unadjusted_says_that_an_edge_biases_it():
    """The position is kept, so nothing lies outside, but the mean is off."""
    target = truncated()
    found = MCLMC(accuracy=ACCURACY).sample(target.problem, target.around, jax.random.key(0))
    assert found.trust is Trust.DOUBTFUL and "adjusted = true" in found.advice
    assert np.min(np.asarray(found.members)[:, 0]) >= -0.5
    mean, stdev = errors(found, target)
    assert np.max(np.abs(mean)) < 0.2 and np.max(np.abs(stdev)) < 0.1


def test_virial_measures_the_bias_of_long_steps(monkeypatch):
    """Steps of a thousand times the energy's variance: half the virial is the error of the sds."""
    monkeypatch.setattr("assim.solve.posterior.chains.samplers.ENERGY", 0.02)
    monkeypatch.setattr("assim.solve.posterior.chains.samplers.BIAS", 1e9)
    target = gaussian()
    method = MCLMC(accuracy=0.0151)  # settings of its own: compiled anew
    found = method.sample(target.problem, target.around, jax.random.key(0))
    _, stdev = errors(found, target)
    bias = found.certificates["bias"]
    assert abs(bias) > 0.02
    assert abs(np.mean(stdev) - bias) < 0.01
    assert found.trust is Trust.DOUBTFUL and "steps are too long" in found.advice


@pytest.mark.slow
def test_smoother_of_a_thousand_controls():
    """Pointwise deviations of an autoregressive path that 20 observations inform, in 10,000."""
    target, path = smoother()
    method = MCLMC(accuracy=0.05, max_gradients=10_000)
    found = method.sample(target.problem, target.around, jax.random.key(0))
    exact = np.sqrt(np.diag(path @ target.covariance() @ path.T))
    error = (np.asarray(found.members) @ path.T).std(0) / exact - 1
    assert found.gradients <= 10_000
    assert np.sqrt(np.mean(error**2)) < 0.05 and np.max(np.abs(error)) < 0.12


def test_one_control_has_no_direction_to_forget():
    problem = Misfit(lambda chi, data: chi, 1, 1.0)
    around = laplace_at(jnp.zeros(1), np.eye(1) / 2)
    found = MCLMC().sample(problem, around, jax.random.key(0))
    assert found.trust is Trust.FAILED and "run NUTS" in found.advice
    assert np.all(np.isfinite(found.members)) and found.gradients == 0
