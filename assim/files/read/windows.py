"""The assimilation window that observations span."""

import math
from dataclasses import replace

import numpy as np

from assim.files.dates import CALENDAR, date
from assim.files.errors import DataError
from assim.files.read.dimensions import Select
from assim.files.read.flags import Accepted
from assim.files.read.tables import ObservedTable, observed_variables, open_observations
from assim.files.sources import Source
from assim.files.times import NON_PHYSICAL, FileTimes, date_text
from assim.problem.model import AbstractDynamics
from assim.problem.window import Window

TOLERANCE = 1e-9  # of the window's length: rounding in the files' times
_WHOLE, _FRACTION = 1e-6, 0.1  # of a step: how far from a whole number of steps times may lie


def read_window(
    source: Source,
    model: AbstractDynamics,
    start: str | float | None = None,
    end: str | float | None = None,
    variable: str | None = None,
    *,
    clock: str | None = None,
    select: Select | None = None,
    accept: Accepted = None,
) -> Window:
    """Window whose slot edges are the distinct times of the observations.

    For a stepping model the slots are the longest regular ones that meet these times, or single
    steps where the times do not fall on steps.

    Args:
        source: path of an observation file, or a Dataset.
        model: whose time unit the edges are in.
        start: date (number, where time is not physical) of the first edge, where model time is
            zero if it is a date; the first observation's where not given.
        end: last edge; the last observation's where not given.
        variable: observed variable whose times count; all of the file's where not given.
        clock: the variable that is the time, and `select` what to take along dimensions that the
            model does not know, as `read_observations` has them, and so `accept`.

    Raises:
        DataError: no observation times between start and end.
    """
    labels = model.labels()
    names: list[str | None] = [variable]
    if variable is None:
        names = [*observed_variables(source, labels, clock)] or names
    tables = [open_observations(source, name, labels, clock, select, accept) for name in names]
    return window_of(tables, model, start, end)


def window_of(
    tables: list[ObservedTable],
    model: AbstractDynamics,
    start: str | float | None = None,
    end: str | float | None = None,
) -> Window:
    """As `read_window`, from the tables of one or several files."""
    unit, clock = model.labels().time_unit, tables[0].times
    reference = None
    if unit != NON_PHYSICAL:
        reference = _first_date(tables, unit) if start is None else str(start)
    stamps = _stamps(tables)
    times = np.concatenate([stamp.to_model(unit, reference) for stamp in stamps])
    spacing = max(stamp.coarseness(unit) for stamp in stamps)
    first = times.min() if start is None else _model_time(start, unit, reference, clock)
    last = times.max() if end is None else _model_time(end, unit, reference, clock)
    given = [first] if end is None else [first, last]
    edges = _distinct(times[(times > first) & (times <= last)], given, spacing)
    if edges.size < 2:
        raise DataError(
            f"{clock.where}: expected observations after the window's start, got none between "
            f"{date_text(first, unit, reference)} and {date_text(last, unit, reference)} (times "
            f"run from {date_text(times.min(), unit, reference)} to "
            f"{date_text(times.max(), unit, reference)}); move `start` and `end`"
        )
    if (dt := model.time_step()) is not None:
        return _stepped(model, dt, edges, spacing, reference)
    return Window.at(model, edges, reference)


def with_edges_at(tables: list[ObservedTable], window: Window, unit: str) -> np.ndarray:
    """Slot edges of a window, and inside it the times of all rows, and ends of their intervals.

    In the model's time unit; a time that rounding took off an edge gives none.
    """
    edges, stamps = np.asarray(window.edges), _stamps(tables)
    times = np.concatenate([stamp.to_model(unit, window.reference, edges) for stamp in stamps])
    spacing = max(stamp.coarseness(unit) for stamp in stamps)
    inside = times[(times > edges[0]) & (times < edges[-1])]
    return _distinct(inside, edges.tolist(), spacing)


def _stamps(tables: list[ObservedTable]) -> list[FileTimes]:
    """Times of all rows, starts and ends of intervals included."""
    return [t for table in tables for t in (table.times, table.starts, table.ends) if t]


def _distinct(times: np.ndarray, given: list[float], spacing: float) -> np.ndarray:
    """Edges given and, further from these and from each other than rounding, times of values."""
    edges = np.unique([*given, *times])
    slack = max(TOLERANCE * (np.ptp(edges) or 1.0), spacing)
    distinct = edges[np.diff(edges, prepend=-np.inf) > slack]
    if slack > spacing:
        return distinct
    free = np.min(np.abs(distinct[:, None] - np.array(given)), axis=1) > slack
    return np.unique([*given, *distinct[free]])


def _first_date(tables: list[ObservedTable], unit: str) -> str:
    """The earliest date of all tables, whatever their calendars."""
    earliest = []
    for table in tables:
        table.times.check_kind(unit)
        stamps = [t for t in (table.times, table.starts) if t]
        for stamp in stamps:
            first = replace(stamp, numbers=stamp.numbers.min(keepdims=True))
            earliest.append(first.by_date().dates()[0])
    return min(earliest).isoformat()


def _model_time(moment: str | float, unit: str, reference: str | None, times: FileTimes) -> float:
    """A date in ISO 8601 (a number where time is not physical, as in `times`) as model time."""
    if times.epoch is None:
        try:
            return float(moment)
        except ValueError:
            raise DataError(f"{times.where}: expected a number as time, got {moment!r}") from None
    epoch = date(str(moment), CALENDAR, times.where)
    return float(FileTimes(np.zeros(()), "days", epoch, times.where).to_model(unit, reference))


def _stepped(
    model: AbstractDynamics, dt: float, edges: np.ndarray, spacing: float, reference: str | None
) -> Window:
    """Regular slots of whole steps that meet the edges, or slots of one step."""
    gaps, slack = np.diff(edges) / dt, max(_WHOLE, min(2 * spacing / dt, _FRACTION))
    whole = np.round(gaps).astype(int)
    if np.all(whole >= 1) and np.allclose(gaps, whole, rtol=0, atol=slack):
        steps = math.gcd(*whole.tolist())
        slots = int(whole.sum()) // steps
    else:
        steps, slots = 1, math.ceil((edges[-1] - edges[0]) / dt - 1e-9)
    return Window.regular(model, slots, steps, float(edges[0]), reference)
