"""Antithetic draws of a Gaussian, weighted by the posterior, and what they say of it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.devices import program
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.valleys import FEW, Lines, along_some, lines, on_lines
from assim.solve.together import affordable, log_density
from assim.statistics.accuracy import more_draws
from assim.statistics.importance_weights import ImportanceWeights, importance_weights
from assim.statistics.pareto import TRUSTED_K_HAT

Array = jax.Array

FULL_CERTIFICATE = 200  # controls above which half of the draws are tried first


class Weighing(NamedTuple):
    """The draws and what their weights say.

    Args:
        chi: shape (N, n); the second half mirrors the first about χ*.
        importance: what the weights say of moments along the eigenvectors, corrected from those
            of the Gaussian.
        at_minimum: v - J(χ*).
        spent: evaluations of J.
        lines: J on lines through χ*; None without draws.
    """

    chi: np.ndarray
    importance: ImportanceWeights
    at_minimum: float
    spent: int
    lines: Lines | None

    def sample(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The draws with their weights, where these correct more than they spoil."""
        smoothed = self.importance.smoothed
        return (self.chi, smoothed.weights) if smoothed.usable() else None


def weigh(problem: DepartureFunction, gaussian: Gaussian, key: Array, number: int) -> Weighing:
    """Weigh so many draws, or more where that decides whether they may be trusted.

    Above `FULL_CERTIFICATE` controls half of them come first, and all of them where that
    leaves it open. Where tails are light but moments not known well enough, as many as are likely
    to do, up to four times the number.
    """
    full = affordable(number, gaussian.chi.shape[0], 1)
    first = full if gaussian.chi.shape[0] <= FULL_CERTIFICATE else -(-full // 2)
    weighing = _weighing(problem, gaussian, key, min(first, full))
    now = weighing.importance
    if first < full and not now.trusted() and now.smoothed.k_hat < TRUSTED_K_HAT:
        weighing = _again(problem, gaussian, key, full, weighing)
        now = weighing.importance
    if now.smoothed.trusted() and now.squares.light() and not now.trusted():
        needed = more_draws(full, now.errors)
        if full < needed == affordable(needed, gaussian.chi.shape[0], 1):
            weighing = _again(problem, gaussian, key, needed, weighing)
    if not number or gaussian.chi.shape[0] <= FEW:
        return weighing
    looked = along_some(problem, gaussian.chi)
    return weighing._replace(lines=looked, spent=weighing.spent + looked.along.size)


def _again(
    problem: DepartureFunction, gaussian: Gaussian, key: Array, number: int, before: Weighing
) -> Weighing:
    again = _weighing(problem, gaussian, key, number)
    return again._replace(spent=before.spent + again.spent)


def _weighing(problem: DepartureFunction, gaussian: Gaussian, key: Array, number: int) -> Weighing:
    chi, a, logs, points, costs = map(np.asarray, _draws(problem, gaussian, key, number))
    judged = importance_weights(a[1:], logs[1:], against=True)
    looked = lines(points, costs) if costs.size else None
    return Weighing(chi[1:], judged, float(logs[0]), number + costs.size, looked)


@program
def _draws(
    problem: DepartureFunction, gaussian: Gaussian, key: Array, number: int
) -> tuple[Array, Array, Array, Array, Array]:
    """Of χ* itself, then antithetic pairs: χ, Uᵀ(white), log of density over proposal.

    But for constants the last is v - J(χ) + ½ |A^(1/2)(χ - χ*)|². Last, points on lines through
    χ* and J - v there; none without draws.
    """
    n = gaussian.chi.shape[0]
    half = jax.random.normal(key, ((number + 1) // 2, n))
    white = jnp.concatenate([jnp.zeros((1, n)), half, -half])[: number + 1]
    points = on_lines(gaussian)[: None if number else 0]
    chi = jnp.concatenate([jax.vmap(gaussian.at)(white), points.reshape(-1, n)])
    logs = log_density(problem, chi)
    weights = jnp.sum(white**2, axis=1) / 2 + logs[: number + 1]
    costs = -logs[number + 1 :].reshape(points.shape[:2])
    return chi[: number + 1], white @ gaussian.eigenvectors, weights, points, costs
