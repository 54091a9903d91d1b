"""Quantiles of weighted draws."""

import numpy as np


def weighted_quantiles(
    values: np.ndarray, weights: np.ndarray, levels: np.ndarray | tuple[float, ...]
) -> np.ndarray:
    """Quantiles over the first axis, by linear interpolation of the distribution function.

    A draw lies at the cumulative weight below it plus half its own; for equal weights these are
    Hazen's quantiles. Shape (levels, …), of values of shape (N, …) with weights of sum one.
    """
    order = np.argsort(values, axis=0)
    ascending, weight = np.take_along_axis(values, order, axis=0), weights[order]
    reached = np.cumsum(weight, axis=0) - weight / 2
    columns = (column.reshape(len(values), -1).T for column in (reached, ascending))
    each = [np.interp(levels, at, x) for at, x in zip(*columns, strict=True)]
    return np.reshape(np.transpose(each), (len(levels), *np.shape(values)[1:]))
