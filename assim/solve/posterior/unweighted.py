"""Draws that are published without weights: how far these would move their moments."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from assim.solve.cost import DepartureFunction
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.marginal import published
from assim.statistics.accuracy import ACCURATE, CENTRED, Errors, apart
from assim.statistics.weighted import LEVELS, weighted_quantiles

Array = jax.Array

CHANCE = 4.0  # standard errors that a difference may have by chance


def moved(
    problem: DepartureFunction, gaussian: Gaussian, chi: Array, weights: np.ndarray
) -> Errors:
    """What weights change of the moments of draws of χ (N, n), the largest of all.

    Along the eigenvectors of the Laplace approximation, of entries of χ and of scalars; of the
    latter also of the quantiles, in widths of the 90 % interval. `excess()` is at most 1 where
    draws may be published without them.
    """
    plain = np.full(len(weights), 1 / len(weights))
    scalars = published(problem, chi)
    columns = np.column_stack([_linear(gaussian, chi), *scalars.values()])
    quantile = float(np.max([0.0, *(_quantiles_moved(v, weights) for v in scalars.values())]))
    return apart(columns, plain, columns, weights)._replace(quantile=quantile)


def moved_of_laplace(problem: DepartureFunction, around: LaplacePosterior) -> Errors:
    """The same of the Laplace approximation by its certificate; NaN where that is not trusted."""
    if around.sample is None or not around.importance.trusted():
        return Errors(math.nan, math.nan, math.nan)
    draws, weights = around.sample
    return moved(problem, around.gaussian, jnp.asarray(draws), weights)


def misses(around: LaplacePosterior, members: Array) -> bool:
    """Whether independent members of equal weight miss the weighted moments of the certificate.

    By more than limits and chance allow, along the eigenvectors or of entries of χ.
    """
    assert around.sample is not None
    draws, weights = around.sample
    number = len(members)
    away = apart(
        _linear(around.gaussian, members),
        np.full(number, 1 / number),
        _linear(around.gaussian, jnp.asarray(draws)),
        weights,
    )
    return beyond_chance(away, number)


def beyond_chance(away: Errors, number: int) -> bool:
    """Whether moments of so many independent members are off by more than limits and chance."""
    of_mean = CENTRED + CHANCE / math.sqrt(number)
    return not (away.mean <= of_mean and away.stdev <= ACCURATE + CHANCE / math.sqrt(2 * number))


def _linear(gaussian: Gaussian, chi: Array) -> np.ndarray:
    """Coordinates along the eigenvectors in standard deviations, then χ, shape (N, r + n)."""
    along = jax.vmap(gaussian.z)(chi) @ gaussian.eigenvectors
    return np.concatenate([np.asarray(along), np.asarray(chi)], axis=1)


def _quantiles_moved(values: np.ndarray, weights: np.ndarray) -> float:
    """Of finite values, the largest change in widths of the interval; 0 for none."""
    finite = np.isfinite(values) & (weights > 0)
    if not finite.any():
        return 0.0
    f, w = values[finite], weights[finite] / weights[finite].sum()
    plain = np.full(f.size, 1 / f.size)
    before, after = (weighted_quantiles(f, v, LEVELS) for v in (plain, w))
    away, width = float(np.max(np.abs(before - after))), float(after[-1] - after[0])
    return away / width if width > 0 else math.inf if away > 0 else 0.0
