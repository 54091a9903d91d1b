"""The window of a case, [window], cut into slots; and the dates of a case as model times."""

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from assim.case.failure import CaseError, Fault
from assim.case.plugins import Table
from assim.files.errors import DataError

if TYPE_CHECKING:
    from assim.files.read.tables import ObservedTable
    from assim.problem.model import AbstractDynamics
    from assim.problem.window import Window


Time = datetime.datetime | datetime.date | int | float | str


class Clock:
    """The dates of a case as times of its model: in its unit, since the start of the window."""

    def __init__(self, unit: str, start: Time) -> None:
        from assim.files.times import NON_PHYSICAL

        self.unit, self.physical = unit, unit != NON_PHYSICAL
        self.reference = self._text(start, "window.start") if self.physical else None
        self.start = self.time(start, "window.start")

    def time(self, value: Time, path: str) -> float:
        """A date or number of the case as model time; `path` is where it stands."""
        import numpy as np

        from assim.files.times import CALENDAR, FileTimes, date

        if not self.physical:
            if not isinstance(value, int | float):
                what = f"must be a number, as the model's time has no unit, got {value}"
                raise CaseError([Fault(path, what)])
            return float(value)
        try:
            moment = date(self._text(value, path), CALENDAR, path)
        except DataError as error:
            what = str(error).removeprefix(f"{path}: ")
            raise CaseError([Fault(path, what)]) from None
        epoch = FileTimes(np.zeros(1), "seconds", moment, path)
        return float(epoch.to_model(self.unit, self.reference)[0])

    def _text(self, value: Time, path: str) -> str:
        if isinstance(value, int | float):
            what = f"must be a date, as the model's time is in {self.unit}, got {value}"
            raise CaseError([Fault(path, what)])
        return value.isoformat() if isinstance(value, datetime.date) else value


def text_of(value: Time) -> str | float:
    """A date or number as files are asked for it: ISO text, or a number."""
    return value.isoformat() if isinstance(value, datetime.date) else value


class WindowTable(Table):
    """Where the window lies and how it is cut into slots."""

    start: Time
    end: Time | None = None
    slots: int | None = Field(None, ge=1)
    steps: int = Field(1, ge=1)
    times: Literal["observations"] | list[Time] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.times is not None and self.slots is not None:
            raise ValueError("give either times or slots, not both")
        if self.end is not None and self.slots is not None and "steps" in self.model_fields_set:
            raise ValueError("give either end or steps: slots and end already say how long one is")
        if self.times is None and self.slots is None:
            raise ValueError(
                'say where the slots lie: times = "observations", or slots = N (with end, or with '
                "steps for a stepping model)"
            )
        return self

    def build(
        self, model: "AbstractDynamics", clock: Clock, observed: "Sequence[ObservedTable]" = ()
    ) -> "Window":
        """The window, whose slots may have their edges at the times of observed rows."""
        from assim.problem.model import AbstractModel

        end = None if self.end is None else clock.time(self.end, self.at("end"))
        if end is not None and end <= clock.start:
            raise self.fault("end", f"must be later than the start, got {self.end}")
        if self.times == "observations":
            return self.of_observations(model, observed)
        if self.times is None and end is None and not isinstance(model, AbstractModel):
            raise self.fault("end", "this key is missing: slots of an ODE model need an end")
        times = [clock.time(t, self.at(f"times.{n}")) for n, t in enumerate(self.times or ())]
        with self.blamed():
            return self._cut(model, clock, times, end)

    def of_observations(
        self, model: "AbstractDynamics", observed: "Sequence[ObservedTable]"
    ) -> "Window":
        """The window whose slots end at the times of observations."""
        from assim.files.read.windows import window_of

        end = None if self.end is None else text_of(self.end)
        return window_of(list(observed), model, text_of(self.start), end)

    def _cut(
        self, model: "AbstractDynamics", clock: Clock, times: list[float], end: float | None
    ) -> "Window":
        """The window with these slot edges, or with slots of one length."""
        import numpy as np

        from assim.problem.model import AbstractModel
        from assim.problem.window import Window

        if self.times is not None:
            edges = [*({clock.start} - set(times)), *times]
            return Window.at(model, edges, clock.reference)
        assert self.slots is not None
        if end is None and isinstance(model, AbstractModel):
            return Window.regular(model, self.slots, self.steps, clock.start, clock.reference)
        assert end is not None
        regular = np.linspace(clock.start, end, self.slots + 1)
        return Window.at(model, regular, clock.reference)
