"""Quantiles of weighted draws."""

import numpy as np


def weighted_quantiles(
    values: np.ndarray, weights: np.ndarray, levels: np.ndarray | tuple[float, ...]
) -> np.ndarray:
    """Quantiles of weighted draws, by linear interpolation of the distribution function.

    A draw lies at the cumulative weight below it plus half its own.

    Args:
        values: draws, shape (N,).
        weights: of sum one, shape (N,).
        levels: probabilities, shape (…).
    """
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp(levels, reached, values[order])
