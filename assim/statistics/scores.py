"""Scores of predictive draws against what was observed: CRPS, log score, ranks, coverage."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy  # its parts are imported when first used

from assim.statistics.pareto import pareto_smooth
from assim.statistics.uniformity import binomial_interval
from assim.statistics.weighted import weighted_quantiles

_SQRT_PI, _SQRT_2PI = np.sqrt(np.pi), np.sqrt(2 * np.pi)


def crps(
    members: np.ndarray,
    observed: np.ndarray,
    weights: np.ndarray | None = None,
    fair: bool = False,
) -> np.ndarray:
    """Σ w_i |x_i - y| - ½ Σ w_i w_j |x_i - x_j|, the continuous ranked probability score.

    In the unit of y; the smaller the better, 0 for a point forecast that is exact (Gneiting &
    Raftery 2007, JASA 102, 359, equation 21). The fair score divides the second sum by
    1 - Σ w², so that its expectation does not depend on the number of members (Ferro 2014, QJRMS
    140, 1917). Of one member both are its absolute error.

    Args:
        members: draws, shape (N, …).
        observed: y, shape (…).
        weights: of the members, of sum one, shape (N,); equal where not given.
        fair: whether members are draws, and the score that of the density they come from.
    """
    members, observed = np.asarray(members, float), np.asarray(observed, float)
    w = _weights(members, weights)
    order = np.argsort(members, axis=0)
    x = np.take_along_axis(members, order, axis=0)
    sorted_weights = w[order]
    below = np.cumsum(sorted_weights, axis=0) - sorted_weights
    # ½ Σ w_i w_j |x_i - x_j| = Σ_i w_i x_i (weight below - weight above)
    spread = np.sum(sorted_weights * x * (2 * below + sorted_weights - 1), axis=0)
    if fair:
        spread = spread / ((1 - np.sum(w**2)) or 1.0)
    return np.tensordot(w, np.abs(members - observed[None]), axes=1) - spread


def crps_gaussian(mean: np.ndarray, stdev: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """σ (z (2Φ(z) - 1) + 2φ(z) - 1/√π), z = (y - mean)/σ: the score of a Gaussian forecast.

    Gneiting et al. (2005, Mon. Weather Rev. 133, 1098, equation 5).
    """
    z = (np.asarray(observed) - mean) / stdev
    density = np.exp(-(z**2) / 2) / _SQRT_2PI
    return stdev * (z * (2 * scipy.special.ndtr(z) - 1) + 2 * density - 1 / _SQRT_PI)


def log_score(log_densities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """log Σ w_i p(y | χ_i), log density of what was observed under the mixture of draws, in nats.

    The larger the better. Of log p(y | χ_i), shape (N, …), with weights of shape (N,).
    """
    log_densities = np.asarray(log_densities, float)
    w = _weights(log_densities, weights)
    shape = (-1,) + (1,) * (log_densities.ndim - 1)
    return scipy.special.logsumexp(log_densities, axis=0, b=w.reshape(shape))


def pit(
    draws: np.ndarray,
    observed: np.ndarray,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """P(x < y) + u P(x = y) under the draws, u uniform: uniform itself where they are right.

    The probability integral transform (Dawid 1984), randomised by `rng` for ties as of counts
    (Czado et al. 2009, Biometrics 65, 1254), shape (…). Draws, of shape (N, …), that are NaN are
    left out; NaN where all are.
    """
    draws, observed = np.asarray(draws, float), np.asarray(observed, float)
    w = _weights(draws, weights)
    below = np.tensordot(w, draws < observed[None], axes=1)
    tied = np.tensordot(w, draws == observed[None], axes=1)
    share = np.tensordot(w, ~np.isnan(draws), axes=1)
    share = np.where(share > 0, share, np.nan)
    return (below + rng.uniform(size=observed.shape) * tied) / share


def ranks(draws: np.ndarray, observed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Number of draws below y, 0 to N, ties broken at random; uniform where draws are right.

    Draws of shape (N, …) that are NaN are left out: with M others and the rank r among them it is
    ⌊(N + 1)(r + u)/(M + 1)⌋, u uniform, so that ranks of different M are of one distribution.

    Raises:
        ValueError: values all of whose draws are NaN, which have no rank.
    """
    draws, observed = np.asarray(draws), np.asarray(observed)
    known = np.sum(~np.isnan(draws), axis=0)
    if absent := int(np.sum(known == 0)):
        raise ValueError(
            f"ranks: {absent} of {known.size} values have no draw that is not NaN, and no rank; "
            "leave them out"
        )
    tied = np.sum(draws == observed[None], axis=0)
    rank = np.sum(draws < observed[None], axis=0) + rng.integers(0, tied + 1)
    if np.all(known == len(draws)):
        return rank
    spread = (rank + rng.uniform(size=rank.shape)) / (known + 1)
    return np.where(known == len(draws), rank, np.floor((len(draws) + 1) * spread)).astype(int)


