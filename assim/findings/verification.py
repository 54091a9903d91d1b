"""A forecast against what came to pass: later observations, or a truth."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from assim.analysis.forecast import Forecast, Readings
from assim.statistics.scores import Coverage, agreement, compared, covered, crps, ranks

LEVEL = 0.9
BINS = 10  # of the histogram of ranks


class VerifiedReadings(NamedTuple):
    """What a forecast says of every reading of one instrument, each of shape (m,).

    NaN for readings that do not count, which have no part in scores. From `low`, the lower end of
    the 90 per cent interval of new readings, to `log_score` as in `ReadingScores`.

    Args:
        observed: y.
        mean: of H(x_i) over the members.
        stdev: standard deviation of these.
        rank: of y among new readings, errors included, 0 to M.
        share: (rank + u)/(M + 1), u uniform: uniform where the forecast is right.
        counted: whether the reading has a weight above 0.
    """

    observed: np.ndarray
    mean: np.ndarray
    stdev: np.ndarray
    low: np.ndarray
    median: np.ndarray
    high: np.ndarray
    crps: np.ndarray
    log_score: np.ndarray
    rank: np.ndarray
    share: np.ndarray
    counted: np.ndarray


class Scores(NamedTuple):
    """How several readings compare with their forecast, in the unit of the readings.

    Args:
        number: of the readings.
        rmse: √ of the mean square of y - ŷ, ŷ the mean of H(x_i) over the members.
        bias: mean of ŷ - y.
        spread: √ of the mean variance of H(x_i) over the members, without observation errors.
        crps: mean.
        log_score: mean, in nats.
        coverage: share within the 90 per cent interval, errors included, with its band.
        correlation: of ŷ and y, and the efficiencies that follow, as `Agreement` has them.
        ranks: how many readings have a rank in each tenth of the members.
    """

    number: int
    rmse: float
    bias: float
    spread: float
    crps: float
    log_score: float
    coverage: Coverage
    correlation: float
    nash_sutcliffe: float
    kling_gupta: float
    ranks: np.ndarray


class FieldScores(NamedTuple):
    """A field against the truth at several times, each of shape (times,); means over the grid.

    Args:
        rmse: of the ensemble mean.
        spread: √ of the mean variance of the members.
        crps: fair score.
    """

    rmse: np.ndarray
    spread: np.ndarray
    crps: np.ndarray


def judged(readings: Readings, observed: np.ndarray, seed: int = 0) -> VerifiedReadings:
    """Every reading of one instrument against what was predicted of it; `seed` breaks ties.

    Of the members that `sound` tells, means, quantiles and densities alike.
    """
    kept, observed = sound(readings), np.asarray(observed, float)
    exact, drawn = readings.exact[kept], readings.drawn[kept]
    densities = None if readings.log_densities is None else readings.log_densities[kept]
    number, blank = len(drawn), np.full(observed.shape, np.nan)
    if not number:
        return VerifiedReadings(
            *(observed, *[blank] * len(VerifiedReadings._fields[1:-1]), readings.counted)
        )
    rng = np.random.default_rng(seed)
    rank = ranks(drawn, observed, rng)
    rows = VerifiedReadings(
        observed,
        np.mean(exact, axis=0),
        np.std(exact, axis=0, ddof=min(1, len(exact) - 1)),
        *compared(drawn, observed, LEVEL, densities),
        rank,
        (rank + rng.uniform(size=rank.shape)) / (number + 1),
        readings.counted,
    )
    if rows.counted.all():
        return rows
    known = (np.where(rows.counted, column, np.nan) for column in rows[1:-1])
    return VerifiedReadings(*(observed, *known, rows.counted))


def sound(readings: Readings) -> np.ndarray:
    """Members all of whose readings are finite, with errors and without, shape (M,)."""
    both = np.isfinite(readings.exact) & np.isfinite(readings.drawn)
    members: np.ndarray = both.all(axis=1)
    return members


def scores(rows: VerifiedReadings, chosen: np.ndarray | None = None) -> Scores:
    """Means over the readings chosen, booleans of shape (m,); over all that count without it."""
    chosen = rows.counted if chosen is None else chosen & rows.counted
    several = VerifiedReadings(*(column[chosen] for column in rows))
    alike = agreement(several.mean, several.observed)
    known = np.isfinite(several.low)
    inside = (several.low <= several.observed) & (several.observed <= several.high)
    histogram, _ = np.histogram(several.share, BINS, (0.0, 1.0))
    return Scores(
        alike.number,
        alike.rmse,
        alike.bias,
        float(np.sqrt(np.mean(several.stdev**2))),
        float(np.mean(several.crps)),
        float(np.mean(several.log_score)),
        covered(inside[known], LEVEL),
        alike.correlation,
        alike.nash_sutcliffe,
        alike.kling_gupta,
        histogram,
    )


def by_slot(rows: VerifiedReadings, slots: np.ndarray) -> dict[int, Scores]:
    """Scores of the readings in every slot that has some; `slots` are those of the readings."""
    return {int(slot): scores(rows, slots == slot) for slot in np.unique(slots[rows.counted])}


def against_truth(
    forecast: Forecast, truth: Mapping[str, np.ndarray], edges: np.ndarray
) -> dict[str, FieldScores]:
    """Every field of a forecast with its members against the truth, at slot edges by number."""
    scored = {}
    for name, values in truth.items():
        true, members = np.asarray(values), forecast.members[name][:, edges]
        mean = lambda v: np.mean(v.reshape(len(v), -1), axis=1)  # noqa: E731
        scored[name] = FieldScores(
            np.sqrt(mean((forecast.mean[name][edges] - true) ** 2)),
            np.sqrt(mean(forecast.stdev[name][edges] ** 2)),
            mean(crps(members, true, fair=True)),
        )
    return scored
