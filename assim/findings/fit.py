"""Whether the data agree with the problem as stated: what does not fit, and what that may mean.

A posterior may be that of the problem as stated, and the problem be wrong. Trust says the first,
fit the second: a result is certified where both are in order.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from assim.analysis.analyse import Analysis
from assim.analysis.evaluation import RARE, chi_squared_degrees, chi_squared_p_value
from assim.analysis.finding import AbstractFinding, Variable, flagged, flags
from assim.analysis.posterior import Posterior
from assim.findings.absorbed import Conflict, conflict
from assim.findings.between_edges import Bent, bent_between_edges
from assim.findings.consistency import Consistency, InstrumentFit, consistency
from assim.findings.linearised import linearised
from assim.findings.outliers import Naming, naming_of, way_out, when
from assim.findings.residuals import Residuals, probability, residuals_of
from assim.findings.tolerance import coarse_tolerances
from assim.findings.uninformed import UNINFORMED, uninformed
from assim.findings.untested import Estimated, estimated_scales, untested
from assim.problem.observation import Observations
from assim.solve.posterior.ensemble import Trust

Verdict = Literal["good", "poor", "untested"]

BULK = 3.0  # prior standard deviations within which nearly all of the prior lies
SUSPECT = 5e-3  # probability, in a sound problem, that a test of what scales absorb is told
UNUSUAL = 1e-2  # the same of χ² in all, of an instrument's and of a term of the prior
LARGE_TOO = 0.1  # probability of the squares of the others below which they are called large, too


LARGE = (
    "Departures are larger than the errors stated allow. Usual causes: another minimum (give more "
    "first guesses, minimiser.starts), a wrong unit or operator, errors that are understated, or a "
    "model that leaves something out (estimate error scales, or allow for model error)."
)
SMALL = (
    "departures are smaller than the errors stated make likely. Usual causes: errors that are "
    "overstated or correlated, or data that were smoothed or counted twice."
)
ABSORBED = (
    "either its prior is not what is known, or it absorbs what the problem cannot follow: a wrong "
    "unit of the data or of an input, priors of parameters in the wrong place, a model that leaves "
    "something out, gross errors."
)
DISAGREE = (
    "the data and its prior disagree: is the prior what is known, and are the units of the data "
    "and of the inputs right? A model that leaves something out moves parameters, too."
)
NARROW = "its prior is too narrow, or centred on the wrong place."


@dataclass(frozen=True)
class Fit(AbstractFinding):
    """Whether the data agree with the problem as stated.

    Tested are χ² in all (from both sides), that of every instrument and of every term of the
    prior, the largest residual of every instrument and, where error scales are estimated, the prior
    against the data; each kind of test, and each side of χ², finds a fault in a sound problem with
    probability 0.001, however many instruments and values there are (Bonferroni).

    Args:
        chi_squared: χᵀWχ + dᵀd at the minimum.
        degrees: its expectation; NaN where it is not known.
        p_value: probability of a larger one; NaN where it is no χ² variable.
        residuals: of every instrument.
        terms: χ², expectation and p-value of the terms of the prior.
        outside: parameters and scales whose minimum lies more than three prior standard deviations
            from the prior median, with the distance.
        uninformed: scalars that no observation depends on.
        coarse: fields for which an absolute tolerance of the integrator is coarse, in words.
        bent: instruments whose readings err between slot edges, where the trajectory bends.
        clock: unit of time, and date of time zero.
        scales: error scales that are estimated, by name.
        conflict: the prior against the data where such scales are; None where it is not tested.
        untested: lines that say of what χ² is no test, and why.
        worst: by instrument, where the largest residual is, and what can be done about it.
    """

    name: ClassVar[str] = "fit"

    chi_squared: float
    degrees: float
    p_value: float
    residuals: dict[str, Residuals]
    terms: dict[str, tuple[float, float, float]]
    outside: dict[str, float]
    uninformed: tuple[str, ...]
    coarse: tuple[str, ...]
    bent: tuple[Bent, ...]
    clock: tuple[str, str | None]
    scales: dict[str, Estimated]
    conflict: Conflict | None
    untested: tuple[str, ...]
    worst: dict[str, tuple[str, str]]

    @property
    def verdict(self) -> Verdict:
        """Good; poor where a test fails; untested where χ² is none, in all and by instrument."""
        if any(self._faults()):
            return "poor"
        tests = [self.p_value, *(residual.p_value for residual in self.residuals.values())]
        return "good" if any(map(math.isfinite, tests)) else "untested"

    def judged(self, trust: Trust) -> Trust:
        """The worse of trust and fit: certified only where the data do not disagree either."""
        return min(trust, Trust.DOUBTFUL) if self.verdict == "poor" else trust

    def remarks(self) -> list[str]:
        """What does not fit, by how much, and what usually causes it; then what else is odd."""
        return [*self._faults(), *self._oddities()]

    def variables(self) -> dict[str, Variable]:
        """The verdict, and a row an instrument on the dimension `residual_instrument`."""
        meanings, dim = ("good", "poor", "untested"), "residual_instrument"
        verdict = flagged((), meanings.index(self.verdict), "fit of the data", meanings)
        columns = {
            f"residual_{column}": Variable((dim,), values, long_name)
            for column, (long_name, values) in self._by_instrument().items()
        }
        names = {dim: flags(dim, list(self.residuals), "instrument")} if self.residuals else {}
        return {"fit": verdict, **names, **(columns if names else {})}

    def summary(self) -> dict[str, Any]:
        """The verdict, remarks, and numbers by instrument."""
        columns = self._by_instrument()
        return {
            "verdict": self.verdict,
            "remarks": self.remarks(),
            "untested": list(self.untested),
            "chi_squared": self.chi_squared,
            "chi_squared_expected": self.degrees,
            "p_value": self.p_value,
            "prior_conflict": None if self.conflict is None else vars(self.conflict),
            "outside_prior": self.outside,
            "uninformed": list(self.uninformed),
            "between_edges": {bent.name: bent.worst for bent in self.bent},
            "instruments": {
                name: {column: values[k] for column, (_, values) in columns.items()}
                for k, name in enumerate(self.residuals)
            },
        }

    def _by_instrument(self) -> dict[str, tuple[str, list[Any]]]:
        """Long name and values of every column."""
        columns = {
            "p_value": "probability of a larger sum of squared departures",
            "worst": "largest absolute residual, in its standard deviations",
            "worst_row": "value of the largest residual, counted from 0 among those used",
            "worst_p_value": "probability that the largest residual is larger",
            "autocorrelation": "correlation of residuals that follow one another",
            "effective_count": "independent values that inform a mean as well",
        }
        rows = self.residuals.values()
        return {name: (words, [getattr(r, name) for r in rows]) for name, words in columns.items()}

    def _faults(self) -> Iterator[str]:
        """Every test that fails, in words; then what usually causes it."""
        too_large, gross = list(self._too_large()), list(self._gross_errors())
        yield from (*too_large, *gross, *self._of_terms())
        if self.conflict is not None and self.conflict.p_value < RARE:
            yield self._held_back(self.conflict)
        if len(too_large) > bool(gross):  # one value may well be why χ² in all is too large
            yield LARGE
        if self.p_value > 1 - RARE:
            total = f"χ² = {self.chi_squared:.4g} where {self.degrees:.4g} is expected"
            yield f"{total} (as small with p {_p_words(1 - self.p_value)}): {SMALL}"

    def _too_large(self) -> Iterator[str]:
        """Sums of squares in all and by instrument."""
        if self.p_value < RARE:
            yield _beyond("χ²", self.chi_squared, self.degrees, self.p_value) + "."
        for name, residual in self.residuals.items():
            if residual.p_value < self._rare() and not self._is_gross(residual):
                squares, expected = residual.chi_squared, residual.expected
                line = _beyond(f"{name}: Σd²", squares, expected, residual.p_value)
                yield f"{line}, most at {self._worst(name)}."

    def _gross_errors(self) -> Iterator[str]:
        """Single values that make nearly all of an excess."""
        for name, residual in self.residuals.items():
            if self._is_gross(residual):
                yield self._gross_error(name)

    def _gross_error(self, name: str) -> str:
        residual, (_, way_out) = self.residuals[name], self.worst[name]
        line = f"{name}: {self._worst(name)}, is far from the analysis. {way_out}"
        if (others := residual.without_worst()) < LARGE_TOO:
            line += (
                f" Or the errors are understated: those of the others, too, are large (p "
                f"{_p_words(others)}); state larger ones, or estimate their scale."
            )
        return line

    def _is_gross(self, residual: Residuals) -> bool:
        """Whether the largest residual is beyond chance and the others are not."""
        rare = self._rare()
        return residual.worst_p_value < rare and not residual.without_worst() < rare

    def _is_scaled(self, name: str) -> bool:
        """Whether the errors of an instrument have a scale that is estimated."""
        return any(name in scale.instruments for scale in self.scales.values())

    def _rare(self) -> float:
        return RARE / max(len(self.residuals), 1)

    def _worst(self, name: str) -> str:
        residual = self.residuals[name]
        if residual.worst_row < 0:
            return "no value in particular"
        size = f"{residual.worst:.1f} standard deviations"
        if self._is_scaled(name):
            size += f" of the others (p {_p_words(residual.worst_p_value)})"
        return f"{self.worst[name][0]}, with a residual of {size}"

    def _held_back(self, conflict: Conflict) -> str:
        """That the prior keeps parameters from what the data ask for, and a scale absorbs it."""
        scales = ", ".join(
            f"{name} would be about {factor * self.scales[name].value:.2g}, not "
            f"{self.scales[name].value:.2g}"
            for name, factor in conflict.factors.items()
        )
        return (
            f"{conflict.control}: the data ask for what its prior holds back (p "
            f"{_p_words(conflict.p_value)}), and the errors absorb it: without priors {scales}. "
            f"Usual causes: a prior of {conflict.control} that is too narrow or centred on the "
            "wrong place, a wrong unit of the data or of an input, a model that leaves something "
            "out."
        )

    def _of_terms(self) -> Iterator[str]:
        for name, (squares, expected, p) in self.terms.items():
            if p < RARE / len(self.terms):
                what = f"{name.replace('_', ' ')}: its term of χ²"
                yield f"{_beyond(what, squares, expected, p)}: {NARROW}"

    def _oddities(self) -> Iterator[str]:
        """What is told and decides nothing."""
        for name, residual in self.residuals.items():
            if residual.dependent:
                yield self._dependent(name, residual)
        yield from self._unusual()
        yield from self._suspects()
        yield from self.coarse
        for bent in self.bent:
            moment = when(bent.time, *self.clock)
            yield f"{bent.name}: {bent.words(moment)}."
        if self.uninformed:
            yield f"{', '.join(self.uninformed)}: {UNINFORMED}"
        for name, distance in self.outside.items():
            yield (
                f"{name} ends {abs(distance):.1f} prior standard deviations "
                f"{'above' if distance > 0 else 'below'} its prior median: "
                f"{ABSORBED if name in self.scales and distance > 0 else DISAGREE}"
            )

    def _dependent(self, name: str, residual: Residuals) -> str:
        line = (
            f"{name}: residuals that follow one another are correlated, "
            f"{residual.autocorrelation:.2f}: {residual.count} values inform a mean about "
            f"as well as {residual.effective_count:.0f} independent ones"
        )
        if residual.p_value > 1 - UNUSUAL:
            size = math.sqrt(residual.expected / max(residual.chi_squared, 1e-300))
            return (
                f"{line}. But the errors stated are about {size:.3g} times as large as residuals "
                "are: mend these first, then see whether correlations are left."
            )
        return (
            f"{line}, and error bars that rest on independence are too small; give the errors a "
            "correlation in time, or let the model err."
        )

    def _unusual(self) -> Iterator[str]:
        """Squares that are rare in a sound problem, and not as rare as a fault is."""
        total, several = (self.chi_squared, self.degrees), len(self.residuals)
        tests = [("χ²", *total, self.p_value), ("χ²", *total, 1 - self.p_value)]
        for name, r in self.residuals.items() if several > 1 else ():
            tests.append((f"{name}: Σd²", r.chi_squared, r.expected, min(1.0, several * r.p_value)))
        for name, (squares, expected, p) in self.terms.items():
            what, p = f"{name.replace('_', ' ')}: its term of χ²", min(1.0, len(self.terms) * p)
            tests.append((what, squares, expected, p))
        for what, squares, expected, p in tests:
            if RARE <= p < UNUSUAL:
                yield (
                    f"{_beyond(what, squares, expected, p)}, as in 1 of {1 / p:.0f} sound ones: "
                    "no fault by itself; see the residuals, and what priors and errors rest on."
                )

    def _suspects(self) -> Iterator[str]:
        """What tests of less power, where scales are estimated, find suspect and not a fault."""
        several = max(len(self.residuals), 1)
        for name, residual in self.residuals.items():
            if self._is_scaled(name) and self._rare() <= residual.worst_p_value < SUSPECT / several:
                yield self._gross_error(name)
        if self.conflict is not None and RARE <= self.conflict.p_value < SUSPECT:
            yield self._held_back(self.conflict)


def verdict_of(analysis: Analysis, posterior: Posterior | None) -> Trust | None:
    """The worse of the trust in a posterior and the fit of the data; None without a posterior.

    Args:
        analysis: with its fit among the findings; without it nothing is certified.
        posterior: one of its posteriors.
    """
    if posterior is None:
        return None
    fit = analysis.findings.get(Fit.name)
    if not isinstance(fit, Fit):
        return min(posterior.trust, Trust.DOUBTFUL)
    return fit.judged(posterior.trust)


def _beyond(what: str, squares: float, expected: float, p: float) -> str:
    return f"{what} = {squares:.4g} where {expected:.4g} is expected (p {_p_words(p)})"


def _p_words(p: float) -> str:
    return "< 1e-12" if p < 1e-12 else f"= {p:.1g}"


def goodness_of_fit(analysis: Analysis, namings: Mapping[str, Naming] | None = None) -> Fit:
    """Whether the data agree with the problem as stated, at the minimum.

    Args:
        analysis: an analysis; without a posterior χ² in all is tested alone.
        namings: by instrument, what a value is called, of its number among those used; that number
            and its time where not given.
    """
    known = analysis.findings.get(Consistency.name)
    consistent = known if isinstance(known, Consistency) else consistency(analysis)
    problem, scales = analysis.problem, estimated_scales(analysis)
    still = uninformed(problem, analysis.solution.chi)
    states = analysis.analysis.trajectory.states
    coarse = tuple(field.words for field in coarse_tolerances(problem.model, states))
    lines = tuple(untested(analysis, scales))
    bent = bent_between_edges(problem, analysis.analysis)
    common: dict[str, Any] = {
        "outside": _outside_prior(analysis),
        "uninformed": still,
        "coarse": coarse,
        "bent": bent,
        "clock": (problem.model.labels().time_unit, problem.window.reference),
        "scales": scales,
        "untested": lines,
    }
    if consistent is None:
        total = _in_all(analysis)
        return Fit(*total, {}, {}, **common, conflict=None, worst={})
    fits, tangent = consistent.instruments, linearised(analysis)
    residuals = {o.name: residuals_of(analysis, o, fits, tangent) for o in problem.observations}
    squares = {n: (2 * term.cost, 2 * term.expected) for n, term in consistent.terms.items()}
    terms = {name: (*pair, probability(*pair)) for name, pair in squares.items()}
    total = consistent.chi_squared, consistent.degrees, consistent.p_value
    opposed = None if tangent is None else conflict(tangent)
    called = {o.name: naming_of(analysis, o) for o in problem.observations} | dict(namings or {})
    worst = {
        o.name: _described(o, residuals[o.name], fits[o.name], called[o.name])
        for o in problem.observations
    }
    return Fit(*total, residuals, terms, **common, conflict=opposed, worst=worst)


def _described(
    o: Observations, residual: Residuals, fit: InstrumentFit, called: Naming
) -> tuple[str, str]:
    """Where the largest residual of an instrument is, and what can be done about it."""
    where = called(residual.worst_row) if residual.worst_row >= 0 else ""
    return where, way_out(o, fit.error_stdev)


def _in_all(analysis: Analysis) -> tuple[float, float, float]:
    """χ², its expectation and p-value, without the tangent linear."""
    problem, squares = analysis.problem, analysis.chi_squared
    return squares, chi_squared_degrees(problem), chi_squared_p_value(problem, squares)


def _outside_prior(analysis: Analysis) -> dict[str, float]:
    """Parameters and scales whose w at the minimum is beyond the bulk of N(0, 1), by name."""
    control, chi = analysis.problem.control, analysis.solution.chi
    parts = control.split(chi)
    distances = {}
    for kind, priors in (("parameters", control.parameters), ("scales", control.scales)):
        for name, prior in priors.items():
            w = np.asarray(parts[kind][name])
            for place in np.argwhere(np.abs(w) > BULK) if prior.weight() == 1 else ():
                index = f"[{', '.join(map(str, place))}]" if w.size > 1 else ""
                distances[f"{name}{index}"] = float(w[tuple(place)])
    return distances
