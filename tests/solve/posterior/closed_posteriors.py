"""Posteriors whose moments and evidence are known, as departure functions without a model."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate
import scipy.stats

from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import Laplace, laplace
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.statistics.accuracy import Errors
from assim.statistics.importance_weights import ImportanceWeights
from assim.statistics.pareto import ParetoSmoothed, Tail
from tests.solve.departures import Misfit

SKEW = 2.0  # of the skewed likelihood


def affine(chi, data):
    """D = Gχ - y with data = [G, y]."""
    return data[:, :-1] @ chi - data[:, -1]


def walled(chi, data):
    """The same, but no density where χ₀ is below the wall, the first entry of the last row."""
    return jnp.where(chi[0] < data[-1, 0], jnp.nan, affine(chi, data[:-1]))


def with_wall(data, wall):
    """Data of `walled`: -∞ for none, ∞ for no density anywhere."""
    return jnp.concatenate([data, jnp.full((1, data.shape[1]), wall)])


def nowhere(chi, data):
    """Finite nowhere."""
    return jnp.nan * (chi + data)


def skewed(chi, data):
    """Independent entries, with a skewed likelihood each: d = 2 (exp χ - 1) - y."""
    return SKEW * (jnp.exp(chi) - 1) - data


class Linear(NamedTuple):
    problem: Misfit
    mean: np.ndarray
    covariance: np.ndarray
    log_evidence: float  # but for the likelihood's constants


def linear(n=5, m=8, seed=0, function=affine, scale=1.0) -> Linear:
    rng = np.random.default_rng(seed)
    g, y = scale * rng.normal(size=(m, n)), rng.normal(size=m)
    covariance = np.linalg.inv(np.eye(n) + g.T @ g)
    total = g @ g.T + np.eye(m)
    log_evidence = -y @ np.linalg.solve(total, y) / 2 - np.linalg.slogdet(total)[1] / 2
    data = jnp.asarray(np.column_stack([g, y]))
    return Linear(Misfit(function, n, 1.0, data), covariance @ g.T @ y, covariance, log_evidence)


class Separable(NamedTuple):
    problem: Misfit
    mode: np.ndarray
    mean: np.ndarray
    stdev: np.ndarray
    log_evidence: float


def separable(y=(0.0, 0.5, -0.5)) -> Separable:
    """The skewed posterior, entry by entry by quadrature."""
    parts = [_moments(value) for value in y]
    mode, mean, stdev, log_z = np.array(parts).T
    return Separable(
        Misfit(skewed, len(y), 1.0, jnp.asarray(y)), mode, mean, stdev, float(log_z.sum())
    )


def _moments(y):
    x = np.linspace(-9, 4, 200_001)
    log_p = -(x**2) / 2 - (SKEW * np.expm1(x) - y) ** 2 / 2
    p = np.exp(log_p) / np.sqrt(2 * np.pi)
    z = scipy.integrate.trapezoid(p, x)
    mean = scipy.integrate.trapezoid(p * x, x) / z
    variance = scipy.integrate.trapezoid(p * (x - mean) ** 2, x) / z
    return x[np.argmax(log_p)], mean, np.sqrt(variance), np.log(z)


def posterior_at(problem, chi, certificate=1000) -> LaplacePosterior:
    return laplace(problem, jnp.asarray(chi), Laplace(certificate=certificate), jax.random.key(0))


def given(chi, variance, k_hat=0.1) -> LaplacePosterior:
    """A Laplace posterior by its mean and its independent variances, whether right or wrong.

    Its certificate has equal weights, whatever it says of them.
    """
    chi, variance = np.asarray(chi, float), np.asarray(variance, float)
    order = np.argsort(variance)
    vectors = jnp.asarray(np.eye(chi.size)[:, order])
    gaussian = Gaussian(jnp.asarray(chi), jnp.asarray(1 / variance[order] - 1), vectors)
    draws, equal = np.asarray(gaussian.draws(jax.random.key(0), 1000)), np.full(1000, 1e-3)
    weights = ParetoSmoothed(equal, k_hat, 1000.0, 0.0)
    importance = ImportanceWeights(weights, Errors(0.0, 0.0), Tail(k_hat), 0.0)
    return LaplacePosterior(gaussian, 0.0, 0.0, "given", importance, (draws, equal))
