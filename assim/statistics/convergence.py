"""Whether chains have converged: split R̂, effective sample sizes, and errors of means and sds."""

from typing import NamedTuple

import numpy as np
import scipy  # its parts are imported when first used

NUMBERS = 4_000_000  # entries of draws whose autocovariances are formed together
_Pair = tuple[np.ndarray, np.ndarray]


class Convergence(NamedTuple):
    """What chains say about every coordinate, shape (n,) each.

    Args:
        r_hat: split R̂, the larger one of v and of (v - mean)².
        effective: effective number of draws of v.
        effective_squared: the same of (v - mean)².
        mean: standard error of the mean, in standard deviations.
        stdev: standard error of the standard deviation, relative.
    """

    r_hat: np.ndarray
    effective: np.ndarray
    effective_squared: np.ndarray
    mean: np.ndarray
    stdev: np.ndarray

    def accuracy(self) -> float:
        """The largest of all standard errors."""
        return float(max(np.max(self.mean), np.max(self.stdev)))


def convergence(draws: np.ndarray) -> Convergence:
    """Convergence of chains of shape (chains, draws, n), coordinate by coordinate.

    With N_v and N_v² effective draws and the kurtosis κ, the mean is known to 1/√N_v standard
    deviations and the standard deviation, by the delta method, to ½ √((κ - 1)/N_v²) of itself.
    """
    chains, number, n = draws.shape
    width = max(1, NUMBERS // (chains * number))
    parts = [_of_some(draws[:, :, k : k + width]) for k in range(0, n, width)]
    return Convergence(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _of_some(draws: np.ndarray) -> Convergence:
    mean, stdev = draws.mean((0, 1)), draws.std((0, 1))
    stuck = draws.max((0, 1)) == draws.min((0, 1))
    v = np.where(stuck, 0.0, (draws - mean) / np.where(stuck, 1.0, stdev))
    squared = v**2
    effective, of_square = effective_draws(v), effective_draws(squared)
    excess = np.where(stuck, 1.0, np.mean(squared**2, (0, 1)) - 1)
    with np.errstate(divide="ignore"):
        of_mean = 1 / np.sqrt(effective)
        of_stdev = np.sqrt(np.maximum(excess, 0.0) / of_square) / 2
    r_hat = np.maximum(split_r_hat(v), split_r_hat(squared))
    return Convergence(r_hat, effective, of_square, of_mean, of_stdev)


def split_r_hat(draws: np.ndarray) -> np.ndarray:
    """R̂ = √((N - 1)/N + B/(N W)) of half chains, N draws each, shape (n,).

    Of chains of shape (chains, draws, n), W is the mean of their variances, B/N the variance of
    their means (Gelman et al. 2013, Bayesian Data Analysis, 3rd edition, section 11.4). ∞ where
    nothing moves.
    """
    halves = _split(draws)
    number = halves.shape[1]
    within = halves.var(1, ddof=1).mean(0)
    between = halves.mean(1).var(0, ddof=1)
    ratio = np.divide(between, within, out=np.full_like(within, np.inf), where=within > 0)
    return np.sqrt((number - 1) / number + ratio)


def effective_draws(draws: np.ndarray) -> np.ndarray:
    """Number of independent draws whose mean is as accurate, shape (n,); 0 where nothing moves.

    N/τ with τ = -1 + 2 Σ P_k, P_k = ρ_2k + ρ_2k+1 cut where it turns negative and made to fall
    (Geyer 1992, Statistical Science 7, 473, section 3.3), ρ from all half chains, of shape (chains,
    draws, n), together as in Vehtari et al. (2021, Bayesian Analysis 16, 667, section 3.2), at most
    N log₁₀ N.
    """
    halves = _split(draws)
    chains, number, _ = halves.shape
    total = chains * number
    covariance, variance = _autocovariance(halves)
    within = variance * number / (number - 1)
    pooled = variance + (halves.mean(1).var(0, ddof=1) if chains > 1 else 0.0)
    moving = within > 0
    rho = 1 - (within - covariance) / np.where(moving, pooled, 1.0)
    rho[0] = 1.0
    even = number - number % 2
    pairs = rho[0:even:2] + rho[1:even:2]
    kept = np.logical_and.accumulate(pairs > 0, axis=0)
    falling = np.minimum.accumulate(np.where(kept, pairs, 0.0), axis=0)
    tau = np.maximum(-1 + 2 * falling.sum(0), 1 / np.log10(total))
    return np.where(moving, total / tau, 0.0)


def _split(draws: np.ndarray) -> np.ndarray:
    """Halves of chains as chains; of an odd number of draws the first is left out."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, -2 * half : -half], draws[:, -half:]])


def _autocovariance(draws: np.ndarray) -> _Pair:
    """Autocovariance at every lag, shape (draws, n), the mean over chains, and the variance."""
    number = draws.shape[1]
    centred = draws - draws.mean(1, keepdims=True)
    length = scipy.fft.next_fast_len(2 * number, real=True)
    spectrum = np.abs(scipy.fft.rfft(centred, length, axis=1)) ** 2
    covariance = scipy.fft.irfft(spectrum.mean(0), length, axis=0)[:number] / number
    return covariance, covariance[0]
