"""Departures of instruments from the analysis, in units of what they should be."""

import math
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when first used

from assim.analysis.analyse import Analysis
from assim.findings.consistency import InstrumentFit
from assim.problem.observation import Observations

Pairs = tuple[np.ndarray, np.ndarray]

FREE = 0.9  # influence above which the residual of a value is left out
DEPENDENT = 0.3  # autocorrelation that is told, where it is also beyond chance
BEYOND_CHANCE = 3.0  # standard deviations, of an autocorrelation
FEWEST = 10  # pairs from which a correlation is estimated


@dataclass(frozen=True)
class Residuals:
    """Departures of one instrument from the analysis, in units of what they should be.

    r_i = d_i / √(1 - h_i), d the normalised departure and h the influence of a value: N(0, 1)
    where the errors are as stated (studentised residuals).

    Args:
        chi_squared: Σ d².
        expected: its expectation; NaN where it is not known.
        p_value: probability that Σ d² is larger, by a χ² variable of that expectation.
        worst: the largest |r|; NaN where errors are no Gaussian ones that are independent.
        worst_row: which value that is, counted from 0 among those used; -1 where there is none.
        worst_time: its time, in the model's unit since the window's reference.
        worst_p_value: probability that the largest of as many is larger.
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
    worst_time: float
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


def residuals_of(analysis: Analysis, o: Observations, fit: InstrumentFit) -> Residuals:
    """Departures of one instrument from the analysis, studentised."""
    assert analysis.departures is not None
    departure, weight = np.asarray(analysis.departures.after[o.name]), np.asarray(o.powers())
    held = (weight > 0) & (fit.influence < FREE)
    studentised = np.where(held, departure / np.sqrt(np.maximum(1 - fit.influence, 1 - FREE)), 0.0)
    is_squared = o.likelihood.chi_squared and bool(o.counted_once())
    expected = 2 * fit.expected if is_squared else math.nan
    row, worst, p_worst = -1, math.nan, math.nan
    if is_squared and o.scale is None and o.covariance.independent() and held.any():
        row = int(np.argmax(np.abs(studentised)))
        worst = float(np.abs(studentised[row]))
        p_worst = min(1.0, int(held.sum()) * math.erfc(worst / math.sqrt(2)))
    correlation, pairs = _autocorrelation(o, studentised, held)
    return Residuals(
        2 * fit.cost,
        expected,
        probability(2 * fit.cost, expected),
        worst,
        row,
        float(o.points.times[row]) if row >= 0 else math.nan,
        p_worst,
        correlation,
        pairs,
        int((weight > 0).sum()),
    )


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
