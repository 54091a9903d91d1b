"""Pareto-smoothed importance sampling: how far a proposal may be trusted."""

from typing import NamedTuple

import numpy as np

TRUSTED_K_HAT = 0.5  # below it, with enough effective draws, weighted draws may be published
USABLE_K_HAT = 0.7  # from it on the mean weight says nothing (Vehtari et al. 2024, section 3.2)
PRIOR_DRAWS = 10  # that the prior of k, whose mean is 1/2, is worth
_ROUNDING = 5e3  # of the weights' type: 1e-12 in double precision
FEWEST_TRUSTED = 400  # effective draws below which what they say of themselves is luck


class Tail(NamedTuple):
    """Shape of a generalised Pareto tail of draws, and how well it is known.

    Args:
        k_hat: the shape.
        error: its standard error, max(1 + k, ½)/√n of n draws (Smith 1987, Ann. Stat. 15, 1174),
            less as the prior of k holds it: times n/(n + 10).
    """

    k_hat: float
    error: float = 0.0

    def __str__(self) -> str:
        return f"{self.k_hat:.2f} ± {self.error:.2f}" if self.error else f"{self.k_hat:.2f}"

    def surely(self) -> float:
        """What k is below, most likely: k̂ and its error."""
        return self.k_hat + self.error

    def light(self) -> bool:
        """Whether averages may be published, whatever luck k̂ had."""
        return self.surely() < TRUSTED_K_HAT


class ParetoSmoothed(NamedTuple):
    """Smoothed importance weights and their diagnosis.

    Args:
        weights: normalised smoothed weights, shape (draws,).
        k_hat: shape of the generalised Pareto tail of the raw weights.
        effective_draws: 1/Σ weights².
        log_mean: log of the mean smoothed weight.
        k_error: standard error of k̂.
    """

    weights: np.ndarray
    k_hat: float
    effective_draws: float
    log_mean: float
    k_error: float = 0.0

    @property
    def tail(self) -> Tail:
        """k̂ with its error."""
        return Tail(self.k_hat, self.k_error)

    def usable(self) -> bool:
        """Whether averages over the weighted draws are better than those over plain ones."""
        return self.k_hat < TRUSTED_K_HAT and self.effective_draws >= FEWEST_TRUSTED

    def trusted(self) -> bool:
        """Whether they may be published, if they are accurate."""
        return self.usable() and self.tail.light()


def generalised_pareto(excesses: np.ndarray) -> tuple[float, float]:
    """Shape k and scale σ of p(x) = (1 + kx/σ)^(-1/k - 1)/σ from sorted excesses x ≥ 0.

    The quasi-Bayesian estimate of Zhang & Stephens (2009, Technometrics 51, 316), with the weak
    prior on k of Vehtari et al. (2024, JMLR 25, appendix C).

    Args:
        excesses: increasing, shape (n,).
    """
    n = excesses.size
    grid = 30 + int(np.sqrt(n))
    quartile = excesses[_quartile(n)]
    b = (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * quartile) + 1 / excesses[-1]
    k = np.mean(np.log1p(-b[:, None] * excesses), axis=1)
    mean = np.mean(excesses)  # -k/b where b comes to nothing: an exponential tail
    rate = np.divide(-b, k, out=np.full(grid, 1 / mean), where=k != 0)
    profile = n * (np.log(rate) - k - 1)
    weights = np.exp(profile - profile.max())
    b_hat = np.sum(b * weights) / np.sum(weights)
    k_hat = float(np.mean(np.log1p(-b_hat * excesses)))
    scale = -k_hat / b_hat
    return (k_hat * n + PRIOR_DRAWS / 2) / (n + PRIOR_DRAWS), float(scale)


def _quartile(n: int) -> int:
    """Place of the first quartile among n sorted values."""
    return int(n / 4 + 0.5) - 1


