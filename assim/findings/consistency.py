"""What an analysis says of the statistics that were assumed: second moments of predictions under
prior and posterior, and the departures against them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import numpy as np

from assim.solve.columns import Moments, Predictions
from assim.statistics.uniformity import upper_tail

Array = jax.Array


@dataclass(frozen=True)
class Fit:
    """How well what was assumed of one instrument agrees with its departures.

    Means are by the weights w of the observations, the powers of their likelihoods.

    Args:
        count: m = Σ w, observations as they count.
        cost: ½ dᵀd at the analysis.
        expected: its expectation ½ (m - signal), where what was assumed is right; NaN where the
            error scale is estimated, or a weight is neither 0 nor 1.
        signal: degrees of freedom for signal, Σ influence.
        influence: ∂(Hx^a)_i/∂y_i of every observation, the diagonal of HA⁻¹HᵀR⁻¹ (Cardinali,
            Pezzulli & Andersson 2004, equation 2.7), shape (m,); 0 without weight.
        predicted_stdev: posterior standard deviation of Hx, shape (m,).
        error_stdev: σ_o assumed, root mean square; of the logarithm where the errors are.
        error_variance_ratio: the estimate of σ_o² by Desroziers et al. (2005, equation 3) over that
            assumed, which may be negative; NaN where a weight is neither 0 nor 1.
        background_stdev: σ_b assumed in observation space, √mean diag(HBHᵀ); NaN where the prior
            is improper.
        background_variance_ratio: the estimate of σ_b² (equation 2 there) over that assumed,
            likewise.
        nonlinearity: |d_b - d_a + Gχ*| / |d_b - d_a|, d_b the departures at the background: how
            far innovations are from those of the tangent linear, on which all this rests.
    """

    count: float
    cost: float
    expected: float
    signal: float
    influence: np.ndarray
    predicted_stdev: np.ndarray
    error_stdev: float
    error_variance_ratio: float
    background_stdev: float
    background_variance_ratio: float
    nonlinearity: float

    @property
    def expected_stdev(self) -> float:
        """Largest standard deviation of `cost` about what is expected."""
        return cost_stdev(self.expected)

    @property
    def mean_influence(self) -> float:
        """Signal by count; NaN where nothing counts."""
        return self.signal / self.count if self.count else math.nan

    @property
    def error_ratio(self) -> float:
        """The estimate of σ_o over that assumed; NaN where that of σ_o² is negative."""
        return _root(self.error_variance_ratio)

    @property
    def background_ratio(self) -> float:
        """The estimate of σ_b over that assumed; NaN where that of σ_b² is negative."""
        return _root(self.background_variance_ratio)


class Departed(NamedTuple):
    """Normalised departures by instrument, each of shape (m,).

    Args:
        before: d_b, at the background.
        after: d_a, at the analysis.
        increment: Gχ*, what the tangent linear makes of the analysis increment.
    """

    before: Predictions
    after: Predictions
    increment: Predictions


def fit(
    departures: Departed,
    moments: Moments,
    name: str,
    error_variance: Array | np.ndarray,
    background_variance: Array | np.ndarray,
    weight: Array | np.ndarray,
) -> Fit:
    """Consistency of one instrument.

    With d_a the departures from the analysis and d_i = d_a - Gχ* the innovations of the tangent
    linear at the minimum, both normalised, E[d_a d_i] = 1 and
    E[(d_i - d_a) d_i] = diag(R^(-1/2)HBHᵀR^(-T/2)), on average, where R and B are right.

    Args:
        departures: of all instruments, times the roots of their weights.
        moments: of all instruments.
        name: of this one.
        error_variance: of every error, as assumed.
        background_variance: of every prediction, as assumed.
        weight: w of every value.
    """
    before, after, increment = (np.asarray(one[name]) for one in departures)
    change = -increment
    innovation = after + change
    influence, count = np.asarray(moments.influence[name]), float(np.sum(weight))
    mean = lambda v: float(np.sum(v)) / count if count else math.nan  # noqa: E731
    by_weight = lambda v: mean(np.where(weight > 0, weight * v, 0.0))  # noqa: E731
    signal, background = float(np.sum(influence)), by_weight(background_variance)
    prior = mean(moments.prior_influence[name]) if background > 0 else math.nan
    return Fit(
        count=int(count) if count.is_integer() else count,
        cost=float(after @ after / 2),
        expected=max(count - signal, 0.0) / 2,
        signal=signal,
        influence=influence,
        predicted_stdev=np.sqrt(moments.variance[name]),
        error_stdev=_root(by_weight(error_variance)),
        error_variance_ratio=mean(after * innovation),
        background_stdev=_root(background),
        background_variance_ratio=mean(change * innovation) / prior,
        nonlinearity=_ratio(before - innovation, before - after),
    )


def _ratio(part: Array | np.ndarray, whole: Array | np.ndarray) -> float:
    """|part| / |whole|; 0 where both are nothing."""
    size = float(np.linalg.norm(whole))
    return float(np.linalg.norm(part)) / size if size else 0.0


def _root(square: float | np.floating) -> float:
    """√x, NaN for an estimate of a square that is negative."""
    return math.sqrt(square) if square >= 0 else math.nan


# ---- the cost ------------------------------------------------------------------------------------


def cost_stdev(expected: float) -> float:
    """√E, the largest standard deviation of a term of J whose expectation is E.

    2J_k = zᵀPz with z ~ N(0, I) and 0 ≤ P ≤ I, so that E[J_k] = ½ tr P and
    Var[J_k] = ½ tr P² ≤ ½ tr P. Equal for J as a whole, where P is a projector.
    """
    return math.sqrt(max(expected, 0.0))


@dataclass(frozen=True)
class Term:
    """A term of J at the minimum and its expectation where what was assumed is right."""

    cost: float
    expected: float

    @property
    def expected_stdev(self) -> float:
        """Largest standard deviation of `cost` about what is expected."""
        return cost_stdev(self.expected)


@dataclass(frozen=True)
class Diagnostics:
    """What an analysis says of the statistics that were assumed.

    At the minimum E[2J_k] = n_k - tr(A⁻¹)_k for a term of the prior with n_k controls, and
    m_k - tr(R^(-1/2) H A⁻¹ Hᵀ R^(-T/2))_k for an instrument with m_k observations (Talagrand
    1999; Desroziers & Ivanov 2001, equations 4 and 5; Chapnik et al. 2006).

    Args:
        instruments: by name.
        terms: background, parameters and model error; what observations add is in `instruments`.
        chi_squared: χᵀWχ + dᵀd at the minimum, 2J but for normalisers.
        degrees: its expectation, the number of observations less that of controls that have no
            prior; NaN where an error scale or amplitude is estimated, as then it has no closed
            form, nor has what is expected of the instruments and terms concerned; and NaN, as all
            that is expected and Desroziers' estimates, where a weight is neither 0 nor 1: what
            the variance of such a value's error is, its likelihood does not say.
        p_value: probability of a χ² variable of as many degrees to be larger; NaN where the
            errors are not Gaussian, their scale is estimated, or weights are so.
    """

    instruments: dict[str, Fit]
    terms: dict[str, Term]
    chi_squared: float
    degrees: float
    p_value: float


class Assumed(NamedTuple):
    """What was assumed, and what of it the observations inform.

    Args:
        error_variance: of the errors of every instrument, shape (m,).
        background_variance: of its predictions, likewise.
        signal: degrees of freedom for signal of each term of the prior.
        improper: controls that have neither a prior nor a jump in place of one.
        normaliser: part of the cost of the jumps that is no square.
        weight: of every observation, shape (m,).
        counted_once: whether all weights are 0 or 1.
    """

    error_variance: Predictions
    background_variance: Predictions
    signal: dict[str, Array]
    improper: Array
    normaliser: Array
    weight: Predictions
    counted_once: Array


def diagnostics(
    departures: Departed,
    cost: Mapping[str, float],
    moments: Moments,
    assumed: Assumed,
    jumps: bool,
    gaussian: bool,
    fitted: tuple[frozenset[str], frozenset[str]],
) -> Diagnostics:
    """All diagnostics of an analysis.

    Args:
        departures: of every instrument.
        cost: terms of J at the analysis.
        moments: of predictions.
        assumed: what was assumed.
        jumps: whether jumps between states stand for the prior of model error.
        gaussian: whether 2J is distributed as χ² where what was assumed is right.
        fitted: instruments and terms of whose errors a scale or an amplitude is estimated.
    """
    names = list(departures.after)  # in the order given, which tree_map does not keep
    departures, moments, assumed = jax.tree.map(np.asarray, (departures, moments, assumed))
    fits: dict[str, Fit] = {
        name: fit(
            departures,
            moments,
            name,
            assumed.error_variance[name],
            assumed.background_variance[name],
            assumed.weight[name],
        )
        for name in names
    }
    signal = {name: max(float(value), 0.0) for name, value in assumed.signal.items()}
    terms = {name: Term(cost[name], value / 2) for name, value in signal.items()}
    improper = int(assumed.improper)
    if jumps:  # they expect what the others leave of the total
        left = sum(one.signal for one in fits.values()) - improper - sum(signal.values())
        squares = cost["model_error"] - float(assumed.normaliser)
        terms["model_error"] = Term(squares, max(left, 0.0) / 2)
    costs = [one.cost for one in fits.values()] + [term.cost for term in terms.values()]
    degrees = float(sum(one.count for one in fits.values()) - improper)
    fits |= {n: replace(one, expected=math.nan) for n, one in fits.items() if n in fitted[0]}
    terms |= {n: replace(one, expected=math.nan) for n, one in terms.items() if n in fitted[1]}
    if not assumed.counted_once:
        fits = {n: _unexpected(one) for n, one in fits.items()}
        terms, degrees = {n: replace(t, expected=math.nan) for n, t in terms.items()}, math.nan
    chi_squared = 2 * sum(costs)
    known = gaussian and degrees > 0 and math.isfinite(chi_squared)
    p_value = upper_tail(chi_squared, degrees) if known else math.nan
    return Diagnostics(fits, terms, chi_squared, math.nan if fitted[1] else degrees, p_value)


def _unexpected(one: Fit) -> Fit:
    """Without what holds of errors that R describes alone."""
    nan = math.nan
    return replace(one, expected=nan, error_variance_ratio=nan, background_variance_ratio=nan)
