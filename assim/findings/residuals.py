"""Departures of instruments from the analysis, in units of what they should be."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when first used

from assim.analysis.analyse import Analysis
from assim.findings.consistency import InstrumentFit
from assim.findings.linearised import Linearised
from assim.problem.observation import Observations

Pairs = tuple[np.ndarray, np.ndarray]

FREE = 0.9  # influence above which the residual of a value is left out
DEPENDENT = 0.3  # autocorrelation that is told, where it is also beyond chance
BEYOND_CHANCE = 3.0  # standard deviations, of an autocorrelation
MANY = 30.0  # degrees of freedom from which the tangent linear is not needed to leave a value out
FEWEST = 10  # pairs from which a correlation is estimated


@dataclass(frozen=True)
class Residuals:
    """Departures of one instrument from the analysis, in units of what they should be.

    r_i = d_i / √(1 - h_i), d the normalised departure and h the influence of a value: N(0, 1)
    where the errors are as stated (studentised residuals). Where their scale is estimated, each is
    in units of that which the other values give (externally studentised), and has a t distribution
    (Cook & Weisberg 1982, Residuals and Influence in Regression, section 2.2.2).

    Args:
        chi_squared: Σ d².
        expected: its expectation; NaN where it is not known.
        p_value: probability that Σ d² is larger, by a χ² variable of that expectation.
        worst: the largest |r|; NaN where errors are no Gaussian ones that are independent.
        worst_row: which value that is, counted from 0 among those used; -1 where there is none.
        worst_p_value: probability that the largest of as many is larger, at most (Bonferroni).
        autocorrelation: of r between values of one place that follow one another in time, or
            between neighbours at one time where no place has two; NaN for fewer than ten pairs.
        pairs: number of such pairs.
        count: values used.
    """

    chi_squared: float
    expected: float
    p_value: float
    worst: float
    worst_row: int
    worst_p_value: float
    autocorrelation: float
    pairs: int
    count: int

    def without_worst(self) -> float:
        """Probability that Σd² of the other values is larger; NaN where it is not known."""
        return probability(self.chi_squared - self.worst**2, self.expected - 1)

    @property
    def dependent(self) -> bool:
        """Whether residuals follow one another: ρ > 0.3 and beyond what chance gives."""
        known = math.isfinite(self.autocorrelation)
        chance = BEYOND_CHANCE / math.sqrt(max(self.pairs, 1))
        return known and self.autocorrelation > max(DEPENDENT, chance)

    @property
    def effective_count(self) -> float:
        """m (1 - ρ)/(1 + ρ): independent values that tell as much of a mean (Bayley & Hammersley
        1946); m where the residuals are not seen to depend on one another.
        """
        if not self.dependent:
            return float(self.count)
        return self.count * (1 - self.autocorrelation) / (1 + self.autocorrelation)


def probability(squares: float, expected: float) -> float:
    """Of a χ² variable of that expectation to be larger; NaN where it is not known.

    Of one degree at least: what is expected of a part rests on the tangent linear, whose error
    must not decide where next to nothing is expected.
    """
    if not (math.isfinite(squares) and math.isfinite(expected)):
        return math.nan
    return float(scipy.special.chdtrc(max(expected, 1.0), max(squares, 0.0)))


def residuals_of(
    analysis: Analysis,
    o: Observations,
    fits: Mapping[str, InstrumentFit],
    tangent: Linearised | None = None,
) -> Residuals:
    """Departures of one instrument from the analysis, studentised.

    Args:
        analysis: with departures.
        o: the instrument.
        fits: consistency of every instrument, by name.
        tangent: of the problem, where it is known and a scale is estimated.
    """
    assert analysis.departures is not None
    fit, weight = fits[o.name], np.asarray(o.powers())
    influence = np.nan_to_num(fit.influence, nan=0.0)  # not known: departures alone are smaller
    departure = np.asarray(analysis.departures.after[o.name])
    held = (weight > 0) & (influence < FREE)
    studentised = np.where(held, departure / np.sqrt(np.maximum(1 - influence, 1 - FREE)), 0.0)
    is_squared = o.likelihood.chi_squared and bool(o.counted_once())
    expected = 2 * fit.expected if is_squared else math.nan
    worst = math.nan, -1, math.nan
    if is_squared and o.covariance.independent() and held.any():
        if o.scale is None:
            worst = _largest(studentised, math.inf, held)
        else:
            others = _of_unknown_scale(analysis, o, fits, tangent, (studentised, departure, held))
            worst = _largest(*others)
    return Residuals(
        2 * fit.cost,
        expected,
        probability(2 * fit.cost, expected),
        *worst,
        *_autocorrelation(o, studentised, held),
        int((weight > 0).sum()),
    )


def _of_unknown_scale(
    analysis: Analysis,
    o: Observations,
    fits: Mapping[str, InstrumentFit],
    tangent: Linearised | None,
    values: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray | float, np.ndarray]:
    """Externally studentised residuals, degrees and which are known, of r, d and which are held."""
    studentised, departure, held = values
    observations = analysis.problem.observations
    if tangent is not None:
        return _of_instrument([e.name for e in observations].index(o.name), tangent, held)
    those = [fits[e.name] for e in observations if _share(e, o)]
    return *_by_all(studentised, departure, those), held


def _share(first: Observations, second: Observations) -> bool:
    """Whether the errors of two instruments have one estimated scale."""
    a, b = first.scale, second.scale
    return a is not None and b is not None and a.name == b.name


def _by_all(
    studentised: np.ndarray, departure: np.ndarray, those: list[InstrumentFit]
) -> tuple[np.ndarray, float]:
    """Externally studentised residuals of many values without the tangent linear, and degrees.

    The squares of the others are Σd² - d_i² at most, which is cautious; NaN for few degrees.
    """
    squares = 2 * sum(fit.cost for fit in those)
    degrees = sum(fit.count - fit.signal for fit in those) - 1
    if degrees < MANY:
        return np.full(studentised.shape, math.nan), math.nan
    left = np.maximum(squares - departure**2, np.finfo(float).tiny)
    return studentised * np.sqrt(degrees / left), degrees


def _largest(
    residuals: np.ndarray, degrees: np.ndarray | float, held: np.ndarray
) -> tuple[float, int, float]:
    """The least probable |r|, which it is, and the probability of such a one among as many."""
    held = held & np.isfinite(residuals)
    if not held.any():
        return math.nan, -1, math.nan
    p = np.where(held, 2 * scipy.special.stdtr(degrees, -np.abs(residuals)), math.inf)
    row = int(np.argmin(p)) if np.min(p) > 0 else int(np.argmax(np.abs(residuals) * held))
    return float(np.abs(residuals[row])), row, min(1.0, int(held.sum()) * float(p[row]))


def _of_instrument(
    number: int, tangent: Linearised, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Externally studentised residuals of one instrument, degrees, and which are known."""
    own = tangent.instrument == number
    rows = tangent.row[own]
    ratio, freedom = by_the_others(tangent, tangent.scale[own][0])
    residuals, degrees, known = np.zeros(held.size), np.ones(held.size), np.zeros(held.size, bool)
    residuals[rows], degrees[rows] = ratio[own], freedom[own]
    known[rows] = held[rows] & (degrees[rows] >= 1)
    return residuals, np.maximum(degrees, 1.0), known


