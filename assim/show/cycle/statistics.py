"""What pictures of a cycle show beyond its series: running means, bins, estimates of errors."""

from typing import NamedTuple

import numpy as np

from assim.statistics.uniformity import binomial_interval

LONG = 500  # windows beyond which single ones are not drawn
BINS, FEWEST = 10, 10  # of windows of like spread, at most, and windows of one, at least
POINTS = 120  # about as many points of a long series are drawn
NORMAL = 1.959964  # quantile of N(0, 1): ± holds 95 %


def average(values: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean of what is finite; NaN without any."""
    weights = np.ones(values.shape) if weights is None else weights
    good = np.isfinite(values) & np.isfinite(weights) & (weights > 0)
    if not good.any():
        return np.nan
    return float(np.sum(values[good] * weights[good]) / np.sum(weights[good]))


def width_of(number: int) -> int:
    """Windows of a running mean over a series of this many; 1 where it is too short for one."""
    if number < 15:
        return 1
    return max(5, number // 30)


def block_of(number: int) -> int:
    """Windows for each point that is drawn: 1 of a short series."""
    return 1 if number <= LONG else -(-number // POINTS)


def running(values: np.ndarray, width: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Centred running mean of what is finite, over `width` windows; at the ends over fewer."""
    weights = np.ones(values.shape) if weights is None else np.nan_to_num(weights)
    weights = np.where(np.isfinite(values), weights, 0.0)
    count = totals(weights, width)
    mean = totals(values * weights, width) / np.where(count > 0, count, 1.0)
    return np.where(count > 0, mean, np.nan)


def totals(values: np.ndarray, width: int) -> np.ndarray:
    """Centred running sum of what is finite, over `width` windows; at the ends over fewer."""
    sums = np.concatenate([[0.0], np.cumsum(np.nan_to_num(values))])
    place = np.arange(values.size)
    high = np.minimum(place + width // 2 + 1, values.size)
    difference: np.ndarray = sums[high] - sums[np.maximum(place - (width - 1) // 2, 0)]
    return difference


def drawn_points(number: int) -> np.ndarray:
    """Windows at which lines are drawn: all of a short series, the middles of blocks of a long."""
    starts, width = np.arange(0, number, block_of(number)), block_of(number)
    return (starts + np.minimum(starts + width, number) - 1) // 2


def ranges(values: np.ndarray) -> np.ndarray:
    """Between which values the middle 80 % of each block lie, shape (2, blocks); NaN of none."""
    blocks = np.split(values, np.arange(0, values.size, block_of(values.size))[1:])
    good = (block[np.isfinite(block)] for block in blocks)
    return np.transpose([np.quantile(b, (0.1, 0.9)) if b.size else (np.nan, np.nan) for b in good])


class Bins(NamedTuple):
    """Roots of mean variance and of mean square error of bins of windows of like variance.

    Between `low` and `high` lies 95 % of `error`, as if windows were independent.
    """

    spread: np.ndarray
    error: np.ndarray
    low: np.ndarray
    high: np.ndarray


def spread_and_skill(spread: np.ndarray, error: np.ndarray) -> Bins:
    """Mean square error against mean variance of bins of equally many windows, from their roots."""
    good = np.isfinite(spread) & np.isfinite(error) & (spread > 0)
    variance, square = spread[good] ** 2, error[good] ** 2
    count = min(max(variance.size // FEWEST, 1), BINS) if variance.size else 0
    parts = np.array_split(np.argsort(variance, kind="stable"), count) if count else []
    rows = []
    for part in parts:
        mean = square[part].mean()
        ratio = square[part].std() / np.sqrt(part.size) / mean if mean > 0 else 0.0
        factor = np.exp(NORMAL * ratio)  # an interval of the logarithm: squares are not negative
        rows.append((variance[part].mean(), mean, mean / factor, mean * factor))
    return Bins(*np.sqrt(np.array(rows).reshape(-1, 4)).T)


def root(variance: np.ndarray) -> np.ndarray:
    """Standard deviation; NaN of a negative variance."""
    return np.sqrt(np.where(variance >= 0, variance, np.nan))


def band_of_ranks(counts: np.ndarray) -> tuple[float, float]:
    """The 95 % interval, as shares of the expectation, of a bin's count where ranks are uniform."""
    number, share = max(int(np.rint(np.sum(counts))), 1), 1 / counts.size
    low, high = binomial_interval(number, share, 0.95)
    return low / (number * share), high / (number * share)
