"""What the departures of an analysis say of the statistics that were assumed."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import numpy as np

from assim.analysis.analyse import Analysis
from assim.analysis.evaluation import Assumed, Departed, chi_squared_degrees, chi_squared_p_value
from assim.analysis.finding import AbstractFinding, RowColumn, Variable, flags
from assim.problem import assumed as assumptions
from assim.solve.columns import Array, Moments

_OWN_UNIT = "in the unit of the instrument's errors"
_BY_INSTRUMENT = {  # column: attribute of `Fit`, and long name
    "count": ("count", "number of values used, as their weights count them"),
    "cost": ("cost", "half the sum of squared departures at the analysis"),
    "cost_expected": ("expected", "its expectation"),
    "cost_expected_stddev": (
        "expected_stdev",
        "largest standard deviation of the cost about its expectation",
    ),
    "degrees_of_freedom": ("signal", "degrees of freedom for signal"),
    "mean_influence": ("mean_influence", "mean influence of a value"),
    "error_stddev": (
        "error_stdev",
        f"standard deviation of the errors as assumed, {_OWN_UNIT}",
    ),
    "error_stddev_ratio": (
        "error_ratio",
        "standard deviation of the errors as estimated from departures, over that assumed",
    ),
    "error_variance_ratio": (
        "error_variance_ratio",
        "variance of the errors as estimated from departures, which may be negative, over that "
        "assumed",
    ),
    "background_stddev": (
        "background_stdev",
        f"standard deviation of the background of the values as assumed, {_OWN_UNIT}",
    ),
    "background_stddev_ratio": (
        "background_ratio",
        "standard deviation of the background as estimated from departures, over that assumed",
    ),
    "background_variance_ratio": (
        "background_variance_ratio",
        "variance of the background as estimated from departures, which may be negative, over that "
        "assumed",
    ),
    "nonlinearity": (
        "nonlinearity",
        "departure of innovations from those of the tangent linear, over the change of "
        "departures by the analysis",
    ),
}


@dataclass(frozen=True)
class Term:
    """A term of J at the minimum and its expectation where what was assumed is right."""

    cost: float
    expected: float

    @property
    def expected_stdev(self) -> float:
        """√E, the largest standard deviation of a term of J whose expectation is E.

        2J_k = zᵀPz with z ~ N(0, I) and 0 ≤ P ≤ I, so that E[J_k] = ½ tr P and
        Var[J_k] = ½ tr P² ≤ ½ tr P. Equal for J as a whole, where P is a projector.
        """
        return math.sqrt(max(self.expected, 0.0))


@dataclass(frozen=True)
class InstrumentFit(Term):
    """How well what was assumed of one instrument agrees with its departures.

    Means are by the weights w of the observations, the powers of their likelihoods.

    Args:
        cost: ½ dᵀd at the analysis.
        expected: its expectation ½ (m - signal), where what was assumed is right; NaN where the
            error scale is estimated, d² is no χ² variable, a weight is neither 0 nor 1, or much of
            the posterior lies in eigenpairs that were not computed; so are signal and influence
            then.
        count: m = Σ w, observations as they count.
        signal: degrees of freedom for signal, Σ influence.
        influence: ∂(Hx^a)_i/∂y_i of every observation, the diagonal of HA⁻¹HᵀR⁻¹ (Cardinali,
            Pezzulli & Andersson 2004, equation 2.7), shape (m,); 0 without weight.
        predicted_stdev: posterior standard deviation of Hx, shape (m,): that of the posterior that
            is reported, by the tangent linear where there is none.
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
    signal: float
    influence: np.ndarray
    predicted_stdev: np.ndarray
    error_stdev: float
    error_variance_ratio: float
    background_stdev: float
    background_variance_ratio: float
    nonlinearity: float

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


