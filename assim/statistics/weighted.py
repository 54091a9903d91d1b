"""Quantiles of weighted draws."""

import numpy as np

LEVELS = (0.05, 0.5, 0.95)  # of the quantiles that are published


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


def quantile_error(
    values: np.ndarray, weights: np.ndarray, paired: bool = False, against: bool = False
) -> float:
    """Largest standard error of the quantiles at LEVELS, in widths of the interval; 0 if that is 0.

    That of the share of draws below one, e² = Σ (w (1[f ≤ q] - p))², moves the level; the quantile
    moves by half of what lies between p - e and p + e.

    Args:
        values: f, shape (N,).
        weights: w, shape (N,), of sum one.
        paired: whether the second half of the draws mirrors the first: a pair is one draw.
        against: whether quantiles are those of weighted draws less those of the same draws with
            equal weights, which are known.
    """
    plain = np.full(values.size, 1 / values.size)
    terms = quantile_influence(values, weights)
    if against:
        terms = terms - quantile_influence(values, plain)
    if paired:
        terms = in_pairs(terms)
    return moved_quantiles(values, weights, np.sqrt(np.sum(terms**2, axis=0)))


def moved_quantiles(values: np.ndarray, weights: np.ndarray, errors: np.ndarray) -> float:
    """Largest error of the quantiles whose levels have these, in widths; see `quantile_error`."""
    low, high = weighted_quantiles(values, weights, LEVELS[::2])
    if not high > low:
        return 0.0
    ends = np.clip(np.array(LEVELS) + np.stack([-errors, errors]), 0.0, 1.0)
    below, above = (weighted_quantiles(values, weights, tuple(levels)) for levels in ends)
    return float(np.max(above - below) / 2 / (high - low))


def quantile_influence(
    values: np.ndarray, weights: np.ndarray, others: np.ndarray | None = None
) -> np.ndarray:
    """w (1[f ≤ q] - p) at LEVELS, shape (N, 3), whose sums are zero; of others f at these q."""
    quantiles = weighted_quantiles(values, weights, LEVELS)
    f = values if others is None else others
    below: np.ndarray = f[:, None] <= quantiles
    return weights[:, None] * (below - np.array(LEVELS))


def in_pairs(terms: np.ndarray) -> np.ndarray:
    """Sums of the i-th and the (h + i)-th of up to 2h terms."""
    half = (len(terms) + 1) // 2
    sums = terms[:half].copy()
    sums[: len(terms) - half] += terms[half:]
    return sums
