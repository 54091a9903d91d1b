"""Whether ranks are uniform: χ² test, binomial bands, and simultaneous bands of the ECDF."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy  # its parts are imported when first used

SIMULATED = 4000  # samples from which the simultaneous level is found
SAME = 1e-12  # difference below which two tail probabilities are equal but for rounding


def binomial_interval(number: int, p: float, level: float) -> tuple[int, int]:
    """Smallest and largest counts of Binomial(N, p) that leave (1 - level)/2 at most a side."""
    cumulative = scipy.special.bdtr(np.arange(number + 1.0), number, p)
    tail = (1 - level) / 2
    low = int(np.searchsorted(cumulative, tail + SAME, side="right"))
    high = int(np.searchsorted(cumulative, 1 - tail - SAME, side="left"))
    return min(low, number), min(high, number)


def rank_histogram(ranks: np.ndarray, draws: int, bins: int) -> np.ndarray:
    """Number of ranks 0, …, `draws` in each of `bins` bins of equal width, which divide them."""
    return np.bincount(np.asarray(ranks) * bins // (draws + 1), minlength=bins)


def choose_bins(draws: int, number: int, most: int = 20) -> int:
    """The most bins that divide `draws` + 1 ranks equally, ten ranks a bin or more; at least 2.

    Raises:
        ValueError: a prime number of ranks, which no bins divide.
    """
    possible = [b for b in range(2, most + 1) if (draws + 1) % b == 0]
    if not possible:
        raise ValueError(f"{draws} draws have {draws + 1} ranks, which no bins divide; take 99")
    return max((b for b in possible if number >= 10 * b), default=possible[0])


def chi_squared_uniform(counts: np.ndarray) -> float:
    """P(χ²_(B-1) ≥ Σ (n_b - N/B)²/(N/B)), Pearson's test that counts come from equal bins."""
    expected = np.sum(counts) / counts.size
    return float(scipy.special.chdtrc(counts.size - 1, np.sum((counts - expected) ** 2) / expected))


@dataclass(frozen=True)
class Band:
    """Simultaneous band of the distribution function of N ranks.

    Args:
        at: share of the ranks counted, k/(L + 1), shape (K,): the expected value.
        low: of the share of ranks below, shape (K,).
        high: the same above.
        level: probability that uniform ranks stay within it everywhere.
    """

    at: np.ndarray
    low: np.ndarray
    high: np.ndarray
    level: float


def ecdf(ranks: np.ndarray, draws: int) -> np.ndarray:
    """Share of the ranks below k, k = 1, …, L; expected k/(L + 1)."""
    counts = np.bincount(np.asarray(ranks), minlength=draws + 1)
    return np.cumsum(counts)[:-1] / max(len(ranks), 1)


def ecdf_band(number: int, draws: int, level: float = 0.95, seed: int = 0) -> Band:
    """Binomial intervals of one pointwise level, together of this level (Säilynoja et al. 2022).

    Statistics and Computing 32, 32, section 2.2: the pointwise level is a quantile, over simulated
    uniform ranks, of the smallest pointwise tail probability met anywhere. For N ranks 0, …,
    `draws`.
    """
    at = np.arange(1, draws + 1) / (draws + 1)
    least = _simulated(number, draws, seed, SIMULATED)
    pointwise = float(np.clip(1 - np.quantile(least, 1 - level), 0.0, 1.0))
    ends = np.array([binomial_interval(number, p, pointwise) for p in at]) / max(number, 1)
    return Band(at, ends[:, 0], ends[:, 1], level)


def ecdf_p_value(ranks: np.ndarray, draws: int, seed: int = 0, samples: int = SIMULATED) -> float:
    """Probability that uniform ranks stray as far from their distribution function somewhere.

    It goes with the band: below 5 per cent where they leave that of 95 per cent. It is simulated,
    and not smaller than 1/(1 + samples).
    """
    number = len(ranks)
    mine = _least_tail(np.asarray(ranks), draws, _tables(number, draws))
    simulated = _simulated(number, draws, seed, samples)
    return float((1 + np.sum(simulated <= mine + SAME)) / (1 + samples))


@lru_cache(maxsize=2)
def _simulated(number: int, draws: int, seed: int, samples: int) -> np.ndarray:
    """Smallest pointwise tail probability of each of many samples of uniform ranks."""
    tables, rng = _tables(number, draws), np.random.default_rng(seed)
    several = (rng.integers(0, draws + 1, number) for _ in range(samples))
    return np.array([_least_tail(ranks, draws, tables) for ranks in several])


@lru_cache(maxsize=2)
def _tables(number: int, draws: int) -> np.ndarray:
    """P(Binomial(N, k/(L + 1)) ≤ n) for k = 1, …, L and n = 0, …, N."""
    at = np.arange(1, draws + 1) / (draws + 1)
    return scipy.special.bdtr(np.arange(number + 1.0), number, at[:, None])


def _least_tail(ranks: np.ndarray, draws: int, tables: np.ndarray) -> float:
    below = np.cumsum(np.bincount(ranks, minlength=draws + 1))[:-1]
    places = np.arange(draws)
    upto = tables[places, below]
    onwards = 1 - np.where(below > 0, tables[places, below - 1], 0.0)
    return float(2 * np.min(np.minimum(upto, onwards)))


def within(share: np.ndarray, band: Band) -> bool:
    """Whether a distribution function stays within a band everywhere."""
    return bool(np.all((band.low <= share) & (share <= band.high)))
