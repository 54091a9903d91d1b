"""What pictures of a cycle show beyond its series: running means, bins, estimates of errors."""

from typing import NamedTuple

import numpy as np

from assim.statistics.uniformity import binomial_interval

LONG = 500  # windows beyond which single ones are not drawn
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
    """Centred running mean of what is finite; at the ends over what there is.

    Args:
        values: shape (n,).
        width: windows that a mean is over.
        weights: of each; 1 where not given.
    """
    weights = np.ones(values.shape) if weights is None else np.nan_to_num(weights)
    weights = np.where(np.isfinite(values), weights, 0.0)
    count = totals(weights, width)
    mean = totals(values * weights, width) / np.where(count > 0, count, 1.0)
    return np.where(count > 0, mean, np.nan)


def totals(values: np.ndarray, width: int) -> np.ndarray:
    """Centred running sum of what is finite; at the ends over what there is."""
    sums = np.concatenate([[0.0], np.cumsum(np.nan_to_num(values))])
    place = np.arange(values.size)
    high = np.minimum(place + width // 2 + 1, values.size)
    difference: np.ndarray = sums[high] - sums[np.maximum(place - (width - 1) // 2, 0)]
    return difference


class Stretches(NamedTuple):
    """A long series in stretches of equal length.

    Args:
        middle: number of the window in the middle of each.
        mean: of its finite values; NaN without any.
        low: value below which a tenth of them lies.
        high: value above which a tenth of them lies.
    """

    middle: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def blocks(values: np.ndarray, width: int) -> Stretches:
    """A series in stretches of `width`, the last of which may be shorter."""
    starts = np.arange(0, values.size, width)
    ends = np.minimum(starts + width, values.size)
    rows = []
    for start, end in zip(starts, ends, strict=True):
        some = values[start:end]
        some = some[np.isfinite(some)]
        low, high = np.quantile(some, (0.1, 0.9)) if some.size else (np.nan, np.nan)
        rows.append((average(some), low, high))
    mean, lower, upper = np.array(rows).T
    return Stretches((starts + ends - 1) // 2, mean, lower, upper)


def drawn_points(number: int) -> np.ndarray:
    """Windows at which lines are drawn: all of a short series."""
    return blocks(np.zeros(number), block_of(number)).middle


class Bins(NamedTuple):
    """Windows in bins of like variance.

    Args:
        spread: root of the mean variance of each.
        error: root of the mean square error of each.
        low: lower end of the 95 % interval of `error`, as if windows were independent.
        high: its upper end.
    """

    spread: np.ndarray
    error: np.ndarray
    low: np.ndarray
    high: np.ndarray


def spread_and_skill(
    spread: np.ndarray, error: np.ndarray, most: int = 10, least: int = 10
) -> Bins:
    """Mean square error against mean variance, of bins that hold equally many windows.

    Args:
        spread: roots of variances, shape (n,).
        error: roots of mean square errors, shape (n,).
        most: bins, at most.
        least: windows of a bin, at least, unless there are fewer.
    """
    good = np.isfinite(spread) & np.isfinite(error) & (spread > 0)
    variance, square = spread[good] ** 2, error[good] ** 2
    count = min(max(variance.size // least, 1), most) if variance.size else 0
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


def band_of_ranks(counts: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The interval, as shares of the expectation, of a bin's count where ranks are uniform.

    Args:
        counts: of every bin.
        level: probability of the interval.
    """
    number, share = max(int(np.rint(np.sum(counts))), 1), 1 / counts.size
    low, high = binomial_interval(number, share, level)
    return low / (number * share), high / (number * share)