class Agreement(NamedTuple):
    """How well what is predicted of several readings, ŷ, agrees with them, y.

    NaN where it is not defined: correlation and efficiencies of readings that are all the same,
    or of fewer than two.

    Args:
        number: of the readings.
        bias: mean of ŷ - y, in the unit of the readings.
        rmse: √ mean (ŷ - y)², likewise.
        correlation: r, of ŷ and y.
        nash_sutcliffe: 1 - Σ(ŷ - y)²/Σ(y - ȳ)²: 1 at best, 0 where the mean of the readings does
            as well (Nash & Sutcliffe 1970, J. Hydrol. 10, 282).
        kling_gupta: 1 - √((r - 1)² + (σ_ŷ/σ_y - 1)² + (μ_ŷ/μ_y - 1)²), for quantities with a
            natural zero (Gupta et al. 2009, J. Hydrol. 377, 80, equations 9 and 10).
    """

    number: int
    bias: float
    rmse: float
    correlation: float
    nash_sutcliffe: float
    kling_gupta: float


def agreement(predicted: np.ndarray, observed: np.ndarray) -> Agreement:
    """How well predictions agree with readings, both of shape (m,) and finite."""
    predicted, observed = np.asarray(predicted, float), np.asarray(observed, float)
    away = predicted - observed
    mean = lambda values: float(np.mean(values)) if values.size else math.nan  # noqa: E731
    bias, square = mean(away), mean(away**2)
    mean_y, stdev_y, stdev = mean(observed), _deviation(observed), _deviation(predicted)
    product = mean((predicted - mean(predicted)) * (observed - mean_y))
    correlation = product / (stdev * stdev_y) if stdev > 0 and stdev_y > 0 else math.nan
    varied = stdev_y > 0
    efficiency = 1 - square / stdev_y**2 if varied else math.nan
    terms = (correlation - 1, stdev / stdev_y - 1, bias / mean_y) if varied and mean_y else ()
    kling_gupta = 1 - math.hypot(*terms) if terms else math.nan
    return Agreement(away.size, bias, math.sqrt(square), correlation, efficiency, kling_gupta)


def _deviation(values: np.ndarray) -> float:
    """Standard deviation; 0 where all are the same but for rounding, or of fewer than two."""
    if values.size < 2:
        return 0.0
    stdev = float(np.std(values))
    return stdev if stdev > 1e-14 * float(np.max(np.abs(values))) else 0.0


class ReadingScores(NamedTuple):
    """Readings against their predictive draws, errors included, each of shape (m,).

    Args:
        low: lower end of the central interval.
        median: of the draws.
        high: upper end.
        crps: fair score of the draws against y.
        log_score: log Σ p(y | x_i)/M, in nats; NaN where no densities are given.
    """

    low: np.ndarray
    median: np.ndarray
    high: np.ndarray
    crps: np.ndarray
    log_score: np.ndarray


def compared(
    draws: np.ndarray,
    observed: np.ndarray,
    level: float,
    log_densities: np.ndarray | None = None,
) -> ReadingScores:
    """What finite draws of equal weight predict of every reading, and how that scores.

    Args:
        draws: shape (M, m), M at least 1.
        observed: y, shape (m,).
        level: probability of the interval.
        log_densities: log p(y_j | x_i), shape (M, m); None where errors are correlated.
    """
    low, high = quantile_interval(draws, level)
    unknown = np.full(np.shape(observed), np.nan)
    return ReadingScores(
        low,
        np.median(draws, axis=0),
        high,
        crps(draws, observed, fair=True),
        unknown if log_densities is None else log_score(log_densities),
    )


@dataclass(frozen=True)
class Coverage:
    """How many observations lie within a central interval of their prediction.

    Args:
        level: probability of the interval.
        covered: share of the observations within it.
        low: of the share, below which it falls with probability ½ % at most.
        high: the same above, for independent observations and an interval that is right.
        number: of observations.
    """

    level: float
    covered: float
    low: float
    high: float
    number: int

    def right(self) -> bool:
        """Whether the share is within its band of 99 per cent."""
        return self.low <= self.covered <= self.high


