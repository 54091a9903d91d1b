"""Whether chains have converged: R̂, effective draws, and errors of moments and quantiles."""

from typing import NamedTuple

import numpy as np
import scipy  # its parts are imported when first used

from assim.statistics.pareto import tail_shape
from assim.statistics.weighted import LEVELS

NUMBERS = 4_000_000  # entries of draws whose autocovariances are formed together
CHANCE = 0.01  # that means of independent half chains raise an error, over all columns
FEW_DRAWS = 0.35  # k̂ above which a variance is ruled by few draws: k̂ of squares is above 0.7
TOGETHER = 32  # half chains between which R̂ is formed, about, where there are more
HEAVIER = 4.0  # kurtosis from which a tail is looked at
_Pair = tuple[np.ndarray, np.ndarray]


class Convergence(NamedTuple):
    """What chains say about every column, shape (n,) each.

    Args:
        r_hat: rank-normalised split R̂, the larger one of v and of |v - median|.
        bulk: effective number of draws of the ranks of v.
        tail: the smaller one of those of v ≤ its 5 and its 95 % quantile.
        mean: standard error of the mean, in standard deviations.
        stdev: standard error of the standard deviation, relative.
        quantile: the largest of those of the 5, 50 and 95 % quantiles, in widths of the 90 %
            interval.
        tail_shape: k̂ of the heavier tail, 0 where the kurtosis is below 4.
    """

    r_hat: np.ndarray
    bulk: np.ndarray
    tail: np.ndarray
    mean: np.ndarray
    stdev: np.ndarray
    quantile: np.ndarray
    tail_shape: np.ndarray

    def heavy(self) -> np.ndarray:
        """Where mean and standard deviation are ruled by few draws, so that neither is known."""
        heavy: np.ndarray = self.tail_shape > FEW_DRAWS
        return heavy

    def reached(self) -> np.ndarray:
        """Accuracy ε of every column, shape (n,).

        The standard deviation is known to ε, the mean to 2ε standard deviations, quantiles to ε of
        the 90 % interval's width, and bulk draws are worth 1/(2ε²), which Gaussian ones need for
        that. Where a tail is heavy, quantiles and draws alone count.
        """
        with np.errstate(divide="ignore"):
            bulk = 1 / np.sqrt(2 * self.bulk)
        moments = np.where(self.heavy(), 0.0, np.maximum(self.stdev, self.mean / 2))
        reached: np.ndarray = np.maximum(np.maximum(moments, self.quantile), bulk)
        return reached

    def accuracy(self) -> float:
        """The largest of all columns."""
        return float(np.max(self.reached()))


def carried_on(values: np.ndarray) -> np.ndarray:
    """Columns of (draws, chains, k) in which what is not finite is as the chain's draw before.

    What has no finite draw before is as the first after. Columns with no finite draw are left out;
    a chain with none stands at the largest of the others, which R̂ sees.
    """
    finite = np.isfinite(values)
    if finite.all():
        return values
    known = finite.any((0, 1))
    values, finite = values[..., known], finite[..., known]
    draw = np.arange(len(values))[:, None, None]
    before = np.maximum.accumulate(np.where(finite, draw, -1), axis=0)
    row = np.where(before < 0, np.argmax(finite, axis=0)[None], before)
    largest = np.max(values, axis=(0, 1), where=finite, initial=-np.inf)
    return np.where(finite.any(0)[None], np.take_along_axis(values, row, axis=0), largest)


