"""How well moments of draws are known, and how well they must be to be published."""

from typing import NamedTuple

import numpy as np

from assim.statistics.weighted import in_pairs

ACCURATE, CENTRED = 0.015, 0.03  # errors of standard deviations and of means, at most
ROUNDING = 1e-7  # relative; what varies less is constant
SURER, MOST_AGAIN = 1.2, 4  # times as many draws where too few were made at first, at most


class Errors(NamedTuple):
    """Monte Carlo errors of moments, the largest of several.

    Args:
        mean: of a mean, in standard deviations.
        stdev: of a standard deviation, relative.
        quantile: of the 5, 50 and 95 % quantiles, in widths of the 90 % interval.
    """

    mean: float
    stdev: float
    quantile: float = 0.0

    def measured(self) -> bool:
        """Whether they are numbers at all."""
        return not np.isnan(sum(self))

    def scaled(self, factor: float) -> "Errors":
        """All of them so many times as large."""
        return Errors(*(factor * error for error in self))

    def excess(self) -> float:
        """How many times as large as may be; 1 or less is small enough, NaN counts as ∞."""
        excess = max(self.mean / CENTRED, self.stdev / ACCURATE, self.quantile / ACCURATE)
        return excess if np.isfinite(sum(self)) else np.inf

    def words(self) -> str:
        """The numbers in words, rounded up."""
        moments = (
            f"standard deviations within {_up(100 * self.stdev, 1)} % and means within "
            f"{_up(self.mean, 3)} of one"
        )
        quantiles = f"quantiles within {_up(100 * self.quantile, 1)} % of their interval"
        said = [moments] if self.mean or self.stdev or not self.quantile else []
        return ", ".join([*said, quantiles] if self.quantile else said)

    def moves(self) -> str:
        """The same numbers as differences, in words, rounded up."""
        quantiles = f", quantiles by {_up(100 * self.quantile, 1)} % of their interval"
        return (
            f"standard deviations by {_up(100 * self.stdev, 1)} %, means by {_up(self.mean, 3)} of "
            f"one{quantiles if self.quantile else ''}"
        )

    def beyond(self) -> list[str]:
        """Those that are larger than may be, in words."""
        named = (
            (f"standard deviations are known within {100 * self.stdev:.2f} %", self.stdev),
            (f"quantiles are known within {100 * self.quantile:.2f} %", self.quantile),
        )
        too_large = [
            f"{words}, not {100 * ACCURATE:.1f} %"
            for words, error in named
            if not error <= ACCURATE
        ]
        if not self.mean <= CENTRED:
            too_large.append(f"means are known within {self.mean:.3f}, not {CENTRED}")
        return too_large


def _up(error: float, digits: int) -> str:
    """An error that is not 0 never reads as 0, and none as -0."""
    return f"{np.ceil(error * 10**digits - 1e-9) / 10**digits + 0.0:.{digits}f}"


def more_draws(number: int, errors: Errors) -> int:
    """How many draws are likely to do where so many have these errors; at most four times them."""
    return int(number * min(max(SURER * errors.excess() ** 2, 1.0), MOST_AGAIN))


def errors_of_weighted(
    values: np.ndarray, weights: np.ndarray, paired: bool = False, against: bool = False
) -> Errors:
    """Standard errors of moments of draws (N, r) with weights (N,) of sum one, by the delta method.

        e_m² = Σ (w (a - m))² / v        e_s² = Σ (w ((a - m)² - v))² / (2v)²

    Antithetic draws, of which the second half mirrors the first, are one draw where squares are
    meant: their terms are added before they are squared. Where moments are measured against those
    of the same draws under N(0, 1), which are known, a/N and (a² - 1)/N are taken from the terms.
    """
    if not np.sum(weights) > 0:
        return Errors(np.inf, np.inf)
    mean = weights @ values
    variance = weights @ (values - mean) ** 2
    values, mean = values[:, variance > 0], mean[variance > 0]
    variance = variance[variance > 0]
    if not variance.size:
        return Errors(0.0, 0.0)
    first = weights[:, None] * (values - mean)
    second = weights[:, None] * ((values - mean) ** 2 - variance)
    if against:
        first, second = first - values / len(values), second - (values**2 - 1) / len(values)
    if paired:
        first, second = in_pairs(first), in_pairs(second)
    e_mean = np.sqrt(np.sum(first**2, axis=0) / variance)
    e_stdev = np.sqrt(np.sum(second**2, axis=0)) / (2 * variance)
    return Errors(float(np.max(e_mean)), float(np.max(e_stdev)))


