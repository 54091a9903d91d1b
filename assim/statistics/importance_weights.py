"""Draws weighed by importance: their smoothed weights, and what these say of their moments."""

from typing import NamedTuple

import numpy as np

from assim.statistics.accuracy import Errors, errors_of_weighted
from assim.statistics.pareto import (
    FEWEST_TRUSTED,
    TRUSTED_K_HAT,
    ParetoSmoothed,
    Tail,
    pareto_smooth,
    tail_of_squares,
)


class ImportanceWeights(NamedTuple):
    """What importance weights say of the draws that they belong to.

    Args:
        smoothed: the weights.
        errors: of moments of the draws.
        squares: the heaviest tail of weight times square of them.
        outside: share of draws at which the density is zero.
    """

    smoothed: ParetoSmoothed
    errors: Errors
    squares: Tail
    outside: float

    def trusted(self) -> bool:
        """Whether moments may be published."""
        return self.smoothed.trusted() and self.squares.light() and self.errors.excess() <= 1

    def beyond(self) -> str:
        """Which of the numbers keep moments from being published, in words."""
        tails = (("k̂", self.smoothed.tail), ("k̂ of squares", self.squares))
        reasons = [
            f"{name} with its error, {tail.surely():.2f}, is not below {TRUSTED_K_HAT}"
            for name, tail in tails
            if not tail.light()
        ]
        if not self.smoothed.effective_draws >= FEWEST_TRUSTED:
            reasons.append(f"effective draws are fewer than {FEWEST_TRUSTED}")
        return "; ".join([*reasons, *self.errors.beyond()])

    def figures(self) -> str:
        """The numbers in words."""
        weights = self.smoothed
        return (
            f"k̂ = {weights.tail} ({self.squares} of squares), "
            f"{weights.effective_draws:.0f} effective draws, {self.errors.words()}"
        )

    def certificates(self) -> dict[str, float]:
        """The numbers by name."""
        return {
            "k_hat": self.smoothed.k_hat,
            "k_hat_error": self.smoothed.k_error,
            "moment_k_hat": self.squares.surely(),
            "accuracy": self.errors.stdev,
            "mean_error": self.errors.mean,
            "effective_draws": self.smoothed.effective_draws,
            "outside": self.outside,
        }


NO_WEIGHTS = ImportanceWeights(
    ParetoSmoothed(np.zeros(0), np.nan, np.nan, np.nan),
    Errors(np.nan, np.nan),
    Tail(np.nan),
    0.0,
)


def importance_weights(
    values: np.ndarray, log_weights: np.ndarray, against: bool = False
) -> ImportanceWeights:
    """Smooth the weights of draws, and judge moments by them.

    Args:
        values: draws, shape (N, r).
        log_weights: log of target over proposal but for a constant, -∞ where the target is zero.
        against: whether draws are antithetic ones of N(0, I), against whose moments theirs are
            measured (`errors_of_weighted`).
    """
    if not log_weights.size:
        return NO_WEIGHTS
    smoothed = pareto_smooth(log_weights)
    errors = errors_of_weighted(values, smoothed.weights, paired=against, against=against)
    squares = tail_of_squares(values, log_weights, smoothed.weights)
    return ImportanceWeights(smoothed, errors, squares, float(np.mean(~np.isfinite(log_weights))))