def convergence(draws: np.ndarray) -> Convergence:
    """Convergence of chains of shape (chains, draws, n), column by column.

    Rank normalisation, bulk and tail effective sizes and errors of quantiles are those of Vehtari,
    Gelman, Simpson, Carpenter & Bürkner (2021, Bayesian Analysis 16, 667, sections 4.1 to 4.3).
    With N_v and N_v² effective draws and the kurtosis κ, the mean is known to 1/√N_v standard
    deviations and the standard deviation, by the delta method, to ½ √((κ - 1)/N_v²) of itself.
    Where means of half chains scatter by more than these errors and chance allow, the errors are
    raised to their scatter, lest autocorrelations that look short by luck be believed.
    """
    chains, number, n = draws.shape
    width = max(1, NUMBERS // (chains * number))
    parts = [_of_some(draws[:, :, k : k + width], n) for k in range(0, n, width)]
    return Convergence(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _of_some(draws: np.ndarray, together: int) -> Convergence:
    stuck = draws.max((0, 1)) == draws.min((0, 1))
    scale = np.where(stuck, 1.0, draws.std((0, 1)))
    v = np.where(stuck, 0.0, (draws - draws.mean((0, 1))) / scale)
    order = np.sort(v.reshape(-1, v.shape[-1]), axis=0)
    ranks = rank_normalised(v)
    folded = rank_normalised(np.abs(v - np.median(order, axis=0)))
    excess = np.where(stuck, 1.0, np.mean(v**4, (0, 1)) - 1)
    of_stdev = np.sqrt(np.maximum(excess, 0.0)) / 2 * _error(v**2, together)
    sizes, errors = zip(*(_quantile(v, order, level, together) for level in LEVELS), strict=True)
    width = np.maximum(_at(order, LEVELS[-1]) - _at(order, LEVELS[0]), 1e-300)
    heavy = np.flatnonzero(~stuck & (excess + 1 > HEAVIER))
    shapes = np.zeros(stuck.size)
    shapes[heavy] = [tail_shape(order[:, k]) for k in heavy]
    return Convergence(
        np.maximum(split_r_hat(ranks), split_r_hat(folded)),
        1 / _error(ranks, together) ** 2,
        np.minimum(sizes[0], sizes[-1]),
        _error(v, together),
        np.where(stuck, np.inf, of_stdev),
        np.where(stuck, np.inf, np.max(errors, axis=0) / width),
        shapes,
    )


def rank_normalised(draws: np.ndarray) -> np.ndarray:
    """Φ⁻¹((r - 3/8)/(N + 1/4)) of the ranks r among all N draws of a column; ties share theirs."""
    flat = draws.reshape(-1, draws.shape[-1])
    ranks = scipy.stats.rankdata(flat, axis=0)
    scores: np.ndarray = scipy.special.ndtri((ranks - 0.375) / (len(flat) + 0.25))
    return scores.reshape(draws.shape)


def _error(values: np.ndarray, together: int) -> np.ndarray:
    """Standard error of the mean in standard deviations, by autocorrelation and by half chains."""
    halves = _split(values)
    stdev = values.std((0, 1))
    with np.errstate(divide="ignore"):
        error = 1 / np.sqrt(effective_draws(values))
    scatter = halves.mean(1).std(0, ddof=1) / np.sqrt(len(halves))
    freedom = len(halves) - 1
    chance = np.sqrt(scipy.stats.chi2.isf(CHANCE / together, freedom) / freedom)
    scatter = np.divide(scatter, stdev, out=np.zeros_like(scatter), where=stdev > 0)
    return np.maximum(error, scatter / chance)


def _quantile(v: np.ndarray, order: np.ndarray, level: float, together: int) -> _Pair:
    """Effective number of draws of v ≤ its quantile, and the quantile's standard error.

    Half the distance of the quantiles between which the true one lies with the probability of one
    standard error, by the Beta distribution of so many draws.
    """
    below = (v <= _at(order, level)).astype(float)
    with np.errstate(divide="ignore"):
        size = 1 / _error(below, together) ** 2
    worth = np.clip(size, 1e-6, None)
    ends = scipy.special.ndtr([-1.0, 1.0])
    low, high = (
        _at(order, scipy.special.betaincinv(worth * level + 1, worth * (1 - level) + 1, end))
        for end in ends
    )
    return size, (high - low) / 2


def _at(order: np.ndarray, level: float | np.ndarray) -> np.ndarray:
    """Quantile of sorted columns of shape (N, n), a level for all or for each."""
    place = np.clip(np.asarray(level) * len(order) - 0.5, 0, len(order) - 1)
    place = np.broadcast_to(place, order.shape[1:])
    low = np.floor(place).astype(int)
    high, column = np.minimum(low + 1, len(order) - 1), np.arange(order.shape[1])
    between: np.ndarray = (1 - place + low) * order[low, column] + (place - low) * order[
        high, column
    ]
    return between


def split_r_hat(draws: np.ndarray) -> np.ndarray:
    """R̂ = √((N - 1)/N + B/(N W)) of half chains, N draws each, shape (n,).

    Of chains of shape (chains, draws, n), W is the mean of their variances, B/N the variance of
    their means (Gelman et al. 2013, Bayesian Data Analysis, 3rd edition, section 11.4). ∞ where
    nothing moves. Where there are many, neighbours count as one chain (Margossian et al. 2024,
    arXiv:2110.13017): means of few draws would scatter however well they are mixed.
    """
    halves = _joined(_split(draws))
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


def energy_fraction(energy: np.ndarray) -> float:
    """E-BFMI, Σ (E_t - E_t-1)² / Σ (E_t - mean E)², the smallest of all chains; NaN for none.

    Of the energies -log p + |momentum|²/2 at the start of each trajectory, shape (chains, draws):
    below 0.3 momenta drawn anew hardly change the energy, so that tails are reached slowly
    (Betancourt 2016, arXiv:1604.00695).
    """
    spread = np.sum((energy - energy.mean(1, keepdims=True)) ** 2, axis=1)
    steps = np.sum(np.diff(energy, axis=1) ** 2, axis=1)
    return float(
        np.min(np.divide(steps, spread, out=np.full_like(steps, np.nan), where=spread > 0))
    )


def _split(draws: np.ndarray) -> np.ndarray:
    """Halves of chains as chains; of an odd number of draws the first is left out."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, -2 * half : -half], draws[:, -half:]])


def _joined(halves: np.ndarray) -> np.ndarray:
    """At most `TOGETHER` chains, each of neighbours one after the other."""
    chains, number, n = halves.shape
    size = max(1, chains // TOGETHER)
    return halves[: chains // size * size].reshape(chains // size, size * number, n)


def _autocovariance(draws: np.ndarray) -> _Pair:
    """Autocovariance at every lag, shape (draws, n), the mean over chains, and the variance."""
    number = draws.shape[1]
    centred = draws - draws.mean(1, keepdims=True)
    length = scipy.fft.next_fast_len(2 * number, real=True)
    spectrum = np.abs(scipy.fft.rfft(centred, length, axis=1)) ** 2
    covariance = scipy.fft.irfft(spectrum.mean(0), length, axis=0)[:number] / number
    return covariance, covariance[0]
