"""The assimilation window that observations span."""

import math
from dataclasses import replace

import numpy as np

from assim.files.errors import DataError
from assim.files.read.flags import Accepted
from assim.files.read.tables import ObservedTable, observed_variables, open_observations
from assim.files.sources import Source
from assim.files.times import NON_PHYSICAL, FileTimes, date, date_text
from assim.problem.model import AbstractDynamics, AbstractModel
from assim.problem.window import Window

TOLERANCE = 1e-9  # of the window's length: rounding in the files' times


def read_window(
    source: Source,
    model: AbstractDynamics,
    start: str | float | None = None,
    end: str | float | None = None,
    variable: str | None = None,
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
        accept: quality flags, as for `read_observations`.

    Raises:
        DataError: no observation times between start and end.
    """
    labels = model.labels()
    names: list[str | None] = [variable]
    if variable is None:
        names = [*observed_variables(source, labels)] or names
    tables = [open_observations(source, name, labels, accept) for name in names]
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
    stamps = [t for table in tables for t in (table.times, table.starts, table.ends) if t]
    times = np.concatenate([stamp.to_model(unit, reference) for stamp in stamps])
    first = times.min() if start is None else _model_time(start, unit, reference, clock)
    last = times.max() if end is None else _model_time(end, unit, reference, clock)
    inside = times[(times > first) & (times <= last)]
    edges = np.unique([first, *inside, *([] if end is None else [last])])
    edges = edges[np.diff(edges, prepend=-np.inf) > TOLERANCE * (np.ptp(edges) or 1.0)]
    if edges.size < 2:
        raise DataError(
            f"{clock.where}: expected observations after the window's start, got none between "
            f"{date_text(first, unit, reference)} and {date_text(last, unit, reference)} (times "
            f"run from {date_text(times.min(), unit, reference)} to "
            f"{date_text(times.max(), unit, reference)}); move `start` and `end`"
        )
    if isinstance(model, AbstractModel):
        return _stepped(model, edges, reference)
    return Window.at(model, edges, reference)


def _first_date(tables: list[ObservedTable], unit: str) -> str:
    """The earliest date of all tables, whatever their calendars."""
    earliest = []
    for table in tables:
        table.times.check_kind(unit)
        stamps = [t for t in (table.times, table.starts) if t]
        earliest += [replace(t, numbers=t.numbers.min(keepdims=True)).dates()[0] for t in stamps]
    return min(earliest, key=lambda moment: moment.timetuple()[:6]).isoformat()


def _model_time(moment: str | float, unit: str, reference: str | None, times: FileTimes) -> float:
    """A date in ISO 8601 (a number where time is not physical) in the calendar of `times`."""
    if times.epoch is None:
        try:
            return float(moment)
        except ValueError:
            raise DataError(f"{times.where}: expected a number as time, got {moment!r}") from None
    epoch = date(str(moment), times.epoch.calendar, times.where)
    return float(FileTimes(np.zeros(()), "days", epoch, times.where).to_model(unit, reference))


def _stepped(model: AbstractModel, edges: np.ndarray, reference: str | None) -> Window:
    """Regular slots of whole steps that meet the edges, or slots of one step."""
    gaps = np.diff(edges) / model.dt
    whole = np.round(gaps).astype(int)
    if np.all(whole >= 1) and np.allclose(gaps, whole, rtol=0, atol=1e-6):
        steps = math.gcd(*whole.tolist())
        slots = int(whole.sum()) // steps
    else:
        steps, slots = 1, math.ceil((edges[-1] - edges[0]) / model.dt - 1e-9)
    return Window.regular(model, slots, steps, float(edges[0]), reference)
