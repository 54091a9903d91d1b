"""Antithetic draws of a Gaussian, weighted by the posterior, and what they say of it."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.solve.cost import DepartureFunction
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.valleys import on_lines, valleys
from assim.solve.together import affordable, log_density
from assim.statistics.accuracy import Errors, errors_of_weighted, more_draws
from assim.statistics.pareto import (
    TRUSTED_K_HAT,
    ParetoSmoothed,
    Tail,
    pareto_smooth,
    tail_of_squares,
)

Array = jax.Array

FULL_CERTIFICATE = 200  # controls above which half of the draws are tried first


class Weighing(NamedTuple):
    """The draws and what their weights say.

    Args:
        chi: shape (N, n); the second half mirrors the first about χ*.
        smoothed: their weights.
        errors: of moments along the eigenvectors, corrected from those of the Gaussian.
        squares: the heaviest tail of weight times square along them.
        outside: share of draws at which log p is -∞; 0 of none.
        at_minimum: v - J(χ*).
        spent: evaluations of J.
        valleys: where J descends again on lines through χ*, shape (k, n).
    """

    chi: np.ndarray
    smoothed: ParetoSmoothed
    errors: Errors
    squares: Tail
    outside: float
    at_minimum: float
    spent: int
    valleys: np.ndarray

    def trusted(self) -> bool:
        """Whether what they correct may be certified."""
        return self.smoothed.trusted() and self.squares.light() and self.errors.excess() <= 1

    def sample(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The draws with their weights, where these correct more than they spoil."""
        return (self.chi, self.smoothed.weights) if self.smoothed.usable() else None


def weighing(problem: DepartureFunction, gaussian: Gaussian, key: Array, number: int) -> Weighing:
    """Weigh so many draws, or more where that decides whether they may be trusted.

    Above `FULL_CERTIFICATE` controls half of them come first, and all of them where that
    leaves it open. Where tails are light but moments not known well enough, as many as are likely
    to do, up to four times the number.
    """
    full = affordable(number, gaussian.chi.shape[0], 1)
    first = full if gaussian.chi.shape[0] <= FULL_CERTIFICATE else -(-full // 2)
    weighed = _weighed(problem, gaussian, key, min(first, full))
    if first < full and not weighed.trusted() and weighed.smoothed.k_hat < TRUSTED_K_HAT:
        weighed = _again(problem, gaussian, key, full, weighed)
    if weighed.smoothed.trusted() and weighed.squares.light() and not weighed.trusted():
        needed = more_draws(full, weighed.errors)
        if full < needed == affordable(needed, gaussian.chi.shape[0], 1):
            weighed = _again(problem, gaussian, key, needed, weighed)
    return weighed


def _again(
    problem: DepartureFunction, gaussian: Gaussian, key: Array, number: int, before: Weighing
) -> Weighing:
    again = _weighed(problem, gaussian, key, number)
    return again._replace(spent=before.spent + again.spent)


def _weighed(problem: DepartureFunction, gaussian: Gaussian, key: Array, number: int) -> Weighing:
    chi, a, log_weights, *lines = map(np.asarray, _draws(problem, gaussian, key, number))
    chi, a, at_minimum, logs = chi[1:], a[1:], float(log_weights[0]), log_weights[1:]
    others = valleys(*lines)
    if not number:
        unknown, nothing = Errors(math.nan, math.nan), Tail(math.nan)
        smoothed = ParetoSmoothed(logs, math.nan, math.nan, math.nan)
        return Weighing(chi, smoothed, unknown, nothing, 0.0, at_minimum, 0, others)
    smoothed = pareto_smooth(logs)
    errors = errors_of_weighted(a, smoothed.weights, paired=True, against=True)
    squares = tail_of_squares(a, logs, smoothed.weights)
    outside, spent = float(np.mean(~np.isfinite(logs))), number + lines[1].size
    return Weighing(chi, smoothed, errors, squares, outside, at_minimum, spent, others)


@eqx.filter_jit
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
    lines = on_lines(gaussian)[: None if number else 0]
    chi = jnp.concatenate([jax.vmap(gaussian.at)(white), lines.reshape(-1, n)])
    logs = log_density(problem, chi)
    weights = jnp.sum(white**2, axis=1) / 2 + logs[: number + 1]
    costs = -logs[number + 1 :].reshape(lines.shape[:2])
    return chi[: number + 1], white @ gaussian.eigenvectors, weights, lines, costs
