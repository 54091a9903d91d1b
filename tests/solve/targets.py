"""Posteriors whose moments are known, for everything that draws them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.solve.cost import Array, DepartureFunction
from assim.solve.minimise.gauss_newton import NewtonCG
from assim.solve.minimise.loop import minimise
from assim.solve.posterior.ensemble import Ensemble
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import Laplace, laplace
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from tests.solve.departures import Misfit, RandomWalk, Ridge

EDGE = -0.5  # where `truncated` ends


class Target(NamedTuple):
    """A departure function, where to start, and the truth."""

    problem: DepartureFunction
    around: LaplacePosterior
    mean: np.ndarray
    stdev: np.ndarray

    def covariance(self) -> np.ndarray:
        """Of the Laplace posterior that was given."""
        vectors, values = self.around.eigenvectors, self.around.eigenvalues
        return np.asarray((vectors / (1 + values)[None]) @ vectors.T)


def laplace_at(chi, covariance) -> LaplacePosterior:
    """A Laplace posterior that was given instead of computed."""
    values, vectors = np.linalg.eigh(np.linalg.inv(covariance))
    gaussian = Gaussian(jnp.asarray(chi), jnp.asarray(values - 1), jnp.asarray(vectors))
    return LaplacePosterior(gaussian, 0.0, np.nan, "given")


def _linear(chi: Array, data: Array) -> Array:
    matrix = data.reshape(-1, chi.shape[0] + 1)
    return matrix[:, :-1] @ chi - matrix[:, -1]


def gaussian(n: int = 50, seed: int = 0) -> Target:
    """Linear departures of 60 observations whose errors span two decades; BLUE."""
    rng = np.random.default_rng(seed)
    g = rng.normal(size=(60, n)) * np.logspace(0.5, -1.5, n)
    y = g @ rng.normal(size=n) + rng.normal(size=60)
    covariance = np.linalg.inv(np.eye(n) + g.T @ g)
    mean = covariance @ g.T @ y
    problem = Misfit(_linear, n, 1.0, jnp.asarray(np.column_stack([g, y]).ravel()))
    return Target(problem, laplace_at(mean, covariance), mean, np.sqrt(np.diag(covariance)))


def _curved(chi: Array, data: Array) -> Array:
    del data
    return jnp.concatenate([chi[:2], (chi[2:] - 0.3 * chi[:2] ** 2) / 0.5])


def banana() -> Target:
    """Two of N(0, 1) and, beside each x, one of N(0.3 x², 0.5²); no weight of their own."""
    covariance = np.diag([1.0, 1.0, 0.25, 0.25])
    stdev = np.sqrt([1.0, 1.0, 2 * 0.09 + 0.25, 2 * 0.09 + 0.25])
    around = laplace_at(np.zeros(4), covariance)
    return Target(Misfit(_curved, 4), around, np.array([0, 0, 0.3, 0.3]), stdev)


def _cut(chi: Array, data: Array) -> Array:
    del data
    return jnp.where(chi[0] < EDGE, jnp.nan, chi[1] - chi[0])[None]


def truncated() -> Target:
    """N(0, 1) priors and x₁ - x₀ observed as 0 ± 1, but no model for x₀ < -1/2; by quadrature."""
    x = np.linspace(EDGE, 9, 400_001)
    weight = np.exp(-0.75 * x**2)  # x₁ is integrated out
    mean = weight @ x / weight.sum()
    variance = weight @ x**2 / weight.sum() - mean**2
    covariance = np.linalg.inv([[2.0, -1.0], [-1.0, 2.0]])
    stdev = np.sqrt([variance, 0.5 + variance / 4])
    around = laplace_at(np.zeros(2), covariance)
    return Target(Misfit(_cut, 2, 1.0), around, np.array([mean, mean / 2]), stdev)


def _double_well(chi: Array, data: Array) -> Array:
    return jnp.concatenate([(chi[:1] ** 2 - data) / 0.5, 0 * chi[1:]])


def two_modes(separation: float = 3.0) -> Target:
    """Halves of the mass at x₀ = ±3, and nothing between; started at one of them."""
    n = 3
    at = np.array([separation, 0.0, 0.0])
    curvature = (2 * separation / 0.5) ** 2
    around = laplace_at(at, np.diag([1 / curvature, 1, 1]))
    problem = Misfit(_double_well, n, 1.0, jnp.asarray([separation**2]))
    return Target(problem, around, np.zeros(n), np.array([separation, 1, 1]))


def smoother(n: int = 1000, number: int = 20, rho: float = 0.98) -> tuple[Target, np.ndarray]:
    """x(t + 1) = ρ x(t) + √(1 - ρ²) χ, observed with an error of 0.2; and the path as L χ."""
    rng = np.random.default_rng(0)
    lag = np.subtract.outer(np.arange(n), np.arange(n))
    path = np.where(lag >= 0, rho ** np.abs(lag), 0.0) * np.sqrt(1 - rho**2)
    path[:, 0] /= np.sqrt(1 - rho**2)
    g = path[np.linspace(25, n - 25, number).astype(int)] / 0.2
    y = g @ rng.normal(size=n) + rng.normal(size=number)
    covariance = np.linalg.inv(np.eye(n) + g.T @ g)
    mean = covariance @ g.T @ y
    problem = Misfit(_linear, n, 1.0, jnp.asarray(np.column_stack([g, y]).ravel()))
    around = laplace_at(mean, covariance)
    return Target(problem, around, mean, np.sqrt(np.diag(covariance))), path


SEEN = (
    *(0.2159, 0.1188, -0.0795, 0.0377, -0.2789, -0.1484, -0.3251, -0.2296, -0.4411, -0.0983),
    *(-0.8786, -0.8374, -0.7385, -0.8939, -0.7775, -0.7024, -0.8777, -0.5185, -0.6948, -0.6203),
)
# mean and standard deviation of the logs of both, by Kalman filter and quadrature
SCALES = np.array([[-2.215, 0.336], [-2.262, 0.467]])


def random_walk() -> tuple[RandomWalk, LaplacePosterior]:
    """A funnel: where the observations' scale is small, steps that suit the rest are too long."""
    problem = RandomWalk(jnp.array(SEEN), jnp.array([*range(1, 11), *range(21, 31)]))
    start = jnp.zeros((1, problem.size())).at[0, :2].set(-1.0)
    chi = minimise(problem, NewtonCG(), start).chi
    return problem, laplace(problem, chi, Laplace(), jax.random.key(0))


