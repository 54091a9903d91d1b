"""What an instrument would read at other times: its observable in time, at each of its places."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array, Labels, Params, Trajectory
from assim.problem.covariance import Diagonal
from assim.problem.observation import Observations
from assim.problem.points import Points
from assim.problem.window import Window

MOST_PLACES = 50  # of one instrument that have series
MOST_ROWS = 20_000  # values of all of them
_INSIDE = 1e-9  # of the span of times: how far beyond its ends an interval is still within it
_ALIKE = 0.05  # relative scatter of standard deviations that counts as none


class Observable(NamedTuple):
    """Readings of one instrument that nobody made, at every place for each of several times.

    Args:
        observations: the instrument there, a row a reading; its values stand for nothing.
        times: of the series, shape (T,), in the model's time unit.
        places: position along each dimension of the places, shape (P,) each.
        rows: the row of each time and place, shape (T, P); -1 where a reading would begin before
            the first of the times or end after the last.
        notes: what they take for granted, sentences.
    """

    observations: Observations
    times: np.ndarray
    places: dict[str, np.ndarray]
    rows: np.ndarray
    notes: tuple[str, ...]

    def series(self, column: Array | np.ndarray) -> np.ndarray:
        """A column (…, rows) as series of shape (…, T, P); NaN where there is no reading."""
        column = np.asarray(column)
        return np.where(self.rows >= 0, column[..., np.maximum(self.rows, 0)], np.nan)

    def on(self, labels: Labels, window: Window) -> "Observable":
        """The same, with where its values lie on a grid and slot edges."""
        o = self.observations
        return self._replace(observations=o.on(o.place(labels, window)))

    def at_readings(self, made: Observations) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the series that are also readings that were made, and the rows of these."""
        numbers = {key: row for row, key in enumerate(_keys(self.observations.points))}
        pairs = [
            (numbers[key], row) for row, key in enumerate(_keys(made.points)) if key in numbers
        ]
        own, others = np.array(pairs, int).reshape(-1, 2).T
        return own, others


def _keys(points: Points) -> list[tuple[float, ...]]:
    columns = (points.times, points.starts, points.ends, *points.coordinates.values())
    return list(zip(*(np.asarray(column, float).tolist() for column in columns), strict=True))


def reads(o: Observations, trajectory: Trajectory, biases: Params) -> bool:
    """Whether an operator gives a value for each of its points, of a trajectory at any edges."""
    try:
        shape: tuple[int, ...] = eqx.filter_eval_shape(o.predict, trajectory, biases).shape
    except Exception:  # a function of the user's, which wants the edges or readings that it knows
        return False
    return shape == o.values.shape


def observable(
    o: Observations, times: np.ndarray, span: tuple[float, float] | None = None
) -> Observable | str:
    """The observable of an instrument at these times, at the places that it has read.

    A reading at the time t covers what those made at its place cover, from t less the median of
    (time - start) to t more that of (end - time), and has the median of the standard deviations of
    their errors. A correction of its bias whose predictors are numbers is left out, as these are
    known for the readings made alone. Where there are more than 50 places, or too many values,
    those read most often are kept.

    Args:
        o: the instrument.
        times: increasing, shape (T,), in the model's time unit.
        span: within which an interval must lie; from the first of the times to the last if None.

    Returns:
        the observable, or the sentence that says why there is none: an instrument that reads
        another place each time has no series.
    """
    times = np.asarray(times, float)
    names, (places, of_row, counts) = list(o.points.coordinates), _places(o)
    kept = np.arange(len(places))
    most = max(1, min(MOST_PLACES, MOST_ROWS // times.size))
    notes = []
    if kept.size > most:
        kept = np.sort(np.argsort(-counts, kind="stable")[:most])
        if np.max(counts[kept]) < 2:
            return (
                f"{o.name} reads another place each time ({len(places):,} places), so that it has "
                "no series"
            )
        notes.append(f"The {most} of {len(places):,} places that are read most often.")
    covers, stdev, alike = _typical(o, of_row, kept)
    first, last = span or (times[0], times[-1])
    slack = _INSIDE * (last - first)
    starts, ends = times[:, None] - covers[0], times[:, None] + covers[1]
    inside = (starts >= first - slack) & (ends <= last + slack)
    if not inside.any():
        return f"{o.name}: its readings cover more than the window, so that it has no series"
    rows = np.where(inside, np.cumsum(inside).reshape(inside.shape) - 1, -1)
    when, where = np.nonzero(inside)
    coordinates = {name: jnp.asarray(places[kept][where, i]) for i, name in enumerate(names)}
    starts, ends = (jnp.asarray(np.clip(edge[inside], first, last)) for edge in (starts, ends))
    points = Points(jnp.asarray(times[when]), starts, ends, coordinates, o.points.reference)
    bias = o.bias
    if bias is not None and bias.columns():
        bias = None
        notes.append("Without the correction of its bias, whose predictors belong to readings.")
    if not alike:
        notes.append("With the medians of what readings at each place cover, and of their errors.")
    built = Observations(
        o.name, jnp.full(when.size, o.values[0]), points, o.operator, likelihood=o.likelihood,
        scale=o.scale, units=o.units, covariance=Diagonal(jnp.asarray(stdev[where])), bias=bias,
    )  # fmt: skip
    positions = {name: places[kept, i] for i, name in enumerate(names)}
    return Observable(built, times, positions, rows, tuple(notes))


def _places(o: Observations) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct positions, shape (P, dims), that of each row, and how many rows each has."""
    columns = [np.asarray(column, float) for column in o.points.coordinates.values()]
    if not columns:
        return np.zeros((1, 0)), np.zeros(o.values.size, int), np.array([o.values.size])
    places, of_row, counts = np.unique(
        np.stack(columns, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    return places, of_row.reshape(-1), counts


def _typical(
    o: Observations, of_row: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray, bool]:
    """What a reading at each place covers before and after its time, shape (2, P), and its error.

    Medians of those made there; and whether these are alike.
    """
    points = o.points
    times, starts, ends = (np.asarray(t, float) for t in (points.times, points.starts, points.ends))
    stdev = np.sqrt(np.asarray(o.covariance.variance(), float)).ravel()
    rows = [of_row == place for place in kept]
    columns = np.stack([times - starts, ends - times, stdev])
    before, after, typical = (np.array([np.median(c[at]) for at in rows]) for c in columns)
    alike = all(
        np.ptp(column[at]) <= _ALIKE * np.max(np.abs(column[at]))
        for column in columns
        for at in rows
    )
    return np.stack([before, after]), typical, alike