def coverage(
    draws: np.ndarray,
    observed: np.ndarray,
    levels: tuple[float, ...] = (0.5, 0.9),
    weights: np.ndarray | None = None,
) -> tuple[Coverage, ...]:
    """Share of the observations within central intervals of predictive draws.

    The band is that of a binomial number: errors common to several observations, such as a wrong
    parameter, widen it. Draws have the shape (N, …), their weights (N,), and observations (…).
    """
    draws, observed = np.asarray(draws, float), np.asarray(observed, float)
    ends = [quantile_interval(draws, level, weights) for level in levels]
    inside = [(low <= observed) & (observed <= high) for low, high in ends]
    return tuple(covered(i.ravel(), level) for i, level in zip(inside, levels, strict=True))


def covered(inside: np.ndarray, level: float) -> Coverage:
    """The share of booleans that are true, with its binomial band of 99 per cent."""
    number = inside.size
    low, high = binomial_interval(number, level, 0.99)
    share = float(np.mean(inside)) if number else float("nan")
    return Coverage(level, share, low / max(number, 1), high / max(number, 1), number)


def quantile_interval(
    draws: np.ndarray, level: float, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """x_(k) and x_(N+1-k) of sorted draws, k = (1 - level)(N + 1)/2, each of shape (…).

    Another draw falls between them with just this probability. Where k is not whole, or weights
    differ, ends are interpolated, with x_(k) at the cumulative weight less half its own and
    N = 1/Σ w².
    """
    w = _weights(draws, weights)
    effective = 1 / np.sum(w**2)
    tail = max(((1 - level) / 2 * (effective + 1) - 0.5) / effective, 0.0)
    low, high = weighted_quantiles(draws, w, (tail, 1 - tail))
    return low, high


@dataclass(frozen=True)
class LeaveOneOut:
    """Expected log predictive density of each reading given all others.

    Args:
        elpd: Σ of `pointwise`, in nats.
        stderr: its standard error over the readings; NaN where one of them is not finite, or there
            is one alone.
        pointwise: log p(y_i | all other y), shape (m,).
        k_hat: Pareto shape of the weights that leave each reading out; above 0.7 the estimate of
            that reading is not to be trusted.
    """

    elpd: float
    stderr: float
    pointwise: np.ndarray
    k_hat: np.ndarray


def leave_one_out(log_densities: np.ndarray) -> LeaveOneOut:
    """PSIS-LOO: log Σ w p(y_i | χ) with smoothed weights w ∝ 1/p(y_i | χ) (Vehtari et al. 2017).

    Statistics and Computing 27, 1413. For readings whose errors are independent given χ. A draw at
    which p(y_i | χ) = 0 has all the weight: -∞ with k̂ = ∞. Draws that are NaN are left out, and so
    are readings all of whose draws are, as of those that do not count: NaN in both rows.

    Args:
        log_densities: log p(y_i | χ) for posterior draws of equal weight, shape (N, m).
    """
    log_densities = np.asarray(log_densities, float)
    each = [_left_out(column[~np.isnan(column)]) for column in log_densities.T]
    pointwise, k_hat = np.array(each).reshape(-1, 2).T
    known = pointwise[~np.isnan(pointwise)]
    elpd = float(np.sum(known)) if known.size else math.nan
    return LeaveOneOut(elpd, _stderr(known), pointwise, k_hat)


def _left_out(log_densities: np.ndarray) -> tuple[float, float]:
    """Log p(y_i | others) and k̂ of one reading."""
    if log_densities.size == 0:
        return math.nan, math.nan
    if np.min(log_densities) == -np.inf:
        return -float("inf"), float("inf")
    smoothed = pareto_smooth(-log_densities)
    return float(scipy.special.logsumexp(log_densities, b=smoothed.weights)), smoothed.k_hat


def _stderr(pointwise: np.ndarray) -> float:
    if not np.all(np.isfinite(pointwise)) or pointwise.size < 2:
        return float("nan")
    return float(np.sqrt(pointwise.size * np.var(pointwise, ddof=1)))


def _weights(draws: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    number = len(draws)
    return np.full(number, 1 / number) if weights is None else np.asarray(weights, float)