def by_the_others(tangent: Linearised, scale: str) -> tuple[np.ndarray, np.ndarray]:
    """Residuals in units of the scale that all other values of it give, and degrees of freedom.

    With C = I - H, d = Cy and the values S of one scale, those without value i leave the squares
    Σ_S (d_j - C_ji d_i/C_ii)², of Σ_S (C_jj - C_ji²/C_ii) effective degrees of freedom. The
    residual is d_i/√C_ii over the root of their ratio, t-distributed where no prior tells of χ.

    Args:
        tangent: m values of a linear problem.
        scale: name of the scale; for values of others the numbers mean nothing.
    """
    c = tangent.resolution()
    d, size, same = c @ tangent.innovation, np.maximum(np.diag(c), 1 - FREE), tangent.scale == scale
    squares = np.sum((d[:, None] - c * (d / size))[same] ** 2, axis=0)
    degrees = np.sum((np.diag(c)[:, None] - c**2 / size)[same], axis=0)
    stdev = np.sqrt(squares / np.maximum(degrees, 1.0))
    return d / np.sqrt(size) / np.where(stdev > 0, stdev, math.inf), degrees


def _autocorrelation(o: Observations, residuals: np.ndarray, held: np.ndarray) -> tuple[float, int]:
    """Σ r_i r_j / √(Σ r_i² Σ r_j²) over pairs that follow one another, and their number.

    The mean is left in: what is always too high depends on what came before, too.
    """
    for first, second in (_after_one_another(o), _beside_one_another(o)):
        both = held[first] & held[second]
        r, s = residuals[first][both], residuals[second][both]
        size = math.sqrt(float(r @ r) * float(s @ s))
        if r.size >= FEWEST and size > 0:
            return float(r @ s) / size, r.size
    return math.nan, 0


def _after_one_another(o: Observations) -> Pairs:
    """Values of one place with the next in time."""
    times, place = np.asarray(o.points.times), _places(o)
    order = np.lexsort((times, place))
    first, second = order[:-1], order[1:]
    follow = (place[first] == place[second]) & (times[first] < times[second])
    return first[follow], second[follow]


def _beside_one_another(o: Observations) -> Pairs:
    """Values of one time with the next along the only coordinate; none where there are several."""
    times, where = np.asarray(o.points.times), list(o.points.coordinates.values())
    if len(where) != 1:
        return np.empty(0, int), np.empty(0, int)
    x = np.asarray(where[0])
    order = np.lexsort((x, times))
    first, second = order[:-1], order[1:]
    beside = (times[first] == times[second]) & (x[first] < x[second])
    return first[beside], second[beside]


def _places(o: Observations) -> np.ndarray:
    """A number for every place, shape (m,)."""
    where = [np.asarray(x) for x in o.points.coordinates.values()]
    if not where:
        return np.zeros(o.values.size, int)
    return np.unique(np.stack(where, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
