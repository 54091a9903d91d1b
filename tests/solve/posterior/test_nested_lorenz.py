"""Nested Laplace of a stochastic Lorenz-63 against a particle filter, which knows no Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.nested.nested import Nested
from tests.benchmarks.stochastic_lorenz63 import (
    DT,
    SEEN,
    START,
    STEPS,
    filtered,
    posed,
)
from tests.solve.posterior.test_nested import sampled

# Mean and standard deviation with their standard errors in standard deviations and relative, by
# python -m tests.benchmarks.stochastic_lorenz63
FILTERED = {
    "log innovation": (-0.7786, 0.9259, 0.0050, 0.0045),
    "log observation": (-0.8209, 0.2325, 0.0028, 0.0011),
    "innovation": (0.6788, 0.6298, 0.0026, 0.0020),
    "observation": (0.4510, 0.0956, 0.0032, 0.0010),
}
NEAR, WIDTH, GRADIENTS = 0.05, 0.03, 150_000


def test_the_filter_is_sure_enough():
    """Its standard errors are below a third of what the comparison allows."""
    for _, _, of_mean, of_stdev in FILTERED.values():
        assert of_mean < NEAR / 3 and of_stdev < WIDTH / 3


def test_the_filter_gives_the_likelihood_of_a_linear_model():
    """That of the Kalman filter, and its last state, within what 20,000 particles know."""
    matrix, start = (
        np.array([[0.9, 0.2, 0.0], [-0.2, 0.9, 0.1], [0.0, 0.0, 0.8]]),
        [*START.values()],
    )
    log_scales = np.array([0.5, -0.5])
    path = [np.linalg.matrix_power(matrix, k)[0] @ start for k in SEEN]
    seen = np.array(path) + 0.5 * np.sin(SEEN)
    mean, covariance, total = np.array(start), np.eye(3), 0.0
    for k in range(1, STEPS + 1):
        mean = matrix @ mean
        covariance = matrix @ covariance @ matrix.T + np.exp(1.0) * DT * np.eye(3)
        if k in SEEN:
            spread = covariance[0, 0] + np.exp(-1.0)
            away, gain = seen[k == SEEN].item() - mean[0], covariance[:, 0] / spread
            total -= away**2 / spread / 2 + np.log(spread) / 2
            mean, covariance = mean + gain * away, covariance - np.outer(gain, covariance[0])
    run = jax.jit(lambda key: filtered(log_scales, seen, key, 20_000, lambda x: matrix @ x))
    got, first, second = map(np.asarray, run(jax.random.key(0)))
    assert abs(got - total) < 0.1
    np.testing.assert_allclose(first[-1], mean, atol=0.05)
    np.testing.assert_allclose(second[-1] - first[-1] ** 2, np.diag(covariance), rtol=0.05)


@pytest.mark.slow
def test_scales_of_a_stochastic_lorenz63():
    """Means within .05 and deviations within 3 per cent of the particle filter's.

    States given scales are not Gaussian enough for weights, and the ensemble is doubtful.
    """
    problem = posed()
    ensemble = sampled(problem, Nested(), jnp.zeros(problem.size()))
    weights, control = np.asarray(ensemble.weights), problem.control
    scales = jax.jit(jax.vmap(lambda chi: control(chi).scales))(ensemble.members)
    for name, (mean, stdev, *_) in FILTERED.items():
        scale = np.asarray(scales[name.split()[-1]])
        values = np.log(scale) if name.startswith("log") else scale
        got = weights @ values
        assert abs(got - mean) < NEAR * stdev, name
        assert abs(np.sqrt(weights @ (values - got) ** 2) / stdev - 1) < WIDTH, name
    assert ensemble.gradients <= GRADIENTS
    assert ensemble.trust is Trust.DOUBTFUL and "k̂" in ensemble.advice
