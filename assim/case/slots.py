"""The window of a case: its dates as model times, and its slot edges."""

import datetime
from collections.abc import Sequence

import numpy as np

from assim.analysis.cycle.plan import Plan
from assim.case.failure import CaseError, Fault
from assim.case.schema import CaseTable, Time, WindowTable
from assim.files.errors import DataError
from assim.files.read.tables import ObservationTable
from assim.files.read.windows import window_of
from assim.files.times import CALENDAR, NON_PHYSICAL, FileTimes, date
from assim.problem.model import AbstractDynamics, AbstractModel
from assim.problem.window import Window


class Clock:
    """The dates of a case as times of its model.

    Args:
        unit: the model's time unit.
        start: start of the window, as the case says it.

    Raises:
        CaseError: a date for a model without physical time, or the reverse.
    """

    def __init__(self, unit: str, start: Time) -> None:
        self.unit = unit
        self.reference: str | None = None
        if unit != NON_PHYSICAL:
            self.reference = self._text(start, "window.start")
        self.start = self.time(start, "window.start")

    def time(self, value: Time, path: str) -> float:
        """A date or number of the case as model time; `path` is where it stands."""
        if self.unit == NON_PHYSICAL:
            if not isinstance(value, int | float):
                raise _fault(
                    path, f"must be a number, as the model's time has no unit, got {value}"
                )
            return float(value)
        try:
            moment = date(self._text(value, path), CALENDAR, path)
        except DataError as error:
            raise _fault(path, str(error).removeprefix(f"{path}: ")) from None
        epoch = FileTimes(np.zeros(1), "seconds", moment, path)
        return float(epoch.to_model(self.unit, self.reference)[0])

    def text(self, value: Time | None) -> str | float | None:
        """A date or number as files are asked for it: ISO text, or a number."""
        return value.isoformat() if isinstance(value, datetime.date) else value

    def _text(self, value: Time, path: str) -> str:
        if isinstance(value, int | float):
            raise _fault(
                path, f"must be a date, as the model's time is in {self.unit}, got {value}"
            )
        return value.isoformat() if isinstance(value, datetime.date) else value


def make_window(
    table: WindowTable, model: AbstractDynamics, clock: Clock, observed: Sequence[ObservationTable]
) -> Window:
    """The window that a case describes.

    Args:
        table: the case's table.
        model: whose steps and time unit the slots must fit.
        clock: the case's dates as model times.
        observed: rows of every instrument, for slot edges at their times.

    Raises:
        CaseError: slots that do not fit the model.
        DataError: no observation after the start.
    """
    end = None if table.end is None else clock.time(table.end, "window.end")
    if end is not None and end <= clock.start:
        raise _fault("window.end", f"must be later than the start, got {table.end}")
    if table.times == "observations":
        return window_of(list(observed), model, clock.text(table.start), clock.text(table.end))
    try:
        return _regular(table, model, clock, end)
    except CaseError:
        raise
    except ValueError as error:
        raise _fault("window", str(error)) from None


def _regular(
    table: WindowTable, model: AbstractDynamics, clock: Clock, end: float | None
) -> Window:
    if isinstance(table.times, list):
        times = [clock.time(t, f"window.times.{i}") for i, t in enumerate(table.times)]
        return Window.at(model, [*({clock.start} - set(times)), *times], clock.reference)
    assert table.slots is not None
    if end is not None:
        edges = np.linspace(clock.start, end, table.slots + 1)
        return Window.at(model, edges, clock.reference)
    if isinstance(model, AbstractModel):
        return Window.regular(model, table.slots, table.steps, clock.start, clock.reference)
    raise _fault("window.end", "this key is missing: slots of an ODE model need an end")


def _fault(path: str, message: str) -> CaseError:
    return CaseError([Fault(path, message)])


def plan_of(table: CaseTable) -> Plan:
    """How the windows of a case with a cycle lie."""
    cycle, slots = table.cycle, table.window.slots
    assert cycle is not None and slots is not None
    return Plan(slots, cycle.shift or slots, cycle.overlap)


def whole(table: CaseTable, first: Window) -> Window:
    """The stretch of time that all windows of a case cover together."""
    assert table.cycle is not None
    return plan_of(table).whole(first, table.cycle.windows)