def fit(departures: Departed, moments: Moments, assumed: Assumed, name: str) -> InstrumentFit:
    """Consistency of one instrument, by name, of the departures and moments of all.

    With d_a the departures from the analysis and d_i = d_a - Gχ* the innovations of the tangent
    linear at the minimum, both normalised, E[d_a d_i] = 1 and
    E[(d_i - d_a) d_i] = diag(R^(-1/2)HBHᵀR^(-T/2)), on average, where R and B are right.
    """
    before, after, increment = (np.asarray(values[name]) for values in departures)
    weight, change = assumed.weight[name], -increment
    innovation = after + change
    influence, count = np.asarray(moments.influence[name]), float(np.sum(weight))
    mean = lambda v: float(np.sum(v)) / count if count else math.nan  # noqa: E731
    by_weight = lambda v: mean(np.where(weight > 0, weight * v, 0.0))  # noqa: E731
    signal, background = float(np.sum(influence)), by_weight(assumed.background_variance[name])
    prior = mean(moments.prior_influence[name]) if background > 0 else math.nan
    return InstrumentFit(
        count=int(count) if count.is_integer() else count,
        cost=float(after @ after / 2),
        expected=max(count - signal, 0.0) / 2,
        signal=signal,
        influence=influence,
        predicted_stdev=np.sqrt(moments.variance[name]),  # unless a posterior knows better
        error_stdev=_root(by_weight(assumed.error_variance[name])),
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


@dataclass(frozen=True)
class Consistency(AbstractFinding):
    """What an analysis says of the statistics that were assumed.

    At the minimum E[2J_k] = n_k - tr(A⁻¹)_k for a term of the prior with n_k controls, and
    m_k - tr(R^(-1/2) H A⁻¹ Hᵀ R^(-T/2))_k for an instrument with m_k observations (Talagrand
    1999; Desroziers & Ivanov 2001, equations 4 and 5; Chapnik et al. 2006).

    Args:
        instruments: by name.
        terms: background, parameters, model error and the digital filter; what observations add is
            in `instruments`.
        chi_squared: χᵀWχ + dᵀd = 2(J - c - v) at the minimum.
        degrees: its expectation, the number of observations less that of controls that have no
            prior; NaN where an error scale or amplitude is estimated, or a likelihood's squares are
            no χ² variables, as then it has no closed form, nor has what is expected of the
            instruments and terms concerned; and NaN, as all that is expected and Desroziers'
            estimates, where a weight is neither 0 nor 1: what the variance of such a value's error
            is, its likelihood does not say.
        p_value: probability of a χ² variable of as many degrees to be larger; NaN where the
            errors are not Gaussian, their scale is estimated, or weights are so.
    """

    name: ClassVar[str] = "diagnostics"

    instruments: dict[str, InstrumentFit]
    terms: dict[str, Term]
    chi_squared: float
    degrees: float
    p_value: float

    @property
    def signal(self) -> float:
        """Degrees of freedom for signal, of all instruments."""
        return sum(fit.signal for fit in self.instruments.values())

    def variables(self) -> dict[str, Variable]:
        """Expected costs, χ², and a row an instrument on the dimension `instrument`."""
        totals = {name: v for name, v in self._totals().items() if math.isfinite(v.values)}
        columns = {
            f"instrument_{column}": Variable(("instrument",), values, long_name)
            for column, (long_name, values) in self._by_instrument().items()
        }
        names = flags("instrument", list(self.instruments), "instrument")
        return {**totals, "instrument": names, **columns}

    def columns(self, instrument: str) -> list[RowColumn]:
        """Posterior standard deviation and influence of the values of one instrument."""
        fit = self.instruments.get(instrument)
        if fit is None:
            return []
        spread = "standard deviation of the analysis of"
        return [
            RowColumn("_hofx_analysis_stddev", fit.predicted_stdev, spread, False),
            RowColumn("_influence", fit.influence, "influence on the analysis of", True),
        ]

    def summary(self) -> dict[str, Any]:
        """The same as `variables`, by term and by instrument."""
        columns = self._by_instrument()
        return {
            "chi_squared": self.chi_squared,
            "chi_squared_expected": self.degrees,
            "p_value": self.p_value,
            "degrees_of_freedom": self.signal,
            "terms": {
                name: {"cost": term.cost, "expected": term.expected, "stddev": term.expected_stdev}
                for name, term in self.terms.items()
            },
            "instruments": {
                name: {column: values[k] for column, (_, values) in columns.items()}
                for k, name in enumerate(self.instruments)
            },
        }

    def _totals(self) -> dict[str, Variable]:
        variables, most = {}, "largest standard deviation of the expected cost"
        for name, term in self.terms.items():
            of, words = f"cost_{name}_expected", name.replace("_", " ")
            variables[of] = Variable((), term.expected, f"expected cost: {words}")
            variables[f"{of}_stddev"] = Variable((), term.expected_stdev, f"{most}: {words}")
        squares = "sum of squares of the cost at the analysis"
        what = "probability of a larger sum of squares where the statistics assumed are right"
        return variables | {
            "chi_squared": Variable((), self.chi_squared, squares),
            "chi_squared_expected": Variable((), self.degrees, f"expected {squares}"),
            "chi_squared_p_value": Variable((), self.p_value, what),
            "degrees_of_freedom": Variable((), self.signal, "degrees of freedom for signal"),
        }

    def _by_instrument(self) -> dict[str, tuple[str, list[Any]]]:
        """Long name and values of every column."""
        fits = self.instruments.values()
        return {
            column: (long_name, [getattr(fit, attribute) for fit in fits])
            for column, (attribute, long_name) in _BY_INSTRUMENT.items()
        }


def consistency(analysis: Analysis) -> Consistency | None:
    """χ², expected costs, influence and Desroziers' estimates of an analysis.

    Args:
        analysis: an analysis; without a posterior there is none.
    """
    if analysis.departures is None or analysis.spread is None:
        return None
    problem, cost = analysis.problem, analysis.cost_analysis
    names = list(analysis.departures.after)  # in the order given, which tree_map does not keep
    given = (analysis.departures, analysis.spread.moments, analysis.spread.assumed)
    departures, moments, assumed = jax.tree.map(np.asarray, given)
    fits = {name: fit(departures, moments, assumed, name) for name in names}
    stdevs = analysis.predicted_stdev
    fits = {
        n: replace(fit, predicted_stdev=np.asarray(stdevs.get(n, fit.predicted_stdev)))
        for n, fit in fits.items()
    }
    signal = {name: max(float(value), 0.0) for name, value in assumed.signal.items()}
    terms = {name: Term(cost[name], value / 2) for name, value in signal.items()}
    if problem.control.later:  # jumps expect what the others leave of the total
        taken = int(assumed.improper) + sum(signal.values())
        left = sum(fit.signal for fit in fits.values()) - taken
        squares = cost["model_error"] - float(assumed.normaliser)
        terms["model_error"] = Term(squares, max(left, 0.0) / 2)
    if (filtered := cost.get("digital_filter")) is not None:
        terms["digital_filter"] = Term(filtered, math.nan)
    chi_squared = 2 * sum(part.cost for part in (*fits.values(), *terms.values()))
    scaled, amplified = assumptions.fitted(problem)  # whose scale or amplitude is estimated
    unknown = {o.name for o in problem.observations if not o.likelihood.chi_squared} | scaled
    fits |= {n: replace(fit, expected=math.nan) for n, fit in fits.items() if n in unknown}
    terms |= {n: replace(term, expected=math.nan) for n, term in terms.items() if n in amplified}
    if not assumed.counted_once:
        fits = {n: _unexpected(fit) for n, fit in fits.items()}
        terms = {n: replace(t, expected=math.nan) for n, t in terms.items()}
    if analysis.laplace is not None and not analysis.laplace.is_whole():
        fits = {n: _uninformed(fit) for n, fit in fits.items()}
        terms = {n: replace(t, expected=math.nan) for n, t in terms.items()}
    degrees, p_value = chi_squared_degrees(problem), chi_squared_p_value(problem, chi_squared)
    return Consistency(fits, terms, chi_squared, degrees, p_value)


def _uninformed(fit: InstrumentFit) -> InstrumentFit:
    """The same fit, with NaN for what the eigenpairs that were left out decide."""
    influence = np.full(fit.influence.shape, math.nan)
    return replace(fit, expected=math.nan, signal=math.nan, influence=influence)


def _unexpected(fit: InstrumentFit) -> InstrumentFit:
    """The same fit, with NaN for what holds only where R alone describes the errors."""
    nan = math.nan
    return replace(fit, expected=nan, error_variance_ratio=nan, background_variance_ratio=nan)