def apart(
    values: np.ndarray, weights: np.ndarray, others: np.ndarray, of_others: np.ndarray
) -> Errors:
    """How far moments of draws are from those of others, the largest of columns that vary.

        |m - m′| / s′        |s / s′ - 1|

    Of draws of shape (N, r) and (M, r) with weights of sum one; values that are not finite are left
    out, and so are columns without others.
    """
    (mean, stdev), (right, spread) = _moments(values, weights), _moments(others, of_others)
    moves = np.maximum(stdev, spread) > 1e3 * np.finfo(float).eps * np.abs(right)
    with np.errstate(divide="ignore"):
        of_mean = np.abs(mean - right)[moves] / spread[moves]
        of_stdev = np.abs(stdev[moves] / spread[moves] - 1)
    return Errors(*(float(np.max(away, initial=0.0)) for away in (of_mean, of_stdev)))


def _moments(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column by its finite values; NaN where there are none."""
    finite = np.isfinite(values)
    mass = weights @ finite
    mass = np.where(mass > 0, mass, np.nan)
    mean = weights @ np.where(finite, values, 0.0) / mass
    away = np.where(finite, values - mean, 0.0)
    return mean, np.sqrt(weights @ away**2 / mass)


class Moments(NamedTuple):
    """Mean and variance, and how well they are known."""

    mean: float
    variance: float
    errors: Errors


def controlled_moments(
    values: np.ndarray, weights: np.ndarray, known: tuple[float, float]
) -> Moments:
    """Of antithetic draws f (N,) with weights, E f and E f² of unweighted ones being known.

        E f ≈ Σ w f - b·c        E f² ≈ Σ w f² - β·c        c = Σ (f, f²)/N - known

    with b and β of least error (control variates: Owen 2013, Monte Carlo theory, methods and
    examples, section 8.9). Where weights are equal both are exact to rounding.
    """
    plain = np.full(values.size, 1 / values.size)
    powers, mass = (values, values**2), in_pairs(weights)
    controls = np.stack([in_pairs(plain * f) for f in powers], axis=1)
    sizes = np.stack([in_pairs(plain * np.abs(f)) for f in powers], axis=1)
    columns = controls - controls.mean(axis=0)
    varies = np.linalg.norm(columns, axis=0) > ROUNDING * np.linalg.norm(sizes, axis=0)
    away = (controls.sum(axis=0) - known)[varies]
    moments, rests = [], []
    for f in powers:
        terms = in_pairs(weights * f)
        influence = terms - terms.sum() * mass
        coefficients, rest = _regressed(columns[:, varies], influence)
        moments.append(float(terms.sum() - coefficients @ away))
        rests.append(rest)
    mean, variance = moments[0], moments[1] - moments[0] ** 2
    if not variance > 0:
        return Moments(mean, 0.0, Errors(0.0, 0.0 if not np.any(values) else np.inf))
    of_mean, of_variance = np.linalg.norm(rests[0]), np.linalg.norm(rests[1] - 2 * mean * rests[0])
    errors = Errors(float(of_mean / variance**0.5), float(of_variance / (2 * variance)))
    return Moments(mean, variance, errors)


def _regressed(columns: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of least squares, and what they leave of each value where it is left out.

    The latter is larger by 1/(1 - h), h its leverage (MacKinnon & White 1985, J. Econom. 29, 305):
    a draw far out is fitted too well.
    """
    scale = np.linalg.norm(columns, axis=0)
    left, singular, right = np.linalg.svd(columns / scale, full_matrices=False)
    kept = singular > 1e-10 * np.max(singular, initial=0.0)
    left, inverse = left[:, kept], right[kept].T / singular[kept]
    coefficients = inverse @ (left.T @ values) / scale
    rest = values - left @ (left.T @ values)
    return coefficients, rest / np.maximum(1 - np.sum(left**2, axis=1), 0.1)