def half_cauchy_ridge() -> tuple[Ridge, LaplacePosterior, np.ndarray]:
    """a b = 1 ± 0.1, and the 5, 50 and 95 % quantiles of a, which are those of b.

    p(a | y) ∝ h(a)/a E h((y + σ t)/a), h the half-Cauchy density and t of N(0, 1): its variance is
    infinite.
    """
    problem = Ridge(jnp.asarray(1.0), jnp.asarray(0.1))
    t = np.linspace(-8, 8, 401)
    log_a = np.linspace(-12, 12, 8001)
    a = np.exp(log_a)[:, None]
    density = np.exp(-(t**2) / 2) / (1 + ((1 + 0.1 * t) / a) ** 2)
    weight = density.sum(1) / (1 + a[:, 0] ** 2)  # a p(a), on the logarithm of a
    quantiles = np.interp([0.05, 0.5, 0.95], np.cumsum(weight) / weight.sum(), a[:, 0])
    chi = minimise(problem, NewtonCG(), jnp.zeros((1, 2))).chi
    return problem, laplace(problem, chi, Laplace(), jax.random.key(0)), quantiles


def errors(found: Ensemble, target: Target) -> tuple[np.ndarray, np.ndarray]:
    """Of means in standard deviations, and of standard deviations relative to themselves."""
    mean = (np.asarray(found.mean()) - target.mean) / target.stdev
    return mean, np.asarray(found.stdev()) / target.stdev - 1