def tail_shape(ordered: np.ndarray) -> float:
    """k̂ of the heavier tail of sorted draws, above zero where powers of it fail to have a mean.

    Moments of order 1/k and above are infinite. Fitted to the min(n/5, 3√n) largest and smallest of
    the draws; 0 where those are too few or alike.
    """
    tail = int(np.ceil(min(0.2 * ordered.size, 3 * np.sqrt(ordered.size))))
    sides = (ordered[-tail:] - ordered[-tail - 1], (ordered[tail] - ordered[:tail])[::-1])
    fine = [x for x in sides if tail >= 5 and x[-1] > 0 and x[_quartile(tail)] > 0]
    shapes = [generalised_pareto(excesses)[0] for excesses in fine]
    return float(np.max(shapes)) if shapes else 0.0


def pareto_smooth(log_weights: np.ndarray) -> ParetoSmoothed:
    """Smooth the tail of importance weights (Vehtari et al. 2024, JMLR 25, section 3).

    The largest min(n/5, 3√n) weights are replaced by the quantiles of a fitted generalised
    Pareto distribution, cut at the largest raw weight. -∞ stands for a draw outside the support.
    Weights that are equal to rounding have no tail: k̂ = 0. A single draw, or none inside the
    support: k̂ = ∞.

    Args:
        log_weights: log target less log proposal, up to a constant, shape (draws,).
    """
    n = log_weights.size
    inside = np.where(np.isnan(log_weights), -np.inf, log_weights)
    top = np.max(inside)
    if top == -np.inf:
        return ParetoSmoothed(np.zeros(n), np.inf, 0.0, -np.inf)
    if n == 1:
        return ParetoSmoothed(np.ones(1), np.inf, 1.0, float(top))
    shifted = inside - top
    order = np.argsort(shifted)
    tail = int(np.ceil(min(0.2 * n, 3 * np.sqrt(n))))
    cut = shifted[order[-tail - 1]]
    largest = np.exp(shifted[order[-tail:]])
    excesses = largest - np.exp(cut)
    k_hat, k_error = np.inf, 0.0
    if tail >= 5 and excesses[0] >= 0 and excesses[-1] > 1e-300 and excesses[_quartile(tail)] > 0:
        k_hat, scale = generalised_pareto(excesses)
        k_error = max(1 + k_hat, 0.5) * np.sqrt(tail) / (tail + PRIOR_DRAWS)
        quantile = (np.arange(1, tail + 1) - 0.5) / tail
        smooth = scale * np.expm1(-k_hat * np.log1p(-quantile)) / k_hat
        shifted = shifted.copy()
        shifted[order[-tail:]] = np.minimum(np.log(smooth + np.exp(cut)), 0.0)
    elif excesses[-1] <= _ROUNDING * np.finfo(inside.dtype).eps * largest[-1]:
        k_hat = 0.0
    raw = np.exp(shifted)
    weights = raw / raw.sum()
    return ParetoSmoothed(
        weights,
        float(k_hat),
        float(1 / np.sum(weights**2)),
        float(np.log(raw.mean()) + top),
        float(k_error),
    )


def tail_of_squares(values: np.ndarray, log_weights: np.ndarray, weights: np.ndarray) -> Tail:
    """The heaviest tail of w (a - m)², m = Σ w a, over columns a of draws, shape (N, r).

    A tail too heavy for squares may hide from k̂ of w alone (Vehtari et al. 2024, section 3.2.8).

    Args:
        values: a.
        log_weights: raw, as for `pareto_smooth`.
        weights: smoothed, of sum one.
    """
    if not np.sum(weights) > 0:
        return Tail(np.inf)
    square = (values - weights @ values) ** 2
    with np.errstate(divide="ignore"):
        logs = log_weights[:, None] + np.log(square[:, square.max(axis=0) > 0])
    tails = [pareto_smooth(column).tail for column in logs.T]
    if not tails:
        return Tail(0.0)
    return tails[int(np.argmax([tail.surely() for tail in tails]))]  # NaN counts as the largest
